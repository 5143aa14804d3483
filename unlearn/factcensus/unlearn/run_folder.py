"""The run folder: what is where, what is finished, and whose it is.

    RUN/run.json                                  resolved configuration, digests, versions, sets, status
    RUN/cells/original/{facts,tokens}.parquet     the evaluation before unlearning, done.json
    RUN/cells/METHOD/{steps,facts,tokens}.parquet and done.json; state.pt while it runs; failed.json instead if the
                                                  loss was not finite
    RUN/{facts,tokens,steps}.parquet              all cells one after the other
    RUN/inputs/                                   counts and known facts, where the run found them out itself
    RUN/examples.parquet                          the token ids that were trained on
    RUN/summary.json, RUN/report.html             the evaluator's

A cell is finished when its ``done.json`` is there, which is written last. The same configuration continues a folder;
another one is refused.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.unlearn.errors import RunFolderError

if TYPE_CHECKING:
    from factcensus.unlearn.material import Material

ORIGINAL = "original"
TABLES = ("facts", "tokens", "steps")
#: What may be in a folder before a run begins in it: counts and what the original model knows.
INPUTS = "inputs"
BEFORE_THE_RUN = frozenset({".lock", INPUTS})


class Cell:
    """One method's folder inside a run, or that of the original model."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name

    @property
    def state_path(self) -> Path:
        """The training's state while it runs."""
        return self.folder / "state.pt"

    @property
    def steps_path(self) -> Path:
        """Step records; there when training is over, also before the evaluation is."""
        return self.folder / "steps.parquet"

    def is_done(self) -> bool:
        """Whether nothing is left to do here."""
        return (self.folder / "done.json").is_file()

    def write(self, name: str, table: pa.Table, columns: Mapping[str, Any]) -> None:
        """Store a table with constant columns in front, whole or not at all."""
        for position, (column, value) in enumerate(columns.items()):
            if column in table.column_names:
                table = table.drop_columns([column])
            table = table.add_column(position, column, pa.array([value] * table.num_rows, _type_of(value)))
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.folder / f"{name}.parquet.unfinished"
        pq.write_table(table, unfinished)
        unfinished.replace(self.folder / f"{name}.parquet")

    def claim(self, settings: str) -> None:
        """Make the cell, or continue it: ``settings`` is a digest of what decides its results.

        Raises:
            RunFolderError: it was begun with other settings.
        """
        path = self.folder / "method.json"
        begun = json.loads(path.read_text(encoding="utf-8"))["settings"] if path.is_file() else settings
        if begun != settings and self.has_failed():
            shutil.rmtree(self.folder)  # it has no results that those of other settings could be mixed with
        elif begun != settings:
            raise RunFolderError(
                f"{self.folder} holds a method with other settings, and is left as it is; "
                "give the method another `name`, or the run another `out`"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {"settings": settings})

    def fail(self, settings: str, error: str) -> None:
        """Record that the method failed with these settings, and drop its state: the same settings fail again."""
        write_json(self.folder / "failed.json", {"settings": settings, "error": error})
        self.state_path.unlink(missing_ok=True)

    def has_failed(self, settings: str | None = None) -> bool:
        """Return whether the method failed, with these settings if any are given."""
        failure = self.failure()
        return bool(failure) and settings in (None, failure["settings"])

    def failure(self) -> dict[str, str]:
        """Return the settings and the error that the method failed with; empty if it did not."""
        path = self.folder / "failed.json"
        noted: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return noted

    def done(self) -> dict[str, Any]:
        """What was noted when the cell was finished; empty before."""
        path = self.folder / "done.json"
        noted: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return noted

    def take_over(self, runs: Sequence[Path], key: str) -> bool:
        """Copy the cell of this name from the first of the runs that finished one with this key, if any did."""
        for run in runs:
            other = Cell(run / "cells" / self.name)
            if other.folder != self.folder and other.done().get("key") == key:
                for path in other.folder.glob("*.parquet"):
                    self.folder.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(path, self.folder / path.name)
                self.finish({**other.done(), "taken_over_from": str(run)})
                return True
        return False

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Mark the cell as done, and drop its state."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "done.json", facts)
        self.state_path.unlink(missing_ok=True)


def stored_clock(folder: Path) -> datetime | None:
    """Return the time that the prompts of the run in this folder were made at; None if there is no run.

    Raises:
        RunFolderError: the run did not record it, so its prompts cannot be made again.
    """
    path = folder / "run.json"
    if not path.is_file():
        return None
    clock = (json.loads(path.read_text(encoding="utf-8")).get("prompt") or {}).get("clock")
    if clock is None:
        raise RunFolderError(
            f"{folder} holds a run whose prompts were made without a recorded time, and the chat template reads the "
            "clock; the run is left as it is, give another `out`"
        )
    return datetime.fromisoformat(clock)


def _type_of(value: Any) -> pa.DataType:
    return pa.int64() if isinstance(value, int) else pa.string()


class RunFolder:
    """A run's folder, made or continued by :func:`open_run`."""

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self.folder = folder
        self.record = record

    def cell(self, name: str) -> Cell:
        """The cell of a method, or of ``original``."""
        return Cell(self.folder / "cells" / name)

    def update(self, **changes: Any) -> None:
        """Change ``run.json``."""
        self.record |= changes
        write_json(self.folder / "run.json", self.record)

    def write_examples(self, material: Material) -> None:
        """Write ``examples.parquet``: the token ids of everything that training sees, and their digest in the record.

        A row an example: ``used`` (forget, refusal, retain), ``fact_id``, ``prompt_ids``, ``answer_ids``.

        Raises:
            RunFolderError: the run that is continued was begun with other tokens.
        """
        used = (("forget", material.answers), ("refusal", material.refusals), ("retain", material.retain))
        rows = [
            {
                "used": use,
                "fact_id": each.name,
                "prompt_ids": list(each.prompt_ids),
                "answer_ids": list(each.answer_ids),
            }
            for use, examples in used
            for each in examples
        ]
        path = self.folder / "examples.parquet"
        if path.is_file():
            self._refuse_other_prompts(pq.read_table(path).to_pylist(), rows)
        digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
        ids = pa.list_(pa.int32())
        names = [("used", pa.string()), ("fact_id", pa.string()), ("prompt_ids", ids), ("answer_ids", ids)]
        unfinished = self.folder / "examples.parquet.unfinished"
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(names)), unfinished)
        unfinished.replace(self.folder / "examples.parquet")
        self.update(tokens={"digest": f"sha256:{digest}", "examples": len(rows)})

    def _refuse_other_prompts(self, there: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> None:
        """Compare each set that both have; a method that is added may need refusals that there were not before."""
        for use in ("forget", "refusal", "retain"):
            before, now = ([row for row in table if row["used"] == use] for table in (there, rows))
            if before and now and before != now:
                first = next((old["fact_id"] for old, new in zip(before, now, strict=False) if old != new), "?")
                raise RunFolderError(
                    f"{self.folder} was begun with other prompts or answers (the tokens of fact {first!r} differ), and "
                    "is left as it is; give another `out`"
                )

    def concatenate(self, cells: Sequence[str]) -> None:
        """Write each kind of table once for the whole run, cells in this order. Columns a cell lacks are null."""
        for name in TABLES:
            paths = [self.cell(cell).folder / f"{name}.parquet" for cell in cells]
            tables = [pq.read_table(path) for path in paths if path.is_file()]
            if tables:
                unfinished = self.folder / f"{name}.parquet.unfinished"
                pq.write_table(pa.concat_tables(tables, promote_options="permissive"), unfinished)
                unfinished.replace(self.folder / f"{name}.parquet")


@contextmanager
def open_run(folder: Path, identity: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[RunFolder]:
    """Make a run folder, or continue the one that is there, for this process alone.

    Args:
        folder: The run folder.
        identity: What must be equal for a run to be continued: digests of settings, model and facts.
        record: What else ``run.json`` says at the start.

    Raises:
        RunFolderError: the folder holds another run or other files, or another process works in it.
    """
    path = folder / "run.json"
    if path.is_file():
        there = json.loads(path.read_text(encoding="utf-8"))
        _refuse_another_run(folder, there, identity)
    elif folder.exists() and any(entry.name not in BEFORE_THE_RUN for entry in folder.iterdir()):
        raise RunFolderError(f"{folder} has files in it and no run.json; it is left as it is, give another `out`")
    with locked(folder):
        run = RunFolder(folder, {**record, "identity": dict(identity)})
        run.update(status="running")
        try:
            yield run
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt) or getattr(error, "exit_code", 1) == 130
            run.update(status="interrupted" if interrupted else "failed", error=" ".join(str(error).split()))
            raise
        run.record.pop("error", None)
        run.update(status="done")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a folder, and keep it for this process alone.

    Raises:
        RunFolderError: another process works in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunFolderError(f"{folder}: another process works in this run folder") from None
        yield
    finally:
        os.close(lock)


def _refuse_another_run(folder: Path, there: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    stored = there.get("identity", {})
    differs = [name for name, value in identity.items() if stored.get(name) != value]
    if differs:
        what = {"settings": "other settings", "model": "another model", "facts": "another fact table"}
        named = " and ".join(what.get(name, name) for name in differs)
        raise RunFolderError(f"{folder} holds a run with {named}, and is left as it is; give another `out`")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON, whole or not at all."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(json.dumps(value, indent=2, default=str) + "\n", encoding="utf-8")
    unfinished.replace(path)
