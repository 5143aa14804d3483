"""First stage of a build: from one corpus file to token ids and document rows on disk, in bounded memory.

Files are analysed independently in several processes, each file with its own vocabulary. They are later merged in file
order (:mod:`shards`), so the result does not depend on the number of processes. A spooled file is finished once its
``.json`` exists; an interrupted build continues after it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.compute import call_function as compute

from factcensus.indexer.analyzers import NUMPY_DTYPE, get_analyzer
from factcensus.indexer.arrays import Array, as_arrow, as_numpy, bytes_of, repeated
from factcensus.indexer.corpus import BadLinePolicy, LineLimit, Piece, SkippedLines, SourceFile, read_batches
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.storage.manifest import Manifest
from factcensus.indexer.system.files import write_atomically

if TYPE_CHECKING:
    from factcensus.indexer.storage.shard import Shard
    from factcensus.indexer.storage.vocabulary import Vocabulary


#: Bytes of the digest of a text.
DIGEST_BYTES = 8
SPOOL_FILES = ("ids", "parquet", "words.npz", "texts")

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
    """The result of analysing one corpus file.

    Attributes:
        content: Digest of the ids and texts of its documents; empty for a shard of an index.
    """

    documents: int
    tokens: int
    text_bytes: int
    skipped_lines: int
    content: str = ""


@dataclass(frozen=True, slots=True)
class SpoolTask:
    """One corpus file to analyse; picklable."""

    number: int
    file: SourceFile
    folder: Path
    analyzer: str
    text_field: str = "text"
    id_field: str = "id"
    on_bad_line: BadLinePolicy = "fail"
    line_bytes: int = 1 << 30
    keep_text: bool = False

    def path(self, suffix: str) -> Path:
        """Return the path of a spool file: ``ids``, ``parquet``, ``words.npz``, ``texts`` or ``json``."""
        return self.folder / f"{self.number:06d}.{suffix}"

    def parquet(self) -> AbstractContextManager[Path]:
        """Yield the path of the document rows."""
        return nullcontext(self.path("parquet"))

    def read_ids(self, dtype: np.dtype[Any], first: int, count: int) -> Array:
        """Return some token ids of the file."""
        return np.fromfile(self.path("ids"), dtype, count, offset=first * dtype.itemsize)

    def read_text(self, first: int, count: int) -> bytes:
        """Return some bytes of the concatenated texts of the file, if they were kept."""
        with self.path("texts").open("rb") as file:
            file.seek(first)
            return file.read(count)

    def word_ids(self) -> npt.NDArray[np.uint32] | None:
        """Return the id in the index of each word; None if the ids of the file are those of the index."""
        mapping = self.path("global")
        return np.fromfile(mapping, np.uint32) if mapping.exists() else None

    def finished(self) -> SpooledFile | None:
        """Return the result if this file is already spooled, otherwise None."""
        try:
            stored = json.loads(self.path("json").read_bytes())
            for name, size in stored["files"].items():
                if self.path(name).stat().st_size != size:  # truncated by a power cut, or already removed
                    return None
            return SpooledFile(**stored["totals"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def start(self) -> None:
        """Remove the files that an interrupted build left.

        They are not overwritten, because a process of that build may still have them open.
        """
        for suffix in ("json", *SPOOL_FILES):
            self.path(suffix).unlink(missing_ok=True)

    def open_texts(self) -> AbstractContextManager[BinaryIO | None]:
        """Open the file of the texts for writing; None if they are not kept."""
        return self.path("texts").open("wb") if self.keep_text else nullcontext()

    def finish(self, result: SpooledFile) -> None:
        """Record that all files are complete."""
        sizes = {suffix: self.path(suffix).stat().st_size for suffix in SPOOL_FILES if self.path(suffix).exists()}
        write_atomically(self.path("json"), json.dumps({"totals": asdict(result), "files": sizes}).encode())


def spool(task: SpoolTask, on_bytes: Callable[[int], None], on_skip: Callable[[str], None]) -> SpooledFile:
    """Analyse one corpus file unless it is already spooled."""
    if done := task.finished():
        return done
    task.start()
    analyzer = get_analyzer(task.analyzer)
    encoder: Any = analyzer.encoder()
    dtype = NUMPY_DTYPE[analyzer.token_dtype]
    order = FirstSeen()
    totals = {"documents": 0, "tokens": 0, "text_bytes": 0}
    skipped = SkippedLines(task.file, on_skip)
    content = hashlib.blake2b(digest_size=16)
    batches = read_batches(
        Piece(task.file),
        text_field=task.text_field,
        id_field=task.id_field,
        on_bad_line=task.on_bad_line,
        limit=LineLimit(task.line_bytes, task.folder / "long-line", " with this --memory"),
        on_skip=skipped,
        on_bytes=on_bytes,
    )
    with (
        task.path("ids").open("wb") as ids_file,
        task.open_texts() as texts_file,
        pq.ParquetWriter(task.path("parquet"), DOCUMENT_SCHEMA, compression="zstd") as rows,
    ):
        for batch in batches:
            ids, lengths = encoder.encode(batch["text"])
            if analyzer.has_vocabulary:
                ids = order.renumber(ids, len(encoder.table))
            ids_file.write(np.ascontiguousarray(ids, dtype).view(np.uint8))  # type: ignore[arg-type]
            texts, _ = bytes_of(batch["text"])
            if texts_file is not None:
                texts_file.write(texts.data)
            digests = _digests(batch["text"])
            rows.write_batch(_rows(batch, lengths, digests, task.file.name))
            content.update(_identities(batch["id"], digests))
            totals["documents"] += batch.num_rows
            totals["tokens"] += len(ids)
            totals["text_bytes"] += len(texts)
    if analyzer.has_vocabulary:
        write_words(task.path("words.npz"), *order.words(encoder.table.arena, encoder.table.starts))
    result = SpooledFile(**totals, skipped_lines=skipped.count, content=content.hexdigest())
    task.finish(result)
    return result


def spool_index(
    index: Path, manifest: Manifest, folder: Path, analyzer: str, progress: Callable[[str, int, int, str], None]
) -> list[SpoolTask]:
    """Spool the remaining documents of an index, each shard like a corpus file, in bounded memory."""
    from factcensus.indexer.storage.maintain import read_documents_of
    from factcensus.indexer.storage.shards import open_text, open_vocabulary

    generation = manifest.vocabulary_generation
    vocabulary = None if generation is None else open_vocabulary(index, generation, manifest.layout)
    deleted = read_documents_of(index, manifest, "deleted")
    tasks = []
    for number, record in enumerate(manifest.shards):
        file = SourceFile("", f"shard {record.number}", 0, "")
        task = SpoolTask(number, file, folder, analyzer, keep_text=manifest.keeps_text)
        if not task.finished():
            gone = deleted.get(record.number, np.zeros(0, np.uint32))
            shard = open_text(index, record, manifest.layout)
            shard.open_kept(manifest.files)
            _spool_shard(task, shard, gone, vocabulary)
        tasks.append(task)
        progress("read", number + 1, len(manifest.shards), "shards")
    return tasks


def _spool_shard(task: SpoolTask, shard: Shard, deleted: Array, vocabulary: Vocabulary | None) -> None:
    task.start()
    order = FirstSeen()
    totals = {"documents": 0, "tokens": 0, "text_bytes": 0, "skipped_lines": 0}
    separator = np.iinfo(shard.token_dtype).max
    with (
        task.path("ids").open("wb") as ids_file,
        task.open_texts() as texts_file,
        pq.ParquetWriter(task.path("parquet"), DOCUMENT_SCHEMA, compression="zstd") as rows,
    ):
        for first, batch in shard.row_batches():
            living = np.ones(batch.num_rows, np.bool_)
            living[deleted[(deleted >= first) & (deleted < first + batch.num_rows)] - first] = False
            kept = batch.filter(pa.array(living))
            begin = shard.document_span(first)[0] - 1
            end = shard.document_span(first + batch.num_rows - 1)[1]
            stream = shard.tokens(begin, end)
            lengths = as_numpy(batch["tokens"]) + 1
            stream = stream[np.repeat(living, lengths)]
            ids = stream[stream != separator]
            if vocabulary is not None:
                ids = order.renumber(np.ascontiguousarray(ids, np.uint32), len(vocabulary))
            ids_file.write(np.ascontiguousarray(ids, shard.token_dtype).view(np.uint8))  # type: ignore[arg-type]
            rows.write_batch(_used_only(kept))
            if texts_file is not None and shard.kept is not None:
                texts_file.writelines(shard.kept.texts(first + np.flatnonzero(living)))
            totals["documents"] += kept.num_rows
            totals["tokens"] += len(ids)
            totals["text_bytes"] += int(as_numpy(kept["text_bytes"]).sum())
    if vocabulary is not None:
        write_words(task.path("words.npz"), *order.words(*vocabulary.arena()))
    task.finish(SpooledFile(**totals, content=""))


def _used_only(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Encode the names of a batch again; their dictionaries have those of removed rows, too, and would be written."""
    columns = [
        column.cast(column.type.value_type).dictionary_encode() if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


class FirstSeen:
    """Renumbers ids in the order in which they first occur in a stream."""

    def __init__(self) -> None:
        self._number = np.zeros(0, np.int32)
        self._old = np.zeros(0, np.uint32)
        self._count = np.zeros(1, np.int64)

    def renumber(self, ids: npt.NDArray[np.uint32], known: int) -> npt.NDArray[np.uint32]:
        """Return the new numbers of the next ids of the stream, which are all below ``known``."""
        if known > len(self._number):
            size = max(known, 2 * len(self._number))
            grown = np.full(size, -1, np.int32)
            grown[: len(self._number)] = self._number
            self._number = grown
            self._old = np.concatenate([self._old, np.zeros(size - len(self._old), np.uint32)])
        numbered = np.empty(len(ids), np.uint32)
        _renumber(ids, self._number, self._old, self._count, numbered)
        return numbered

    def words(
        self, arena: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Return the words of the ids seen (word i was ``arena[starts[i]:starts[i + 1]]``), ordered by new number."""
        old = self._old[: self._count[0]]
        new_starts = np.zeros(len(old) + 1, np.int64)
        np.cumsum(starts[old + 1] - starts[old], out=new_starts[1:])
        new_arena = np.empty(new_starts[-1], np.uint8)
        _copy_words(arena, starts, old, new_arena, new_starts)
        return new_arena, new_starts


@compiled()
def _renumber(ids: Array, number: Array, old: Array, count: Array, numbered: Array) -> None:
    for i in range(ids.size):
        if number[ids[i]] < 0:
            number[ids[i]] = count[0]
            old[count[0]] = ids[i]
            count[0] += 1
        numbered[i] = number[ids[i]]


@compiled()
def _copy_words(arena: Array, starts: Array, old: Array, new_arena: Array, new_starts: Array) -> None:
    for i in range(old.size):
        first = starts[old[i]]
        for j in range(new_starts[i + 1] - new_starts[i]):
            new_arena[new_starts[i] + j] = arena[first + j]


def write_words(file: Path | BinaryIO, arena: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> None:
    """Write the words of a spooled file, in the order of their ids."""
    np.savez(file, arena=arena, starts=starts)


def _digests(texts: pa.LargeBinaryArray) -> bytes:
    """Return the digests of texts, 8 bytes each."""
    content, starts = bytes_of(texts)
    view, blake2b = content.data, hashlib.blake2b
    bounds = pairwise(starts.tolist())
    return b"".join([blake2b(view[begin:end], digest_size=DIGEST_BYTES).digest() for begin, end in bounds])


def _identities(ids: pa.StringArray, digests: bytes) -> memoryview:
    """Return the digest and the id of each document, and a zero byte after it."""
    names, starts = bytes_of(ids.cast(pa.large_binary()))
    begins = starts[:-1] + np.arange(len(ids)) * (DIGEST_BYTES + 1)
    ends = starts[1:] + np.arange(1, len(ids) + 1) * (DIGEST_BYTES + 1)
    content = np.zeros(len(names) + len(digests) + len(ids), np.uint8)
    is_name = np.ones(len(content), np.bool_)
    places = begins[:, None] + np.arange(DIGEST_BYTES)
    content[places] = np.frombuffer(digests, np.uint8).reshape(-1, DIGEST_BYTES)
    is_name[places] = False
    is_name[ends - 1] = False
    content[is_name] = names
    return content.data


def _rows(batch: pa.RecordBatch, lengths: npt.NDArray[np.int64], digests: bytes, path: str) -> pa.RecordBatch:
    columns = [
        batch["id"],
        batch["source"].dictionary_encode(),
        pa.DictionaryArray.from_arrays(as_arrow(np.zeros(batch.num_rows, np.int32)), repeated(path, 1)),
        batch["record"],
        as_arrow(lengths),
        compute("binary_length", [batch["text"]]),
        as_arrow(np.frombuffer(digests, "<u8")),
        batch["metadata"],
    ]
    return pa.RecordBatch.from_arrays(columns, schema=DOCUMENT_SCHEMA)
