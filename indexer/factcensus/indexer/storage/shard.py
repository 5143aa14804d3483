"""One open shard: its mapped files, search, positions and documents."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.indexer.errors import IndexerError, IndexFormatError, too_many_files
from factcensus.indexer.kernels import search
from factcensus.indexer.kernels.ngrams import NO_GROUPS, Mask, Selection, count_ngram
from factcensus.indexer.kernels.pairs import Mentions, select_mentions
from factcensus.indexer.storage.layout import STEP, HeldFile, entry_bytes, hash_file, map_file
from factcensus.indexer.storage.manifest import FileRecord, ShardRecord

Array = npt.NDArray[Any]

#: Number of bytes of neighbouring suffixes that are compared to verify their order.
COMPARED_BYTES = 8192
#: Maximum number of rows for 32-bit row numbers; shards built by infini-gram can have hundreds of billions.
MOST_NARROW_ROWS = 0xFFFFFFFF


class RowReader(Protocol):
    """A source of document rows other than the document table."""

    def rows(self, documents: Sequence[int]) -> list[dict[str, Any]]:
        """Return the rows of some documents, given in ascending order."""
        ...


class Shard:
    """The files of one shard, read-only.

    Attributes:
        stream: ``tokenized.N`` as uint8; ``ids`` is the same as token ids.
        table: ``table.N`` with ``width`` elements per entry, the lowest first: bytes, or one uint32.
        number: The shard number in the names of its files.
        token_bytes: Width of a token id; ``token_dtype`` is its NumPy type.
        size: Number of tokens, including separators.
        documents: Number of documents, including deleted ones.
        first_document: Number of its first document in the whole index.
        first: ``first.N``, and ``types``, the number of ids it covers; empty in an index built by infini-gram.
        frequent: ``frequent.N.G``, uint32 (n-grams, 6).
        deleted: uint32, the numbers of deleted documents; ``repeated`` those with the text of an earlier document.
    """

    def __init__(
        self,
        folder: Path,
        suffix: str,
        first_document: int,
        record: ShardRecord | None = None,
        files: Mapping[str, FileRecord] = MappingProxyType({}),
    ) -> None:
        """Open a shard; optional files are only opened if they are in ``files``, the files of the manifest."""
        self.folder = folder
        self._suffix = suffix
        self.number = int(suffix[1:] or 0)
        self._record = record
        #: The document table at the time of opening; None in an index built by infini-gram.
        self.rows_file = HeldFile(folder / f"documents{suffix}.parquet") if record else None
        #: Reads document rows in an index built by infini-gram.
        self.metadata: RowReader | None = None
        self.stream = map_file(folder / f"tokenized{suffix}")
        self.table = map_file(folder / f"table{suffix}")
        offsets = map_file(folder / f"offset{suffix}")
        self.width = entry_bytes(self.stream.size)
        rows, rest = divmod(self.table.size, self.width)
        self.token_bytes, odd = divmod(self.stream.size, max(1, rows))
        if rest or odd or self.token_bytes not in (1, 2, 4) or offsets.size % 8:
            raise IndexFormatError(
                f"{folder}: the sizes of tokenized{suffix} ({self.stream.size}), table{suffix} ({self.table.size}) "
                f"and offset{suffix} ({offsets.size}) do not belong together; copy the index again or rebuild it"
            )
        self.token_dtype = np.dtype(f"<u{self.token_bytes}")
        self.size = rows
        self.ids = self.stream.view(self.token_dtype)
        if self.width == 4:  # one load per entry instead of four
            self.table, self.width = self.table.view("<u4"), 1
        self.documents = offsets.size // 8
        self.first_document = first_document
        self._offsets = offsets.view("<u8")
        separators = self.stream[: self.token_bytes]
        if self.documents and (int(self._offsets[0]) or bytes(separators) != b"\xff" * self.token_bytes):
            raise IndexFormatError(
                f"{folder}: tokenized{suffix} does not begin with a separator; copy the index again or rebuild it"
            )
        if self.documents and int(self._offsets[-1]) >= self.stream.size:
            raise IndexFormatError(
                f"{folder}: offset{suffix} points beyond the end of tokenized{suffix}; copy the "
                "index again or rebuild it"
            )
        self.types = record.types if record else 0
        self.first = _numbers(folder, f"first{suffix}" if record else None, files)
        if record and (len(self.first) != -(-(self.types + 1) // STEP) + 1 or int(self.first[-1]) != rows):
            raise IndexFormatError(
                f"{folder}: first{suffix} does not match table{suffix}; copy the index again or rebuild it"
            )
        frequent, deleted, repeated = record.state_files if record else (None, None, None)
        self.frequent = _numbers(folder, frequent, files).reshape(-1, 6)
        self.deleted = _numbers(folder, deleted, files)
        if deleted and deleted in files and hash_file(folder / deleted) != files[deleted].sha256:
            # Otherwise a deleted document could silently be counted again; the file is small.
            raise IndexFormatError(f"{folder / deleted} was altered; copy the index again or rebuild it")
        self.repeated = _numbers(folder, repeated, files)
        if max(self.deleted.max(initial=0), self.repeated.max(initial=0)) >= max(1, self.documents):
            raise IndexFormatError(
                f"{folder}: shard {suffix[1:]} lists unknown deleted or repeated documents; copy "
                "the index again or rebuild it"
            )

    @cached_property
    def suffix_array(self) -> search.SuffixArray:
        """The text and the suffix array for compiled code."""
        return search.SuffixArray(self.stream, self.table, self.width, self.token_bytes, self.first, self.types)

    @cached_property
    def suffix_rows(self) -> search.Rows:
        """The rows of the suffix array and their documents for compiled code."""
        return search.Rows(self.table, self.width, self.token_bytes, self.document_starts, self.blocks, self.size)

    @cached_property
    def document_starts(self) -> npt.NDArray[np.int64]:
        """int64 (documents,): the position of the separator of each document.

        Raises:
            IndexFormatError: The positions are not in order.
        """
        starts = self._offsets.astype(np.int64) // self.token_bytes
        if np.any(starts[1:] <= starts[:-1]):
            raise IndexFormatError(
                f"{self.folder / f'offset{self._suffix}'} is damaged: documents are out of order; rebuild the index"
            )
        return starts

    def find(self, token_ids: Sequence[int]) -> tuple[int, int]:
        """Return the range of the table whose suffixes start with these tokens."""
        query = np.array(token_ids, self.token_dtype).view(np.uint8)
        low, high = search.find(self.suffix_array, query)
        return int(low), int(high)

    def selection(self, counted: Mask, column: int, groups: npt.NDArray[np.int32] | None = None) -> Selection:
        """Return the documents to count and their groups; see :class:`ngrams.Selection`."""
        return Selection(counted, NO_GROUPS if groups is None else groups, self.frequent, column)

    def count(
        self, token_ids: Sequence[int], counted: Mask, column: int, stop: npt.NDArray[np.uint8]
    ) -> tuple[int, int]:
        """Return occurrences and documents of these tokens; see :func:`ngrams.count_range`."""
        return count_ngram(*self._count_arrays, np.array(token_ids, self.token_dtype), counted, column, stop)

    @cached_property
    def _count_arrays(self) -> tuple[Array, Array, int, int, Array, int, Array, Array, int, Array]:
        stream, table, width, token_bytes, first, types = self.suffix_array
        return (
            stream, table, width, token_bytes, first, types,
            self.document_starts, self.blocks, self.size, self.frequent,
        )  # fmt: skip

    def find_all(self, tokens: npt.NDArray[np.uint32], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return int64 (n-grams, 2), the range of each ``tokens[starts[i]:starts[i + 1]]``; an empty one has no rows.

        The search proceeds in the table order of their first two tokens, so that neighbours share cached memory.
        """
        size = len(starts) - 1
        padded = np.append(tokens, [0, 0]).astype(self.token_dtype)
        first, second = (padded[starts[:-1] + i].byteswap().astype(np.uint64) for i in (0, 1))
        order = np.argsort(first << np.uint64(32) | np.where(np.diff(starts) > 1, second + np.uint64(1), 0))
        ranges = np.empty((size, 2), np.int64)
        search.find_all(self.suffix_array, padded.view(np.uint8), starts * self.token_bytes, order, ranges)
        return ranges

    def positions(self, low: int, high: int) -> npt.NDArray[np.int64]:
        """Return the token positions of a range of the table, in table order."""
        return search.positions_of(self.table, self.width, self.token_bytes, low, high)

    @cached_property
    def blocks(self) -> npt.NDArray[np.int32]:
        """The rank structure for finding the document of a position; see :func:`search.block_documents`."""
        return search.block_documents(self.document_starts, self.size)

    def documents_of(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the document of each position."""
        return search.documents_of(self.suffix_rows, positions)

    def mentions(self, forms: Sequence[Sequence[int]], counted: Mask, *, overlapping: bool = False) -> Mentions:
        """Return the mentions of an entity in the counted documents.

        Args:
            forms: The token ids of its surface forms.
            counted: bool (documents,), or of size 0 for all.
            overlapping: Return every occurrence of the only form instead of leftmost-longest mentions.
        """
        positions = [self.positions(*self.find(form)) for form in forms]
        if overlapping:
            starts = np.sort(positions[0])
            ends = starts + len(forms[0])
        else:
            starts, ends = select_mentions(positions, [len(form) for form in forms])
        documents = self.documents_of(starts)
        if len(counted):
            kept = counted[documents]
            starts, ends, documents = starts[kept], ends[kept], documents[kept]
        return Mentions(starts, ends, documents)

    def first_disorder(self, rows: npt.NDArray[np.int64]) -> int | None:
        """Return the first of these rows whose suffix does not precede that of the next row, or None."""
        wrong = int(search.first_disorder(self.stream, self.table, self.width, rows, COMPARED_BYTES))
        return None if wrong < 0 else wrong

    def first_wrong_row(self) -> int | None:
        """Return the first misplaced row of the table, or None; takes 4 bytes of memory per row (8 over 2^32 rows)."""
        row_of = np.empty(self.size + 1, np.uint32 if self.size < MOST_NARROW_ROWS else np.uint64)
        wrong = int(search.first_wrong_row(self.stream, self.table, self.width, self.token_bytes, row_of))
        return None if wrong < 0 else wrong

    @property
    def table_name(self) -> str:
        """The name of the file of the suffix array."""
        return f"table{self._suffix}"

    def tokens(self, begin: int, end: int) -> npt.NDArray[np.integer[Any]]:
        """Return the token ids at the positions [begin, end)."""
        return self.ids[begin:end]

    def document_span(self, document: int) -> tuple[int, int]:
        """Return the positions [begin, end) of the tokens of a document, without its separator."""
        starts = self.document_starts
        end = int(starts[document + 1]) if document + 1 < len(starts) else self.size
        return int(starts[document]) + 1, end

    @property
    def rows_path(self) -> Path:
        """The path of the document table, which does not exist in an index built by infini-gram."""
        return self.folder / f"documents{self._suffix}.parquet"

    def check_rows(self, rows: int) -> None:
        """Check the number of rows found in the document table, on which compiled code relies.

        Raises:
            IndexFormatError: The number differs from the number of documents.
        """
        if rows != self.documents:
            raise IndexFormatError(
                f"{self.rows_path} has {rows} rows for {self.documents} documents; run 'factcensus index verify'"
            )

    @contextmanager
    def _table(self) -> Iterator[pq.ParquetFile]:
        path = self.rows_file.readable if self.rows_file else self.rows_path
        with _readable(self.rows_path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            yield file

    def row_batches(self, columns: Sequence[str] | None = None) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield the document table, or some columns, in batches, each with the number of its first document."""
        first = 0
        with self._table() as file:
            for group in range(file.num_row_groups):
                for batch in file.read_row_group(group, columns=columns).to_batches():
                    yield first, batch
                    first += batch.num_rows

    def rows(self, documents: Sequence[int]) -> list[dict[str, Any]]:
        """Return the document rows of some documents in ascending order; without a document table, empty records."""
        if self._record is None:
            return self.metadata.rows(documents) if self.metadata else [{} for _ in documents]
        rows: list[dict[str, Any]] = []
        with self._table() as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
            first_rows = np.concatenate([[0], np.cumsum(sizes)])
            groups = np.searchsorted(first_rows, documents, side="right") - 1
            for group in np.unique(groups).tolist():
                wanted = np.asarray(documents)[groups == group] - first_rows[group]
                rows += file.read_row_group(group).take(pa.array(wanted, pa.int64())).to_pylist()
        return rows


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:  # pa.ArrowMemoryError is one
        raise IndexerError(f"not enough memory to read {path} ({error})") from error
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            raise too_many_files(path) from error
        raise IndexFormatError(f"cannot read {path} ({error}); run 'factcensus index verify'") from error


def _numbers(folder: Path, name: str | None, files: Collection[str]) -> npt.NDArray[np.uint32]:
    """Map a file of u32; empty if it is not in the manifest, because an interrupted change may leave other files."""
    if name is not None and name in files:
        return map_file(folder / name).view("<u4")
    nothing = np.zeros(0, np.uint32)
    nothing.flags.writeable = False  # the same type as a mapped file, so that code is compiled only once
    return nothing
