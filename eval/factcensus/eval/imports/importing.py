"""Detection of the format of result files, and conversion into a run folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.imports import open_unlearning, paper, table, tofu
from factcensus.eval.imports.results import Imported, Source
from factcensus.eval.names import COUNT
from factcensus.indexer import InputError, read_facts, write_table
from factcensus.indexer.paths import not_found
from factcensus.indexer.system.files import write_json
from factcensus.indexer.tables.complete import complete_facts
from factcensus.unlearn.run_folder import library_versions

FORMATS = ("auto", "open-unlearning", "tofu", "paper", "table")


def source_of(text: str) -> Source:
    """Parse ``METHOD=PATH`` or a path alone."""
    method, equals, path = text.partition("=")
    if equals and method and not Path(text).exists():
        return Source(Path(path), method.strip())
    return Source(Path(text))


def import_results(
    sources: Sequence[Source],
    out: Path,
    *,
    kind: str = "auto",
    facts: Path | None = None,
    seed: int = 0,
    count_column: str = COUNT,
) -> Path:
    """Import results as a run folder.

    Args:
        kind: One of :data:`FORMATS`.
        facts: The fact table with counts, joined by ``fact_id`` (the index of the question for
            open-unlearning and tofu).
        seed: Seed of results that do not state one.
        count_column: The count column that the statistics use.

    Raises:
        EvaluationInputError: a file does not have the expected format, or ``out`` is not empty.
    """
    if out.exists() and any(out.iterdir()):
        raise EvaluationInputError(f"{out} is not empty; choose another --out")
    for source in sources:
        if not source.path.exists():
            raise EvaluationInputError(not_found("file or folder of results", source.path))
    kind = _kind(sources) if kind == "auto" else kind
    readers: dict[str, Callable[..., Imported]] = {
        "open-unlearning": open_unlearning.read,
        "tofu": tofu.read,
        "paper": paper.read,
        "table": table.read,
    }
    counted = None if facts is None else _counted(facts)
    imported = readers[kind](sources, counted, seed)
    if count_column != COUNT and count_column not in imported.facts.columns:
        raise EvaluationInputError(
            f"there is no count column {count_column!r}; the columns are {', '.join(map(str, imported.facts.columns))}"
        )
    out.mkdir(parents=True, exist_ok=True)
    write_table(pa.Table.from_pandas(imported.facts, preserve_index=False), out / "facts.parquet")
    if len(imported.aggregates):
        write_table(pa.Table.from_pandas(imported.aggregates, preserve_index=False), out / "aggregates.parquet")
    record: dict[str, Any] = {
        "seed": seed,
        "count_column": count_column,
        "imported": {
            "format": kind,
            "sources": [
                {"method": source.method, "path": str(source.path), "digest": _digest(source.path)}
                for source in sources
            ],
        },
        "facts": {"path": None if facts is None else str(facts), "rows": len(imported.facts)},
        "notes": list(imported.notes),
        "versions": library_versions(),
        "status": "done",
    }
    write_json(out / "run.json", record)
    return out


def _kind(sources: Sequence[Source]) -> str:
    """Detect the format from the file names."""
    found = set()
    for source in sources:
        name = source.path.name
        if source.path.is_dir():
            found.add(_kind_of_folder(source.path))
        elif name == "results.jsonl":
            found.add("paper")
        elif name == tofu.FILE:
            found.add("tofu")
        elif name.endswith(".json"):
            found.add("open-unlearning")
        else:
            found.add("table")
    if len(found) > 1:
        raise EvaluationInputError(
            f"the sources have different formats ({', '.join(sorted(found))}); import each one separately"
        )
    return found.pop()


def _kind_of_folder(folder: Path) -> str:
    files = {"paper": "results.jsonl", "tofu": tofu.FILE}
    return next((kind for kind, name in files.items() if any(folder.rglob(name))), "open-unlearning")


def _counted(path: Path) -> pd.DataFrame:
    """Read a fact table; if it has no ids, rows are numbered from 0, as in data sets.

    Raises:
        InputError: the table is unusable; the message names it.
    """
    facts = read_facts(path)
    if "fact_id" not in facts.column_names:
        facts = facts.add_column(0, "fact_id", pa.array([str(number) for number in range(facts.num_rows)]))
    try:
        checked = complete_facts(facts)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    frame: pd.DataFrame = checked.select(facts.column_names).to_pandas(
        ignore_metadata=True, types_mapper={pa.int64(): pd.Int64Dtype()}.get
    )
    return frame


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return f"sha256:{digest.hexdigest()}"
