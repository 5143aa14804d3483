"""Cost of each method: seconds, operations, memory, and energy if it can be measured."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factcensus.eval.names import ORIGINAL
from factcensus.eval.report import figures
from factcensus.eval.report.formatting import NONE, duration, quantity
from factcensus.eval.report.section import Section, Table
from factcensus.unlearn.run_folder import read_record

if TYPE_CHECKING:
    from factcensus.eval.run_folder import Run


@dataclass(frozen=True, slots=True)
class Cell:
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

    def row(self) -> list[str]:
        """Return the table row."""
        memory, joules = self.training.get("peak_memory_bytes"), self.training.get("energy_joules")
        return [
            self.method,
            self.seed,
            str(self.done.get("steps", NONE)),
            duration(self.training.get("wall_seconds")),
            duration(self.training.get("cpu_seconds")),
            duration(self.done.get("wall_seconds")),
            quantity(self.planned.get("estimated_flop"), "FLOP"),
            NONE if memory is None else f"{memory / 2**20:,.0f} MiB",
            quantity(joules, "J"),
        ]


def cost(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Build the section on cost: one row per method and seed, methods in the order of the report."""
    order = list(look)
    cells = sorted(_cells(run), key=lambda cell: order.index(cell.method) if cell.method in order else len(order))
    if not cells:
        return None
    sources = sorted({str(source) for cell in cells for source in cell.training.get("energy_read_from") or ()})
    read = f" (here: {', '.join(sources)})" if sources else ""
    return Section(
        "cost",
        "Cost",
        "Wall time and processor time of unlearning; wall time including evaluation; floating-point operations, "
        f"estimated from parameters and tokens; peak memory; and energy where it can be measured{read}.",
        tables=[
            Table(
                "Cost by method and seed; '-': not measured",
                [
                    "method",
                    "seed",
                    "steps",
                    "unlearning",
                    "processor",
                    "with evaluation",
                    "operations",
                    "peak memory",
                    "energy",
                ],
                [cell.row() for cell in cells],
                open=len(cells) <= 16,
            )
        ],
    )


def _cells(run: Run) -> Iterator[Cell]:
    """Yield the cells of every run folder and of the runs pooled in it."""
    for folder, record in zip(run.folders, run.records, strict=True):
        for place in [folder / each["folder"] for each in record.get("runs", ()) if "folder" in each] or [folder]:
            of_run = record if place == folder else read_record(place)
            planned = {each["method"]: each for each in of_run.get("costs") or () if "method" in each}
            for path in sorted(place.glob("cells/*/done.json")):
                if (method := path.parent.name) != ORIGINAL:
                    done = json.loads(path.read_text(encoding="utf-8"))
                    yield Cell(method, str(of_run.get("seed", NONE)), done, planned.get(method, {}))
