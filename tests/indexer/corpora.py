"""Helpers that write corpus files and indexes for tests."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from factcensus.indexer import CountIndex, build_index
from factcensus.indexer.storage.manifest import Layout

Record = dict[str, Any]
#: The layouts of an index; tests of answers and changes run over both.
LAYOUTS: tuple[Layout, ...] = ("suffix-array", "compact")
both_layouts = pytest.mark.parametrize("layout", LAYOUTS)

#: Words in a path that make infini-gram's engine misread the kind of a file.
ENGINE_PATH_TRAPS = ("tokenized", "table", "offset", "metadata", "metaoff", "unigram")


@contextmanager
def engine_folder() -> Iterator[Path]:
    """Yield an empty folder whose path does not mislead infini-gram's engine, as the name of a test in it might."""
    with TemporaryDirectory(prefix="ix") as name:
        assert not any(trap in name for trap in ENGINE_PATH_TRAPS)
        yield Path(name)


def content(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file in a folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def records(texts: Iterable[str], sources: Sequence[str | None] | None = None) -> list[Record]:
    """Return Dolma documents; a document with the source None has no such field."""
    texts = list(texts)
    made: list[Record] = []
    for number, (text, source) in enumerate(zip(texts, sources or [None] * len(texts), strict=True)):
        made.append({"id": f"d{number}", "text": text} | ({} if source is None else {"source": source}))
    return made


def write_bytes(path: Path, content: bytes) -> Path:
    """Write bytes, compressed according to the ending of the file."""
    if path.suffix == ".gz":
        content = gzip.compress(content, mtime=0)
    elif path.suffix == ".zst":
        content = zstandard.compress(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_corpus(path: Path, documents: Iterable[Record], *, escape: bool = False) -> Path:
    """Write documents as JSON Lines (also compressed) or Parquet, according to the ending of the file."""
    if path.suffix == ".parquet":
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(documents)), path)
        return path
    lines = "".join(json.dumps(document, ensure_ascii=escape) + "\n" for document in documents)
    return write_bytes(path, lines.encode("utf-8"))


def make_index(
    folder: Path, texts: Iterable[str], sources: Sequence[str | None] | None = None, **options: Any
) -> CountIndex:
    """Build an index of texts in ``folder`` and open it; one job, because most are tiny."""
    corpus = write_corpus(folder / "corpus.jsonl", records(texts, sources))
    build_index([corpus], folder / "ix", **{"jobs": 1} | options)
    return CountIndex.open(folder / "ix")


@contextmanager
def index_of(texts: Iterable[str], sources: Sequence[str | None] | None = None, **options: Any) -> Iterator[CountIndex]:
    """Yield an open index of texts in a temporary folder, for use inside ``@given``."""
    with index_folder(texts, sources, **options) as folder, CountIndex.open(folder) as index:
        yield index


@contextmanager
def index_folder(texts: Iterable[str], sources: Sequence[str | None] | None = None, **options: Any) -> Iterator[Path]:
    """Yield the temporary folder of an index of texts."""
    with TemporaryDirectory(prefix="ix") as folder:
        make_index(Path(folder), texts, sources, **options).close()
        yield Path(folder) / "ix"


def fact_table(rows: Iterable[tuple[Sequence[str], Sequence[str]]]) -> pa.Table:
    """Return a fact table from (subject forms, object forms); the first form is the name, the others are aliases."""
    rows = list(rows)
    strings = pa.list_(pa.string())
    return pa.table(
        {
            "subject": pa.array([subject[0] for subject, _ in rows], pa.string()),
            "object": pa.array([object_[0] for _, object_ in rows], pa.string()),
            "subject_aliases": pa.array([list(subject[1:]) for subject, _ in rows], strings),
            "object_aliases": pa.array([list(object_[1:]) for _, object_ in rows], strings),
        }
    )
