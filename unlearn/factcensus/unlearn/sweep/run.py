"""Run a grid, one run after the other, and put what came out into one table: a row a run and method.

A finished cell is never run again: a run is found by what its settings decide, whatever its folder is called. A run
that fails is noted and the others go on; the next call tries it again. Facts are counted once for the whole grid, and
the original model is evaluated once for all runs that would ask it the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.indexer.errors import FactcensusError
from factcensus.unlearn.config.run_config import MethodConfig, RunConfig, check_config
from factcensus.unlearn.errors import ConfigError, InterruptedRunError, RunFolderError
from factcensus.unlearn.evaluation import Evaluator
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.run_folder import INPUTS, Cell, locked
from factcensus.unlearn.stopping import stop_on_sigterm
from factcensus.unlearn.sweep.grid import GridPoint, Sweep
from factcensus.unlearn.training.ranks import current_ranks

CELLS = "cells.parquet"
Row = dict[str, Any]


@dataclass(slots=True)
class SweepResult:
    """What a sweep left behind.

    Attributes:
        path: ``cells.parquet``.
        rows: Its rows.
        failed: Messages of the runs that failed, by their folders' names.
    """

    path: Path
    rows: list[Row]
    failed: dict[str, str] = field(default_factory=dict)


def run_sweep(
    sweep: Sweep,
    evaluator: Callable[[], Evaluator] | None = None,
    progress: ProgressFunction | None = None,
) -> SweepResult:
    """Run what is not finished yet.

    Args:
        sweep: The grid.
        evaluator: Makes one for each run, instead of the one that the configuration names.
        progress: Told of every run's progress, and of the runs done so far.

    Raises:
        RunFolderError: the folder has files of something else in it, or another process works there.
        InterruptedRunError: SIGTERM; the same call continues.
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
                except InterruptedRunError:
                    raise
                except FactcensusError as error:
                    result.failed[point.name] = " ".join(str(error).split())
            if first:
                result.rows = write_cells(sweep, folders, result.failed)
    report(Progress("sweep", len(sweep.points), len(sweep.points)))
    return result


def sweep_status(sweep: Sweep) -> list[Row]:
    """A row a run and method as things stand; nothing is run or written."""
    return list(_rows(sweep, _folders(sweep), {}))


def write_cells(sweep: Sweep, folders: dict[str, Path], failed: dict[str, str]) -> list[Row]:
    """Write ``cells.parquet``; returns its rows."""
    rows = list(_rows(sweep, folders, failed))
    with locked(sweep.out):
        unfinished = sweep.out / (CELLS + ".unfinished")
        pq.write_table(pa.Table.from_pylist(rows), unfinished)
        unfinished.replace(sweep.out / CELLS)
    return rows


def _refuse_other_files(sweep: Sweep) -> None:
    """A folder is a sweep's if all that is in it are runs, or what sweeps write."""
    if not sweep.out.is_dir():
        return
    for entry in sweep.out.iterdir():
        ours = entry.name in (INPUTS, ".lock", CELLS, CELLS + ".unfinished")
        if not ours and not (entry / "run.json").is_file() and not (entry / INPUTS).is_dir() and any_file(entry):
            raise RunFolderError(f"{sweep.out} has {entry.name!r} in it, which is no run; give another `out`")


def any_file(path: Path) -> bool:
    """Whether this is a file, or a folder with something in it besides a lock."""
    return not path.is_dir() or any(entry.name != ".lock" for entry in path.iterdir())


def _settings(config: RunConfig) -> tuple[str, ...]:
    return (config.fingerprint(), *sorted(config.method_fingerprint(method) for method in config.methods))


def _folders(sweep: Sweep) -> dict[str, Path]:
    """Each run's folder by its name: one that holds this very run already, else the one it is called after."""
    there: dict[tuple[str, ...], Path] = {}
    for record in sorted(sweep.out.glob("*/run.json")):
        try:
            config = check_config(json.loads(record.read_text(encoding="utf-8"))["config"])
        except (ConfigError, KeyError, ValueError):  # a run of another version: it is nobody's in this grid
            continue
        there.setdefault(_settings(config), record.parent)
    return {point.name: there.get(_settings(point.config), sweep.out / point.name) for point in sweep.points}


def _is_done(config: RunConfig) -> bool:
    record = config.out / "run.json"
    return record.is_file() and json.loads(record.read_text(encoding="utf-8")).get("status") == "done"


def _rows(sweep: Sweep, folders: dict[str, Path], failed: dict[str, str]) -> Iterator[Row]:
    for point in sweep.points:
        for method in point.config.methods:
            yield _row(sweep, point, method, folders[point.name], failed.get(point.name))


def _row(sweep: Sweep, point: GridPoint, method: MethodConfig, folder: Path, error: str | None) -> Row:
    """One cell: what varies, how far it is, how training ended, and what the evaluation says."""
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
    """One type a column, whatever the values: numbers stay, anything else is text."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return None if value is None else float(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _last_step(cell: Cell) -> Row:
    if not cell.steps_path.is_file():
        return {}
    rows: list[Row] = pq.read_table(cell.steps_path).to_pylist()
    return rows[-1] if rows else {}


def _evaluated(folder: Path, name: str) -> Row:
    """What the standard evaluator's summary says of a method; null where there is none."""
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
