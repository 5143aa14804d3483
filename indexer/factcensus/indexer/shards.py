"""Second stage of a build: spooled files, in order, to the shards of an index.

Local word ids become global ones in first-seen order over the files; documents fill a shard until its token budget
is reached; each shard then gets its suffix array. Every number depends on the corpus and the budget only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from numba import njit

from factcensus.indexer.analyzers import NUMPY_DTYPE
from factcensus.indexer.analyzers.words import WordTable
from factcensus.indexer.layout import hash_file, write_hashed, write_table
from factcensus.indexer.manifest import FileRecord, ShardRecord
from factcensus.indexer.spool import DOCUMENT_SCHEMA, SpoolTask
from factcensus.indexer.suffix_array import byte_order_ranks, suffix_array

Array = npt.NDArray[Any]

#: Rows of the document table that are read together when a document is shown.
ROWS_PER_GROUP = 8192


@dataclass(frozen=True, slots=True)
class Piece:
    """Documents ``first`` … ``last - 1`` of one spooled file, and where their ids begin in its ``.ids``."""

    task: SpoolTask
    first: int
    last: int
    first_token: int
    tokens: int


def merge_words(tasks: Sequence[SpoolTask], table: WordTable, on_file: Callable[[int], None]) -> None:
    """Add the words of all files to ``table``, in order, and write each file's map from local to global ids."""
    for number, task in enumerate(tasks):
        with np.load(task.path("words.npz")) as words:
            arena, starts, seen = words["arena"], words["starts"], words["seen"]
        # A word that only stood in a span that was analysed anew never occurs.
        sizes = np.diff(starts)
        kept = np.repeat(seen, sizes)
        local = np.zeros(len(seen), np.uint32)
        local[seen] = table.extend(arena[kept], np.concatenate([[0], np.cumsum(sizes[seen])]))
        np.save(task.path("global.npy"), local)
        on_file(number + 1)


def plan_shards(tasks: Sequence[SpoolTask], budget_tokens: int) -> Iterator[list[Piece]]:
    """The documents of each shard: as many as fit the budget (separators included), at least one."""
    shard: list[Piece] = []
    room = budget_tokens
    for task in tasks:
        lengths = pq.read_table(task.path("parquet"), columns=["tokens"])["tokens"].to_numpy()
        ends = np.cumsum(lengths)
        costs = np.cumsum(lengths + 1)
        first = 0
        while first < len(lengths):
            spent = int(costs[first - 1]) if first else 0
            last = int(np.searchsorted(costs, spent + room, side="right"))
            if last <= first:  # no room, or less than none behind a document that is larger than a shard
                if shard:
                    yield shard
                    shard, room = [], budget_tokens
                    continue
                last = first + 1  # a document larger than the budget is a shard by itself
            begin = int(ends[first - 1]) if first else 0
            shard.append(Piece(task, first, last, begin, int(ends[last - 1]) - begin))
            room -= int(costs[last - 1]) - spent
            first = last
    if shard:
        yield shard


def write_shard(
    folder: Path,
    number: int,
    pieces: Sequence[Piece],
    *,
    token_dtype: str,
    vocabulary_size: int,
    threads: int,
    on_stage: Callable[[str, int, int], None],
) -> tuple[ShardRecord, dict[str, FileRecord]]:
    """Write the files of one shard; its record and those of its files."""
    dtype = NUMPY_DTYPE[token_dtype]
    separator = np.iinfo(dtype).max
    documents = sum(piece.last - piece.first for piece in pieces)
    tokens = sum(piece.tokens for piece in pieces)
    stream = np.empty(tokens + documents, dtype)
    offsets = np.empty(documents, np.int64)
    token = document = 0
    digests: dict[str, str] = {}
    rows = folder / f"documents.{number}.parquet"
    with pq.ParquetWriter(rows, DOCUMENT_SCHEMA, compression="zstd") as writer:
        for piece in pieces:
            ids = np.fromfile(piece.task.path("ids"), dtype, piece.tokens, offset=piece.first_token * dtype.itemsize)
            mapping = piece.task.path("global.npy")
            if mapping.exists():
                ids = np.load(mapping)[ids]
            table = pq.read_table(piece.task.path("parquet"), schema=DOCUMENT_SCHEMA)
            table = table.slice(piece.first, piece.last - piece.first)
            lengths = table["tokens"].to_numpy()
            _separate(ids, lengths, separator, stream[token:], offsets[document:], token)
            token += len(ids) + len(lengths)
            document += len(lengths)
            writer.write_table(table, row_group_size=ROWS_PER_GROUP)
    digests[rows.name] = hash_file(rows)
    digests[f"tokenized.{number}"] = write_hashed(folder / f"tokenized.{number}", [stream])
    digests[f"offset.{number}"] = write_hashed(folder / f"offset.{number}", [(offsets * dtype.itemsize).astype("<u8")])
    # The separator's id is the largest of its width, and so are its bytes: it ranks behind the whole vocabulary.
    ranks = _ranks(stream, byte_order_ranks(vocabulary_size, dtype), separator)
    del stream
    positions = suffix_array(
        ranks, vocabulary_size + 1, threads=threads, progress=lambda done, all: on_stage("sort", done, all)
    )
    del ranks
    digests[f"table.{number}"] = write_table(
        folder / f"table.{number}", positions, dtype.itemsize, lambda row: on_stage("write", row, len(positions))
    )
    files = {name: FileRecord((folder / name).stat().st_size, digest) for name, digest in digests.items()}
    return ShardRecord(number, documents, tokens), files


@njit(cache=True, nogil=True)
def _separate(ids: Array, lengths: Array, separator: int, stream: Array, offsets: Array, base: int) -> None:
    """Write each document's separator and ids to ``stream``, and the separators' positions to ``offsets``."""
    source = 0
    target = 0
    for document in range(lengths.size):
        offsets[document] = base + target
        stream[target] = separator
        target += 1
        for _ in range(lengths[document]):
            stream[target] = ids[source]
            source += 1
            target += 1


@njit(cache=True, nogil=True)
def _ranks(stream: Array, rank_of_id: Array, separator: int) -> Array:
    ranks = np.empty(stream.size, np.uint32)
    for i in range(stream.size):
        ranks[i] = rank_of_id.size if stream[i] == separator else rank_of_id[stream[i]]
    return ranks


def count_sources(tasks: Sequence[SpoolTask]) -> dict[str, dict[str, int]]:
    """Documents and tokens of each source."""
    files = [str(task.path("parquet")) for task in tasks]
    query = "SELECT source, count(*), sum(tokens) FROM read_parquet($files) GROUP BY source ORDER BY source"
    with duckdb.connect() as connection:
        rows = connection.execute(query, {"files": files}).fetchall()
    return {source: {"documents": int(documents), "tokens": int(tokens)} for source, documents, tokens in rows}
