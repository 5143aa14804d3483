"""The run folder: its files, its finished cells, and its identity.

    RUN/run.json                                  resolved configuration, digests, versions, sets, status
    RUN/cells/original/{facts,tokens}.parquet     the evaluation before unlearning, done.json
    RUN/cells/METHOD/{steps,facts,tokens}.parquet and done.json; state.pt during training; failed.json instead of
                                                  done.json if the loss was not finite
    RUN/{facts,tokens,steps}.parquet              the tables of all cells
    RUN/inputs/                                   counts and known facts determined by the run
    RUN/examples.parquet                          the token ids used in training
    RUN/summary.json, RUN/report.html             written by the evaluator

A cell is finished when its ``done.json`` exists, which is written last. The same configuration resumes a run in its
folder; any other configuration is refused.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.indexer.system.files import replaced_file, write_json
from factcensus.indexer.system.locks import locked
from factcensus.indexer.tables.files import write_table
from factcensus.unlearn.errors import RunFolderError

if TYPE_CHECKING:
    from factcensus.unlearn.training.material import Material

ORIGINAL = "original"
TABLES = ("facts", "tokens", "steps")
#: The libraries whose versions affect the numbers.
LIBRARIES = ("factcensus", "torch", "transformers", "tokenizers", "numpy", "pyarrow")
#: Allowed content of a folder before a run starts: counts and the facts that the original model knows.
INPUTS = "inputs"
BEFORE_THE_RUN = frozenset({".lock", INPUTS})


def read_record(folder: Path) -> dict[str, Any]:
    """Return the content of ``run.json``; empty if there is no run."""
    return _read(folder / "run.json")


def _read(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty if there is no file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content


def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that affect the numbers."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def merge_tables(folders: Sequence[Path], out: Path, names: Sequence[str] = TABLES) -> None:
    """Write each kind of table of several folders as one table in ``out``, in this order; missing columns are null.

    A folder may hold a table in several files, ``NAME.*.parquet``.
    """
    for name in names:
        paths = [
            path for each in folders for path in [*sorted(each.glob(f"{name}.*.parquet")), each / f"{name}.parquet"]
        ]
        if tables := [pq.read_table(path) for path in paths if path.is_file()]:
            write_table(pa.concat_tables(tables, promote_options="permissive"), out / f"{name}.parquet")


class Cell:
    """The folder of one method, or of the original model, inside a run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name

    @property
    def state_path(self) -> Path:
        """Path of the training state during training."""
        return self.folder / "state.pt"

    @property
    def steps_path(self) -> Path:
        """Path of the step records; exists once training is complete, even before the evaluation."""
        return self.folder / "steps.parquet"

    def is_done(self) -> bool:
        """Return whether the cell is finished."""
        return (self.folder / "done.json").is_file()

    def has(self, *names: str) -> bool:
        """Return whether these tables exist; each is complete or absent."""
        return all((self.folder / f"{name}.parquet").is_file() for name in names)

    def read(self, name: str) -> pa.Table:
        """Return a table."""
        return pq.read_table(self.folder / f"{name}.parquet")

    def write(self, name: str, table: pa.Table, seed: int) -> None:
        """Write a table atomically, with the columns ``seed`` and ``method`` at the front."""
        table = table.drop_columns([column for column in ("seed", "method") if column in table.column_names])
        table = table.add_column(0, "seed", pa.array([seed] * table.num_rows, pa.int64()))
        table = table.add_column(1, "method", pa.array([self.name] * table.num_rows, pa.string()))
        write_table(table, self.folder / f"{name}.parquet")

    def claim(self, settings: str) -> None:
        """Create or resume the cell; ``settings`` is a digest of everything that determines its results.

        Raises:
            RunFolderError: it was started with other settings.
        """
        path = self.folder / "method.json"
        begun = _read(path).get("settings", settings)
        if begun != settings and self.has_failed():
            shutil.rmtree(self.folder)  # it has no results that could mix with other settings
        elif begun != settings:
            raise RunFolderError(
                f"{self.folder} holds a method with other settings and was not changed; "
                "give the method another `name`, or the run another `out`"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {"settings": settings})

    def fail(self, settings: str, error: str) -> None:
        """Record that the method failed with these settings, and delete its state."""
        write_json(self.folder / "failed.json", {"settings": settings, "error": error})
        self._delete_state()

    def has_failed(self, settings: str | None = None) -> bool:
        """Return whether the method failed (with these settings, if given)."""
        failure = self.failure()
        return bool(failure) and settings in (None, failure["settings"])

    def failure(self) -> dict[str, str]:
        """Return settings and error of the failure; empty if the method did not fail."""
        return _read(self.folder / "failed.json")

    def done(self) -> dict[str, Any]:
        """Return the content of ``done.json``; empty if the cell is not finished."""
        return _read(self.folder / "done.json")

    def take_over(self, runs: Sequence[Path], key: str) -> bool:
        """Copy the cell with this name and key from the first run that has finished it; return whether one has."""
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
        """Mark the cell as done and delete its state."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "done.json", facts)
        self._delete_state()

    def _delete_state(self) -> None:
        """Delete the training state, which may have several parts (:mod:`factcensus.unlearn.training.saved_state`)."""
        for path in self.folder.glob(f"{self.state_path.stem}*{self.state_path.suffix}"):
            path.unlink(missing_ok=True)


def finished_cells(folder: Path) -> list[Cell]:
    """Return the finished cells of a run folder, in the order of their names."""
    return [Cell(path.parent) for path in sorted(folder.glob("cells/*/done.json"))]


def stored_clock(folder: Path) -> datetime | None:
    """Return the time used in the prompts of the run in this folder; None if there is no run.

    Raises:
        RunFolderError: the run did not record the time, so its prompts cannot be reproduced.
    """
    if not (folder / "run.json").is_file():
        return None
    clock = (read_record(folder).get("prompt") or {}).get("clock")
    if clock is None:
        raise RunFolderError(
            f"{folder} holds a run without a recorded time, but the chat template reads the clock; the run was not "
            "changed, give another `out`"
        )
    return datetime.fromisoformat(clock)


class RunFolder:
    """A run folder that :func:`open_run` created or resumed."""

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self.folder = folder
        self.record = record

    def cell(self, name: str) -> Cell:
        """Return the cell of a method, or of ``original``."""
        return Cell(self.folder / "cells" / name)

    def update(self, **changes: Any) -> None:
        """Update keys of ``run.json``."""
        self.record |= changes
        write_json(self.folder / "run.json", self.record)

    def write_examples(self, material: Material) -> None:
        """Write ``examples.parquet``, the token ids of all training examples, and record their digest.

        Each row is an example: ``used`` (forget, refusal, retain), ``fact_id``, ``prompt_ids``, ``answer_ids``.

        Raises:
            RunFolderError: the resumed run was started with other tokens.
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
        with replaced_file(path) as partial:
            pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(names)), partial)
        self.update(tokens={"digest": f"sha256:{digest}", "examples": len(rows)})

    def _refuse_other_prompts(self, there: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> None:
        """Raise RunFolderError if a set differs. Only sets of both runs are compared: methods may add refusals."""
        for use in ("forget", "refusal", "retain"):
            before, now = ([row for row in table if row["used"] == use] for table in (there, rows))
            if before and now and before != now:
                first = next((old["fact_id"] for old, new in zip(before, now, strict=False) if old != new), "?")
                raise RunFolderError(
                    f"{self.folder} was started with other prompts or answers (the tokens of fact {first!r} differ) "
                    "and was not changed; give another `out`"
                )


def differences(stored: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    """Return the names of the parts of an identity that differ from the stored ones."""
    return [name for name, value in identity.items() if stored.get(name) != value]


Differences = Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]]
_DIFFERENCES = {"model": "another model", "models": "other models", "facts": "another fact table"}


def check_run_folder(folder: Path, identity: Mapping[str, Any], differing: Differences = differences) -> None:
    """Check that a run may be started or resumed in this folder.

    Raises:
        RunFolderError: it holds another run or other files.
    """
    if (folder / "run.json").is_file():
        stored = read_record(folder).get("identity") or {}
        named = [_DIFFERENCES.get(each, "other settings") for each in differing(stored, identity)]
        if named:
            what = " and ".join(dict.fromkeys(named))
            raise RunFolderError(f"{folder} holds a run with {what} and was not changed; give another `out`")
    elif folder.exists() and any(entry.name not in BEFORE_THE_RUN for entry in folder.iterdir()):
        raise RunFolderError(f"{folder} contains files but no run.json; it was not changed, give another `out`")


@contextmanager
def open_run(
    folder: Path, identity: Mapping[str, Any], record: Mapping[str, Any], differing: Differences = differences
) -> Iterator[RunFolder]:
    """Create or resume a run folder, locked for this process.

    Args:
        folder: The run folder.
        identity: Digests of settings, models and facts, which must match to resume a run.
        record: Other initial content of ``run.json``.
        differing: Returns the names of the parts of the stored identity that differ from this one.

    Raises:
        RunFolderError: the folder holds another run or other files, or another process uses it.
    """
    check_run_folder(folder, identity, differing)
    with locked_run(folder):
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
def locked_run(folder: Path) -> Iterator[None]:
    """Create a folder and lock it for this process.

    Raises:
        RunFolderError: another process uses it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        try:
            held.enter_context(locked(folder / ".lock", wait=False))
        except BlockingIOError:
            raise RunFolderError(f"{folder}: another process uses this run folder") from None
        yield
