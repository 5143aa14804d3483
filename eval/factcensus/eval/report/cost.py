"""Cost of each method: seconds, operations, memory, and energy if it can be measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from factcensus.eval.names import ORIGINAL
from factcensus.eval.report.columns import Column, table_of
from factcensus.eval.report.formatting import NONE, duration, quantity
from factcensus.eval.report.section import ReportData, Section
from factcensus.unlearn.run_folder import finished_cells, read_record

if TYPE_CHECKING:
    from factcensus.eval.runs import Run


@dataclass(frozen=True, slots=True)
class Cost:
    """One method at one seed: its done.json and the plan from the run's record."""

    method: str
    seed: str
    done: Mapping[str, Any]
    planned: Mapping[str, Any]

    @property
    def training(self) -> Mapping[str, Any]:
        """Return the measurements made during unlearning."""
        found: Mapping[str, Any] = self.done.get("training") or {}
        return found


def _mebibytes(size_bytes: float | None) -> str:
    return NONE if size_bytes is None else f"{size_bytes / 2**20:,.0f} MiB"


COLUMNS: tuple[Column[Cost], ...] = (
    Column("method", lambda cost: cost.method),
    Column("seed", lambda cost: cost.seed),
    Column("steps", lambda cost: cost.done.get("steps", NONE)),
    Column("unlearning", lambda cost: cost.training.get("wall_seconds"), duration),
    Column("processor", lambda cost: cost.training.get("cpu_seconds"), duration),
    Column("with evaluation", lambda cost: cost.done.get("wall_seconds"), duration),
    Column("operations", lambda cost: cost.planned.get("estimated_flop"), partial(quantity, unit="FLOP")),
    Column("peak memory", lambda cost: cost.training.get("peak_memory_bytes"), _mebibytes),
    Column("energy", lambda cost: cost.training.get("energy_joules"), partial(quantity, unit="J")),
)


def cost(data: ReportData) -> Section | None:
    """Build the section on cost: one row per method and seed, methods in the order of the report."""
    run, look = data.run, data.look
    order = list(look)
    costs = sorted(_costs(run), key=lambda cost: order.index(cost.method) if cost.method in order else len(order))
    if not costs:
        return None
    sources = sorted({str(source) for cost in costs for source in cost.training.get("energy_read_from") or ()})
    read = f" (here: {', '.join(sources)})" if sources else ""
    return Section(
        "cost",
        "Cost",
        "Wall time and processor time of unlearning; wall time including evaluation; floating-point operations, "
        f"estimated from parameters and tokens; peak memory; and energy where it can be measured{read}.",
        tables=[table_of("Cost by method and seed; '-': not measured", COLUMNS, costs, open=len(costs) <= 16)],
    )


def _costs(run: Run) -> Iterator[Cost]:
    """Yield the methods of every run folder and of the runs pooled in it."""
    for folder, record in zip(run.folders, run.records, strict=True):
        for place in [folder / each["folder"] for each in record.get("runs", ()) if "folder" in each] or [folder]:
            of_run = record if place == folder else read_record(place)
            planned = {each["method"]: each for each in of_run.get("costs") or () if "method" in each}
            for cell in finished_cells(place):
                if cell.name != ORIGINAL:
                    yield Cost(cell.name, str(of_run.get("seed", NONE)), cell.done(), planned.get(cell.name, {}))
