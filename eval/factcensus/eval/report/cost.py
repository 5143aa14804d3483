"""What each method took: seconds, operations, memory and, where the machine can be read, energy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from factcensus.eval.report import figures
from factcensus.eval.report.formatting import NONE, duration
from factcensus.eval.report.section import Section, Table

if TYPE_CHECKING:
    from factcensus.eval.run_folder import Run


def cost(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """One table, a row a method and seed."""
    rows = [_row(*each) for each in _cells(run)]
    if not rows:
        return None
    head = [
        "method",
        "seed",
        "steps",
        "unlearning",
        "processor",
        "with evaluation",
        "operations",
        "peak memory",
        "energy",
    ]
    return Section(
        "cost",
        "What it cost",
        "Wall time of unlearning and of the whole cell with its evaluation; floating-point operations as planned from "
        "parameters and tokens; the peak of memory and energy where they could be read.",
        tables=[Table("Cost by method and seed; '-' was not measured", head, rows, open=len(rows) <= 16)],
    )


def _cells(run: Run) -> Iterator[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]:
    """Method, seed, the cell's done.json and the run's cost record, of every run folder and those pooled in it."""
    for folder, record in zip(run.folders, run.records, strict=True):
        pooled = [(folder / each["folder"], each) for each in record.get("runs", ()) if "folder" in each]
        for place, of_run in pooled or [(folder, record)]:
            planned = {each["method"]: each for each in of_run.get("costs") or _costs(place) if "method" in each}
            for path in sorted(place.glob("cells/*/done.json")):
                done = json.loads(path.read_text(encoding="utf-8"))
                if path.parent.name != "original":
                    yield path.parent.name, str(of_run.get("seed", NONE)), done, planned.get(path.parent.name, {})


def _costs(folder: Any) -> list[Mapping[str, Any]]:
    path = folder / "run.json"
    costs: list[Mapping[str, Any]] = (
        json.loads(path.read_text(encoding="utf-8")).get("costs", []) if path.is_file() else []
    )
    return costs


def _row(method: str, seed: str, done: Mapping[str, Any], planned: Mapping[str, Any]) -> list[str]:
    training = done.get("training") or {}
    memory = training.get("peak_memory_bytes") or planned.get("measured_memory_bytes")
    joules, flop = training.get("energy_joules"), planned.get("estimated_flop")
    return [
        method, seed, str(done.get("steps", NONE)), duration(training.get("wall_seconds")),
        duration(training.get("cpu_seconds")), duration(done.get("wall_seconds")),
        NONE if flop is None else f"{flop:.2g} FLOP", NONE if memory is None else f"{memory / 2**20:,.0f} MiB",
        NONE if joules is None else f"{joules / 1000:.3g} kJ",
    ]  # fmt: skip
