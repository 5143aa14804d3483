"""Second stage of a build: from spool files, in order, to the shards of an index.

Word ids of files become ids of the index in first-seen order over all files. Documents fill a shard until its token
budget is reached. Then its suffix array is built. The result depends only on the corpus and the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.indexer.analyzers import NUMPY_DTYPE
from factcensus.indexer.analyzers.words import WordTable
from factcensus.indexer.building.spool import DOCUMENT_SCHEMA, SpoolTask
from factcensus.indexer.building.suffix_array import byte_order_ranks, count_ranks, sort_suffixes
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.storage.layout import STEP, hash_file, hashed_file, write_hashed, write_table
from factcensus.indexer.storage.manifest import FileRecord, ShardRecord

Array = npt.NDArray[Any]

#: Rows per row group of the document table, which are read together to show a document.
ROWS_PER_GROUP = 8192
#: The encoding of its columns; numbers and ids of neighbouring documents are similar.
ENCODING: dict[str, Any] = {
    "compression": "zstd",
    "write_page_checksum": True,
    "use_dictionary": ["source", "path"],
    "column_encoding": {
        "id": "DELTA_BYTE_ARRAY",
        "record": "DELTA_BINARY_PACKED",
        "tokens": "DELTA_BINARY_PACKED",
        "text_bytes": "DELTA_BINARY_PACKED",
    },
}


@dataclass(frozen=True, slots=True)
class Piece:
    """Documents ``first`` … ``last - 1`` of one spooled file, and the start of their ids in its ``.ids``."""

    task: SpoolTask
    first: int
    last: int
    first_token: int
    tokens: int

    def batches(self) -> Iterator[pa.Table]:
        """Yield its rows of the document table, a bounded number at a time."""
        row = 0
        with pq.ParquetFile(self.task.path("parquet")) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                begin, end = max(self.first - row, 0), min(self.last - row, rows)
                if begin < end:
                    yield file.read_row_group(group).slice(begin, end - begin).cast(DOCUMENT_SCHEMA)
                row += rows


def merge_words(tasks: Sequence[SpoolTask], table: WordTable) -> Iterator[int]:
    """Add the words of all files to ``table`` in order, and write the map from file ids to index ids of each file.

    Yields:
        The number of merged files, after each file.
    """
    for number, task in enumerate(tasks):
        with np.load(task.path("words.npz")) as words:
            # np.save would hide the cause on a full disk.
            task.path("global").write_bytes(table.extend(words["arena"], words["starts"]).astype(np.uint32).data)
        yield number + 1


def plan_shards(tasks: Sequence[SpoolTask], budget_tokens: int) -> Iterator[list[Piece]]:
    """Yield the documents of each shard: as many as fit the budget (including separators), at least one."""
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
            if last <= first:  # no room left, or the previous document exceeded the budget
                if shard:
                    yield shard
                    shard, room = [], budget_tokens
                    continue
                last = first + 1  # a document larger than the budget gets its own shard
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
    device: str,
    on_stage: Callable[[str, int, int], None],
) -> tuple[ShardRecord, dict[str, FileRecord]]:
    """Write the files of one shard, and return the record of the shard and those of its files."""
    dtype = NUMPY_DTYPE[token_dtype]
    documents = sum(piece.last - piece.first for piece in pieces)
    tokens = sum(piece.tokens for piece in pieces)
    ranks = np.empty(tokens + documents, np.uint32)
    offsets = np.empty(documents, np.int64)
    digests = _write_documents(folder, number, pieces, dtype, vocabulary_size, ranks, offsets, on_stage)
    digests[f"offset.{number}"] = write_hashed(folder / f"offset.{number}", (offsets * dtype.itemsize).astype("<u8"))
    del offsets
    starts = count_ranks(ranks, vocabulary_size + 1)
    first = np.append(starts[:-1:STEP], starts[-1]).astype("<u4")
    digests[f"first.{number}"] = write_hashed(folder / f"first.{number}", first)
    positions = sort_suffixes(
        ranks, starts, threads=threads, device=device, progress=lambda done, all: on_stage("sort", done, all)
    )
    del ranks, starts
    digests[f"table.{number}"] = write_table(
        folder / f"table.{number}", positions, dtype.itemsize, lambda row: on_stage("write", row, len(positions))
    )
    files = {name: FileRecord((folder / name).stat().st_size, digest) for name, digest in digests.items()}
    return ShardRecord(number, documents, tokens, vocabulary_size), files


def _write_documents(
    folder: Path,
    number: int,
    pieces: Sequence[Piece],
    dtype: np.dtype[Any],
    vocabulary_size: int,
    ranks: Array,
    offsets: Array,
    on_stage: Callable[[str, int, int], None],
) -> dict[str, str]:
    """Write ``tokenized.N`` and ``documents.N.parquet``, and fill the ranks of tokens and offsets of documents."""
    separator = np.iinfo(dtype).max
    # The id of the separator has all bits set, so it ranks after the whole vocabulary.
    rank_of_id = byte_order_ranks(vocabulary_size, dtype)
    token = document = 0
    rows = folder / f"documents.{number}.parquet"
    with (
        pq.ParquetWriter(rows, DOCUMENT_SCHEMA, **ENCODING) as writer,
        hashed_file(folder / f"tokenized.{number}") as (write, digest),
    ):
        for piece in pieces:
            mapping = piece.task.path("global")
            global_id = np.fromfile(mapping, np.uint32) if mapping.exists() else np.zeros(0, np.uint32)
            at = piece.first_token * dtype.itemsize
            for table in piece.batches():
                lengths = table["tokens"].to_numpy()
                ids = np.fromfile(piece.task.path("ids"), dtype, int(lengths.sum()), offset=at)
                at += ids.nbytes
                stream = np.empty(len(ids) + len(lengths), dtype)
                _separate(
                    ids, lengths, global_id, separator, rank_of_id, token,
                    stream, ranks[token:], offsets[document:],
                )  # fmt: skip
                write(stream)
                writer.write_table(table, row_group_size=ROWS_PER_GROUP)
                token += len(stream)
                document += len(lengths)
                on_stage("join", token, len(ranks))
    return {rows.name: hash_file(rows), f"tokenized.{number}": digest()}


@compiled()
def _separate(
    ids: Array, lengths: Array, global_id: Array, separator: int, rank_of_id: Array, base: int,
    stream: Array, ranks: Array, offsets: Array,
) -> None:  # fmt: skip
    """Write the separator and ids of each document to ``stream``, and fill their ranks and the separator positions."""
    source = 0
    target = 0
    for document in range(lengths.size):
        offsets[document] = base + target
        stream[target] = separator
        ranks[target] = rank_of_id.size
        target += 1
        for _ in range(lengths[document]):
            token_id = ids[source]
            if global_id.size:
                token_id = global_id[token_id]
            stream[target] = token_id
            ranks[target] = rank_of_id[token_id]
            source += 1
            target += 1
