"""First stage of a build: one corpus file to token ids and document rows on disk, in bounded memory.

Files are analysed independently, each with a vocabulary of its own, in as many processes as asked for; merging them
in file order afterwards (:mod:`shards`) makes the result independent of how many there were. A spooled file is
finished once its ``.json`` exists, so an interrupted build goes on behind it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.indexer.analyzers import NUMPY_DTYPE, get_analyzer
from factcensus.indexer.corpus import BadLinePolicy, Document, SourceFile, read_documents
from factcensus.indexer.layout import write_atomically

#: UTF-8 bytes that are analysed at once. Part of the result: the order of ids inside a batch depends on it.
BATCH_BYTES = 4 << 20

DOCUMENT_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.dictionary(pa.int32(), pa.string())),
        ("path", pa.dictionary(pa.int32(), pa.string())),
        ("record", pa.int64()),
        ("tokens", pa.int64()),
        ("text_bytes", pa.int64()),
        ("text_digest", pa.uint64()),
        ("metadata", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class SpooledFile:
    """What became of one corpus file."""

    documents: int
    tokens: int
    text_bytes: int
    skipped_lines: int


@dataclass(frozen=True, slots=True)
class SpoolTask:
    """One corpus file to analyse; picklable."""

    number: int
    file: SourceFile
    folder: Path
    analyzer: str
    text_field: str
    on_bad_line: BadLinePolicy

    def path(self, suffix: str) -> Path:
        """A spool file: ``ids``, ``parquet``, ``words.npz`` or ``json``."""
        return self.folder / f"{self.number:06d}.{suffix}"

    def finished(self) -> SpooledFile | None:
        """The result, if this file has been spooled already."""
        try:
            return SpooledFile(**json.loads(self.path("json").read_bytes()))
        except OSError:
            return None


def spool(
    task: SpoolTask, on_bytes: Callable[[int], None], on_skip: Callable[[str], None] = lambda _reason: None
) -> SpooledFile:
    """Analyse one corpus file, unless that is done already."""
    if done := task.finished():
        return done
    analyzer = get_analyzer(task.analyzer)
    encoder: Any = analyzer.encoder()
    dtype = NUMPY_DTYPE[analyzer.token_dtype]
    seen = np.zeros(0, bool)
    totals = {"documents": 0, "tokens": 0, "text_bytes": 0, "skipped_lines": 0}

    def skipped(reason: str) -> None:
        totals["skipped_lines"] += 1
        on_skip(reason)

    def flush(documents: list[Document]) -> None:
        nonlocal seen
        ids, lengths = encoder.encode([document.text for document in documents])
        ids_file.write(np.ascontiguousarray(ids, dtype).tobytes())
        if analyzer.has_vocabulary:
            seen = np.concatenate([seen, np.zeros(len(encoder.table) - len(seen), bool)])
            seen[ids] = True
        rows.write_batch(_rows(documents, lengths.tolist(), task.file.name))
        totals["documents"] += len(documents)
        totals["tokens"] += len(ids)
        totals["text_bytes"] += sum(len(document.text) for document in documents)

    with (
        task.path("ids").open("wb") as ids_file,
        pq.ParquetWriter(task.path("parquet"), DOCUMENT_SCHEMA, compression="zstd") as rows,
    ):
        batch: list[Document] = []
        pending = 0
        for document in read_documents(
            task.file, text_field=task.text_field, on_bad_line=task.on_bad_line, on_skip=skipped, on_bytes=on_bytes
        ):
            batch.append(document)
            pending += len(document.text)
            if pending >= BATCH_BYTES:
                flush(batch)
                batch, pending = [], 0
        if batch:
            flush(batch)
    if analyzer.has_vocabulary:
        table = encoder.table
        np.savez(
            task.path("words.npz"),
            arena=table.arena[: table.used[1]],
            starts=table.starts[: len(table) + 1],
            seen=seen,
        )
    result = SpooledFile(**totals)
    write_atomically(task.path("json"), json.dumps(asdict(result)).encode())
    return result


def _rows(documents: list[Document], lengths: list[int], path: str) -> pa.RecordBatch:
    columns: dict[str, list[Any]] = {
        "id": [document.id for document in documents],
        "source": [document.source for document in documents],
        "path": [path] * len(documents),
        "record": [document.record for document in documents],
        "tokens": lengths,
        "text_bytes": [len(document.text) for document in documents],
        "text_digest": [
            int.from_bytes(hashlib.blake2b(document.text, digest_size=8).digest(), "little") for document in documents
        ],
        "metadata": [document.metadata for document in documents],
    }
    return pa.RecordBatch.from_pydict(columns, schema=DOCUMENT_SCHEMA)
