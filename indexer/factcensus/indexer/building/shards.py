"""Second stage of a build: from spool files, in order, to the shards of an index.

Word ids of files become ids of the index in first-seen order over all files. Documents fill a shard until its token
budget is reached. Then its suffix array is built. The result depends only on the corpus and the budget. A shard takes
memory for the types that occur in it and not for the whole vocabulary, which grows with the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.indexer.analyzers import NUMPY_DTYPE
from factcensus.indexer.analyzers.words import WordTable
from factcensus.indexer.arrays import Array, as_numpy
from factcensus.indexer.building.spool import DOCUMENT_SCHEMA, SpoolTask
from factcensus.indexer.building.suffix_array import byte_order_ranks, count_ranks, sort_suffixes
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.search import byte_order_rank
from factcensus.indexer.storage.kept import write_kept
from factcensus.indexer.storage.layout import (
    first_entries,
    first_step_bits,
    hash_file,
    hashed_file,
    write_hashed,
    write_table,
)
from factcensus.indexer.storage.manifest import FileRecord, Layout, ShardRecord, kept_name
from factcensus.indexer.storage.sample import write_sample

#: Number of tokens of a part of a file whose types are marked at once.
_MARKED = 1 << 22
#: Maximum size of the vocabulary, as a multiple of the types of a shard, for which all ids get a place (4 bytes each).
_DENSE = 4
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


class Spooled(Protocol):
    """A spooled file, local or in a work folder."""

    def parquet(self) -> AbstractContextManager[Any]:
        """Yield the document rows of the file, as a path or as a file opened for reading."""
        ...

    def read_ids(self, dtype: np.dtype[Any], first: int, count: int) -> Array:
        """Return some token ids of the file."""
        ...

    def read_text(self, first: int, count: int) -> bytes:
        """Return some bytes of the concatenated texts of the file, if they were kept."""
        ...

    def word_ids(self) -> npt.NDArray[np.uint32] | None:
        """Return the id in the index of each word of the file; None if the ids of the file are those of the index."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """Documents ``first`` … ``last - 1`` of one spooled file, and the position of their ids and texts in it.

    Attributes:
        first_text_byte: The position of their texts in the concatenated texts of the file.
        whole: These are all documents of the file.
    """

    file: Spooled
    first: int
    last: int
    first_token: int
    tokens: int
    whole: bool = False
    first_text_byte: int = 0

    def types(self, word_ids: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        """Return the ids in the index of the words that occur in these documents, in bounded memory."""
        if self.whole:
            return word_ids
        used = np.zeros(len(word_ids), np.bool_)
        for begin in range(self.first_token, self.first_token + self.tokens, _MARKED):
            size = min(_MARKED, self.first_token + self.tokens - begin)
            used[self.file.read_ids(np.dtype(np.uint32), begin, size)] = True
        return word_ids[used]

    def texts(self) -> Iterator[bytes]:
        """Yield the texts of the documents, which were kept."""
        at = self.first_text_byte
        for table in self.batches(["text_bytes"]):
            sizes = table["text_bytes"].to_pylist()
            content = self.file.read_text(at, sum(sizes))
            at += len(content)
            end = 0
            for size in sizes:
                end += size
                yield content[end - size : end]

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the document table rows of the piece, or some columns, a bounded number at a time."""
        schema = DOCUMENT_SCHEMA if columns is None else pa.schema([DOCUMENT_SCHEMA.field(name) for name in columns])
        row = 0
        with self.file.parquet() as rows_file, pq.ParquetFile(rows_file) as file:
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                begin, end = max(self.first - row, 0), min(self.last - row, rows)
                if begin < end:
                    yield file.read_row_group(group, columns=columns).slice(begin, end - begin).cast(schema)
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


class Totals(Protocol):
    """The number of documents and tokens of a spooled file."""

    @property
    def documents(self) -> int:
        """Number of documents."""
        ...

    @property
    def tokens(self) -> int:
        """Number of tokens, without separators."""
        ...


def plan_shards(files: Iterable[tuple[Spooled, Totals | None]], budget_tokens: int) -> Iterator[list[Piece]]:
    """Yield the documents of each shard: as many as fit the budget (including separators), at least one.

    Args:
        files: The spooled files in order; with their totals, those that fit as a whole need not be opened.
        budget_tokens: The maximum number of tokens of a shard.
    """
    shard: list[Piece] = []
    room = budget_tokens
    for file, total in files:
        if total and 0 < total.tokens + total.documents <= room:
            shard.append(Piece(file, 0, total.documents, 0, total.tokens, whole=True))
            room -= total.tokens + total.documents
            continue
        with file.parquet() as rows_file:
            columns = pq.read_table(rows_file, columns=["tokens", "text_bytes"])
        lengths, text_ends = as_numpy(columns["tokens"]), np.cumsum(as_numpy(columns["text_bytes"]))
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
            tokens = int(ends[last - 1]) - begin
            whole, first_text_byte = last - first == len(lengths), int(text_ends[first - 1]) if first else 0
            shard.append(Piece(file, first, last, begin, tokens, whole, first_text_byte))
            room -= int(costs[last - 1]) - spent
            first = last
    if shard:
        yield shard


@dataclass(frozen=True, slots=True)
class ShardForm:
    """The settings with which all shards of an index are written."""

    token_dtype: str
    vocabulary_size: int
    layout: Layout
    keep_text: bool = False


@dataclass(frozen=True, slots=True)
class SortSettings:
    """The threads and the device that sort suffixes, which do not change the result."""

    threads: int
    device: str


def types_of(
    pieces: Sequence[Piece], vocabulary_size: int, dtype: np.dtype[Any]
) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return the token ids that may occur in a shard, sorted like the table, by their little-endian bytes."""
    known = np.zeros(0, np.uint32)
    waiting: list[Array] = []
    for piece in pieces:
        word_ids = piece.file.word_ids()
        if word_ids is None:  # a tokenizer or bytes: all ids, of which there are few
            ids = np.arange(vocabulary_size, dtype=dtype)
            return ids[np.argsort(byte_order_ranks(vocabulary_size, dtype))]
        waiting.append(piece.types(word_ids).byteswap())
        if sum(map(len, waiting)) > len(known) + _MARKED:  # seldom enough for a cost that is linear in the types
            known, waiting = np.unique(np.concatenate([known, *waiting])), []
    return np.unique(np.concatenate([known, *waiting])).byteswap()


def write_shard(
    folder: Path,
    number: int,
    pieces: Sequence[Piece],
    *,
    form: ShardForm,
    run: SortSettings,
    on_stage: Callable[[str, int, int], None],
) -> tuple[ShardRecord, dict[str, FileRecord]]:
    """Write the files of one shard, and return the record of the shard and those of its files."""
    dtype, vocabulary_size = NUMPY_DTYPE[form.token_dtype], form.vocabulary_size
    documents = sum(piece.last - piece.first for piece in pieces)
    tokens = sum(piece.tokens for piece in pieces)
    types = types_of(pieces, vocabulary_size, dtype)
    ranks = np.empty(tokens + documents, np.uint32)
    offsets = np.empty(documents, np.int64)
    record = ShardRecord(number, documents, tokens, vocabulary_size)
    rank = _Ranks(types, vocabulary_size)
    if form.layout == "compact":
        digests = _write_documents(folder, number, pieces, rank, ranks, offsets, on_stage, None)
    else:
        with hashed_file(folder / f"tokenized.{number}") as (write, digest):
            digests = _write_documents(folder, number, pieces, rank, ranks, offsets, on_stage, write)
            digests[f"tokenized.{number}"] = digest()
    del rank
    kept = {}
    if form.keep_text:
        name = kept_name(number)
        kept[name] = write_kept(folder / name, (text for piece in pieces for text in piece.texts()))
    files = kept | {name: FileRecord((folder / name).stat().st_size, digest) for name, digest in digests.items()}
    return record, files | write_search_files(folder, number, [ranks, offsets, types], form, run, on_stage)


def write_search_files(
    folder: Path,
    number: int,
    contents: list[Array],
    form: ShardForm,
    run: SortSettings,
    on_stage: Callable[[str, int, int], None],
) -> dict[str, FileRecord]:
    """Write all files of a shard that are derived from its token ids.

    Args:
        folder: The folder to write to.
        number: The number of the shard.
        contents: The places of the tokens in the third array, uint32, in which separators have the next place after
            all ids; int64, the positions of the separators; and the token ids that may occur, in the byte order of
            little-endian numbers. The list is emptied, so that the arrays take no memory longer than needed.
        form: How shards are written.
        run: Threads and device.
        on_stage: Called with (stage, tokens done, all tokens).
    """
    types, offsets, ranks = contents.pop(), contents.pop(), contents.pop()
    if form.layout == "compact":
        from factcensus.indexer.building.compact import make_compact
        from factcensus.indexer.storage.compact_files import write_compact

        made = make_compact(
            ranks, offsets, types, form.vocabulary_size, lambda done, all: on_stage("compress", done, all)
        )
        return write_compact(folder, number, made)
    width, size = types.itemsize, len(ranks)
    digests = {f"offset.{number}": write_hashed(folder / f"offset.{number}", (offsets * width).astype("<u8"))}
    del offsets
    starts = count_ranks(ranks, len(types) + 1)
    bits = first_step_bits(form.vocabulary_size, size)
    first = np.empty(first_entries(form.vocabulary_size, bits), "<u4")
    _fill_first(types, starts, form.vocabulary_size, width, bits, first)
    digests[f"first.{number}"] = write_hashed(folder / f"first.{number}", first)
    del types, first
    positions = sort_suffixes(
        ranks, starts, threads=run.threads, device=run.device, progress=lambda done, all: on_stage("sort", done, all)
    )
    del ranks, starts
    table = folder / f"table.{number}"
    digests[table.name] = write_table(table, positions, width, lambda row: on_stage("write", row, size))
    digests[f"sample.{number}"] = write_sample(folder, number, positions, width)
    return {name: FileRecord((folder / name).stat().st_size, digest) for name, digest in digests.items()}


def _write_documents(
    folder: Path,
    number: int,
    pieces: Sequence[Piece],
    rank: _Ranks,
    ranks: Array,
    offsets: Array,
    on_stage: Callable[[str, int, int], None],
    write_ids: Callable[[Array], None] | None,
) -> dict[str, str]:
    """Write ``documents.N.parquet``, and fill the ranks of tokens and the offsets of documents.

    ``write_ids`` receives the separator and the ids of each document, several documents at a time.
    """
    types = rank.types
    separator = np.iinfo(types.dtype).max
    token = document = 0
    rows = folder / f"documents.{number}.parquet"
    with pq.ParquetWriter(rows, DOCUMENT_SCHEMA, **ENCODING) as writer:
        for piece in pieces:
            rank_of_id = rank.of(piece)
            at = piece.first_token
            for table in piece.batches():
                lengths = as_numpy(table["tokens"])
                ids = piece.file.read_ids(types.dtype, at, int(lengths.sum()))
                at += len(ids)
                stream = np.empty(len(ids) + len(lengths), types.dtype)
                _separate(ids, lengths, rank_of_id, types, separator, token, stream, ranks[token:], offsets[document:])
                if write_ids:
                    write_ids(stream)
                writer.write_table(table, row_group_size=ROWS_PER_GROUP)
                token += len(stream)
                document += len(lengths)
                on_stage("join", token, len(ranks))
    return {rows.name: hash_file(rows)}


class _Ranks:
    """The position of each token id in ``types``, the token ids of a shard."""

    def __init__(self, types: Array, vocabulary_size: int) -> None:
        self.types = types
        #: The position of every id of the index, if most of them occur in the shard; faster than a search.
        self._all: npt.NDArray[np.uint32] | None = None
        if vocabulary_size <= _DENSE * len(types):
            self._all = np.empty(vocabulary_size, np.uint32)
            self._all[types] = np.arange(len(types), dtype=np.uint32)

    def of(self, piece: Piece) -> npt.NDArray[np.uint32]:
        """Return the position in ``types`` of each id of a spooled file; arbitrary for ids outside the piece."""
        word_ids = piece.file.word_ids()
        if self._all is not None:
            return self._all if word_ids is None else self._all[word_ids]
        assert word_ids is not None  # without words, all ids occur
        return np.searchsorted(self.types.byteswap(), word_ids.byteswap()).astype(np.uint32)


@compiled()
def _separate(  # noqa: PLR0913 - compiled: arrays of several records
    ids: Array,
    lengths: Array,
    rank_of_id: Array,
    types: Array,
    separator: int,
    base: int,
    stream: Array,
    ranks: Array,
    offsets: Array,
) -> None:
    """Write the separator and ids of each document to ``stream``, and fill their ranks and the separator positions.

    The separator has all bits set, so it ranks after all types.
    """
    source = 0
    target = 0
    for document in range(lengths.size):
        offsets[document] = base + target
        stream[target] = separator
        ranks[target] = types.size
        target += 1
        for _ in range(lengths[document]):
            rank = rank_of_id[ids[source]]
            stream[target] = types[rank]
            ranks[target] = rank
            source += 1
            target += 1


@compiled()
def _fill_first(types: Array, starts: Array, vocabulary_size: int, token_bytes: int, bits: int, first: Array) -> None:
    """Fill ``first.N`` from the first row of each type of the shard."""
    place = 0
    for group in range(first.size - 1):
        while (
            place < types.size and byte_order_rank(np.int64(types[place]), vocabulary_size, token_bytes) < group << bits
        ):
            place += 1
        first[group] = starts[place]
    first[first.size - 1] = starts[starts.size - 1]
