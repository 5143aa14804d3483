"""Run a grid, one run after the other, and write the results to one table with a row per run and method.

Finished cells are never run again: runs are identified by the settings that determine their results, not by the names
of their folders. If a run fails, the others continue, and the next call tries it again. Facts are counted once for the
whole grid, and the original model is evaluated once for all runs that evaluate it in the same way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.indexer.errors import DiskFullError, FactcensusError
from factcensus.indexer.system.files import PARTIAL, replaced_file
from factcensus.unlearn.config.run_config import MethodConfig, RunConfig, check_config
from factcensus.unlearn.errors import ConfigError, InterruptedRunError, RunFolderError
from factcensus.unlearn.evaluation import Evaluator
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.run_folder import INPUTS, Cell, locked_run, read_record
from factcensus.unlearn.selection import Row
from factcensus.unlearn.stopping import stop_on_sigterm
from factcensus.unlearn.sweep.grid import GridPoint, Sweep
from factcensus.unlearn.training.ranks import current_ranks

CELLS = "cells.parquet"


@dataclass(slots=True)
class SweepResult:
    """The result of a sweep.

    Attributes:
        path: Path of ``cells.parquet``.
        rows: Rows of that table.
        failed: Error messages of failed runs, by the names of their folders.
    """

    path: Path
    rows: list[Row]
    failed: dict[str, str] = field(default_factory=dict)


def run_sweep(
    sweep: Sweep,
    evaluator: Callable[[], Evaluator] | None = None,
    progress: ProgressFunction | None = None,
) -> SweepResult:
    """Execute all unfinished runs of a grid.

    Args:
        sweep: The grid.
        evaluator: Returns a new evaluator for each run and overrides the one of the configuration.
        progress: Called with the progress of each run and the number of finished runs.

    Raises:
        RunFolderError: the folder contains other files, or another process uses it.
        InterruptedRunError: SIGTERM was received; the same call resumes.
        DiskFullError: the disk is full; the same call resumes.
    """
    from factcensus.unlearn.run import run_unlearning

    _refuse_other_files(sweep)
    report, first = progress or silent, current_ranks().is_first
    result = SweepResult(sweep.out / CELLS, [])
    folders = _folders(sweep)
    sweep.out.mkdir(parents=True, exist_ok=True)
    with stop_on_sigterm() as stop:
        for done, point in enumerate(sweep.points):
            stop.check()
            report(Progress("sweep", done, len(sweep.points), point.name))
            config = point.config.model_copy(update={"out": folders[point.name]})
            if not _is_done(config):
                siblings = [folder for folder in folders.values() if folder != config.out]
                try:
                    run_unlearning(
                        config, evaluator() if evaluator else None, report, inputs=sweep.out / INPUTS, siblings=siblings
                    )
                except (InterruptedRunError, DiskFullError):  # every further run would meet it as well
                    raise
                except FactcensusError as error:
                    result.failed[point.name] = " ".join(str(error).split())
            if first:
                result.rows = write_cells(sweep, folders, result.failed)
    report(Progress("sweep", len(sweep.points), len(sweep.points)))
    return result


def sweep_status(sweep: Sweep) -> list[Row]:
    """Return the current status, one row per run and method, without running or writing anything."""
    return list(_rows(sweep, _folders(sweep), {}))


def write_cells(sweep: Sweep, folders: dict[str, Path], failed: dict[str, str]) -> list[Row]:
    """Write ``cells.parquet`` and return its rows."""
    rows = list(_rows(sweep, folders, failed))
    with locked_run(sweep.out), replaced_file(sweep.out / CELLS) as partial:
        pq.write_table(pa.Table.from_pylist(rows), partial)
    return rows


def _refuse_other_files(sweep: Sweep) -> None:
    """Raise RunFolderError if the folder contains anything except runs and files of a sweep."""
    if not sweep.out.is_dir():
        return
    for entry in sweep.out.iterdir():
        ours = entry.name in (INPUTS, ".lock", CELLS, CELLS + PARTIAL)
        if not ours and not (entry / "run.json").is_file() and not (entry / INPUTS).is_dir() and any_file(entry):
            raise RunFolderError(f"{sweep.out} contains {entry.name!r}, which is not a run; give another `out`")


def any_file(path: Path) -> bool:
    """Return whether this is a file, or a folder that contains anything except a lock."""
    return not path.is_dir() or any(entry.name != ".lock" for entry in path.iterdir())


def _settings(config: RunConfig) -> tuple[str, ...]:
    return (config.fingerprint(), *sorted(config.method_fingerprint(method) for method in config.methods))


def _folders(sweep: Sweep) -> dict[str, Path]:
    """Return the folder of each run by name: the folder that already holds this run, or a new one with its name."""
    there: dict[tuple[str, ...], Path] = {}
    for record in sorted(sweep.out.glob("*/run.json")):
        try:
            config = check_config(read_record(record.parent)["config"])
        except (ConfigError, KeyError, ValueError):  # a run of another version, which is not part of this grid
            continue
        there.setdefault(_settings(config), record.parent)
    return {point.name: there.get(_settings(point.config), sweep.out / point.name) for point in sweep.points}


def _is_done(config: RunConfig) -> bool:
    return read_record(config.out).get("status") == "done"


def _rows(sweep: Sweep, folders: dict[str, Path], failed: dict[str, str]) -> Iterator[Row]:
    for point in sweep.points:
        for method in point.config.methods:
            yield _row(sweep, point, method, folders[point.name], failed.get(point.name))


def _row(sweep: Sweep, point: GridPoint, method: MethodConfig, folder: Path, error: str | None) -> Row:
    """Return the row of one cell: varied settings, status, last step and evaluation."""
    cell = Cell(folder / "cells" / method.name)
    done = cell.done()
    if failure := cell.failure():
        error = failure["error"]
    elif done:
        error = None
    state = "done" if done else "failed" if error else "begun" if cell.folder.is_dir() else "pending"
    row: Row = {"run": folder.name, "method": method.name, "seed": point.config.seed, "status": state}
    row |= {key: _plain(point.values.get(key)) for key in sweep.keys if key not in ("seed", "methods")}
    row |= {"learning_rate": point.config.learning_rate_of(method), "passes": point.config.passes_of(method)}
    row |= {"error": error if state == "failed" else None, "steps": done.get("steps")}
    last = _last_step(cell) if done else {}
    row |= {name: last.get(name) for name in ("forget_loss_nats", "retain_loss_nats", "lost_update_share")}
    training = done.get("training", {})
    row |= {"training_seconds": training.get("wall_seconds"), "peak_memory_bytes": training.get("peak_memory_bytes")}
    return row | _evaluated(folder, method.name)


def _plain(value: Any) -> Any:
    """Return a value of one type per column: numbers stay, anything else becomes text."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return None if value is None else float(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _last_step(cell: Cell) -> Row:
    if not cell.steps_path.is_file():
        return {}
    rows: list[Row] = pq.read_table(cell.steps_path).to_pylist()
    return rows[-1] if rows else {}


def _evaluated(folder: Path, name: str) -> Row:
    """Return a method's results from the summary of the standard evaluator; null if there are none."""
    path = folder / "summary.json"
    summary: Row = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found: Row = next((each for each in summary.get("methods", []) if each.get("name") == name), {})
    row: Row = {}
    for measure in ("retain_accuracy", "bystander_accuracy"):
        value = found.get(measure)
        row[measure] = value.get("value") if isinstance(value, dict) else value
    for form in ("question", "cloze"):
        slope = (found.get("slope_per_decade") or {}).get(form) or {}
        low, high = slope.get("ci95") or (None, None)
        row |= {f"slope_{form}": slope.get("value"), f"slope_{form}_low": low, f"slope_{form}_high": high}
    return row
