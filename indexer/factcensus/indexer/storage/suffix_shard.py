"""A shard with a suffix array, in the layout of infini-gram."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Array, Mask, Numbers, Stop, TokenArray
from factcensus.indexer.errors import IndexFormatError, VerificationError
from factcensus.indexer.kernels import search
from factcensus.indexer.kernels.entities import FormRanges, stored_counts
from factcensus.indexer.kernels.ngrams import (
    EVERYTHING,
    Selection,
    count_by_group,
    count_ngram,
    count_ranges,
)
from factcensus.indexer.kernels.quick_pair import count_pair
from factcensus.indexer.storage.frequent import FREQUENT, LONGEST, count_frequent
from factcensus.indexer.storage.layout import STEP_BITS, first_entries, first_step_bits, map_file, shard_shape
from factcensus.indexer.storage.manifest import FileRecord, ShardRecord
from factcensus.indexer.storage.shard import Located, Shard, open_numbers

if TYPE_CHECKING:
    from factcensus.indexer.kernels.forms import Forms


#: Number of bytes of neighbouring suffixes that are compared to verify their order.
COMPARED_BYTES = 8192
#: Maximum number of rows for 32-bit row numbers; shards built by infini-gram can have hundreds of billions.
MOST_NARROW_ROWS = 0xFFFFFFFF


class SuffixArrayShard(Shard):
    """A shard in the layout of infini-gram.

    Attributes:
        stream: ``tokenized.N`` as uint8; ``ids`` is the same as token ids.
        table: ``table.N`` with ``width`` elements per entry, the lowest first: bytes, or one uint32.
        first: ``first.N``, and ``types``, the number of ids it covers; empty in an index built by infini-gram.
        frequent: ``frequent.N.G``, uint32 (n-grams, 6).
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
        super().__init__(folder, suffix, first_document, record)
        self.stream = map_file(folder / f"tokenized{suffix}")
        self.table = map_file(folder / f"table{suffix}")
        offsets = map_file(folder / f"offset{suffix}")
        self.width, self.token_bytes, rows, self.documents = shard_shape(
            folder, suffix, self.stream.size, self.table.size, offsets.size
        )
        self.token_dtype = np.dtype(f"<u{self.token_bytes}")
        self.size = rows
        self.ids = self.stream.view(self.token_dtype)
        if self.width == 4:  # one load per entry instead of four
            self.table, self.width = self.table.view("<u4"), 1
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
        self.first = open_numbers(folder, f"first{suffix}" if record else None, files)
        # Older indexes have an entry for every fourth type, however many there are.
        sizes = {first_entries(self.types, bits) for bits in (STEP_BITS, first_step_bits(self.types, rows))}
        if record and (len(self.first) not in sizes or int(self.first[-1]) != rows):
            raise IndexFormatError(
                f"{folder}: first{suffix} does not match table{suffix}; copy the index again or rebuild it"
            )
        self.frequent = open_numbers(folder, record.state_files[0] if record else None, files).reshape(-1, 6)
        self._open_states(files)

    @cached_property
    def suffix_array(self) -> search.SuffixArray:
        """The text and the suffix array for compiled code."""
        return search.SuffixArray(self.stream, self.table, self.width, self.token_bytes, self.first, self.types)

    @property
    def _positions(self) -> search.Rows:
        return self.suffix_rows

    @cached_property
    def suffix_rows(self) -> search.Rows:
        """The rows of the suffix array and their documents for compiled code."""
        bits = search.block_bits(self.size, self.documents)
        blocks = search.block_documents(self._starts, self.size, bits, self.token_bytes >> 1)
        return search.Rows(self.table, self.width, self.token_bytes, self._starts, blocks, self.size, bits)

    @cached_property
    def _starts(self) -> npt.NDArray[np.int64]:
        """``offset.N``, mapped and checked once, when it is first needed.

        Raises:
            IndexFormatError: The offsets are not in order.
        """
        starts: npt.NDArray[np.int64] = self._offsets.view("<i8")
        if not search.ascends(starts):
            raise IndexFormatError(
                f"{self.folder / f'offset{self._suffix}'} is damaged: documents are out of order; rebuild the index"
            )
        return starts

    @property
    def document_starts(self) -> npt.NDArray[np.int64]:
        """int64 (documents,): the position of the separator of each document; 8 bytes per document, not cached."""
        return self._starts >> (self.token_bytes >> 1)

    def document_span(self, document: int) -> tuple[int, int]:
        """Return the position of the first token of a document, and the end of its tokens."""
        starts, shift = self._starts, self.token_bytes >> 1
        end = int(starts[document + 1]) >> shift if document + 1 < len(starts) else self.size
        return (int(starts[document]) >> shift) + 1, end

    def starts_of(self, documents: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the positions of the separators of documents."""
        return self._starts[documents] >> (self.token_bytes >> 1)

    def find(self, token_ids: Sequence[int]) -> tuple[int, int]:
        """Return the range of the table whose suffixes start with these tokens."""
        query = np.array(token_ids, self.token_dtype).view(np.uint8)
        low, high = search.find(self.suffix_array, query)
        return int(low), int(high)

    def count(self, token_ids: Sequence[int], counted: Mask, column: int, stop: Stop) -> tuple[int, int]:
        """Return occurrences and documents of these tokens; see :func:`ngrams.count_range`."""
        return self._count(*self.count_arrays, np.array(token_ids, self.token_dtype), counted, column, stop)

    @cached_property
    def _count(self) -> Callable[..., tuple[int, int]]:
        return count_ngram.for_types_of(
            *self.count_arrays, np.zeros(0, self.token_dtype), EVERYTHING, -1, np.zeros(1, np.uint8)
        )

    @cached_property
    def count_pair(self) -> Callable[..., bool]:
        """:func:`quick_pair.count_pair` for the types of this shard, which are not checked again."""
        tokens, numbers, stamps = (np.zeros(0, each) for each in (self.token_dtype, np.int64, np.uint32))
        stamps_of_leader, stop = (stamps, np.zeros(0, np.int32)), np.zeros(1, np.uint8)
        query = self.ids, tokens, numbers, numbers, EVERYTHING, -1
        scratch = *stamps_of_leader, stamps, stamps, stop, numbers, np.zeros(0, np.uint64), numbers, numbers
        return count_pair.for_types_of(*self.count_arrays, *query, *scratch, numbers)

    @cached_property
    def count_arrays(self) -> tuple[Array, Array, int, int, Array, int, Array, Array, int, int, Array]:
        """The suffix array, its documents and its stored counts, as compiled code for single counts takes them."""
        stream, table, width, token_bytes, first, types = self.suffix_array
        rows = self.suffix_rows
        documents = rows.document_starts, rows.blocks, rows.size, rows.block_bits
        return stream, table, width, token_bytes, first, types, *documents, self.frequent

    def count_all(
        self, tokens: TokenArray, starts: Numbers, counted: Mask, column: int, stop: Stop, counts: Numbers
    ) -> None:
        """Add occurrences and documents of each n-gram to ``counts``."""
        ranges = self.find_all(tokens, starts)
        count_ranges(self.suffix_rows, self.selection(counted, column), ranges, stop, counts)

    def count_groups(
        self, token_ids: Sequence[int], counted: Mask, groups: npt.NDArray[np.int32], stop: Stop, counts: Numbers
    ) -> None:
        """Add occurrences and documents in each group to ``counts``."""
        low, high = self.find(token_ids)
        if low < high:
            count_by_group(self.suffix_rows, self.selection(counted, -1, groups), low, high, stop, counts)

    def occurrences(self, forms: Forms, selection: Selection, reading: int) -> SuffixArrayOccurrences:
        """Return the occurrences of all forms, read from the suffix array."""
        return SuffixArrayOccurrences(self, forms, selection, reading)

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

    def most_occurrences(self, token_ids: Sequence[int]) -> int:
        """Return an upper bound of the number of occurrences, which includes deleted documents."""
        low, high = self.find(token_ids)
        return high - low

    def most_visited(self, token_ids: Sequence[int], counted: Mask, column: int) -> int:  # noqa: ARG002  # as in the base
        """Return an upper bound of the occurrences that :meth:`count` visits; see :meth:`Shard.most_visited`."""
        # All more frequent n-grams are stored, if any are; other builders of this layout store none.
        if column >= 0 and len(self.frequent) > 0 and len(token_ids) <= LONGEST:
            return FREQUENT
        return self.most_occurrences(token_ids)

    def positions_of(self, token_ids: Sequence[int]) -> npt.NDArray[np.int64]:
        """Return the positions of all occurrences of these tokens, in the order of the suffix array."""
        return self.positions(*self.find(token_ids))

    def first_disorder(self, rows: npt.NDArray[np.int64]) -> int | None:
        """Return the first of these rows whose suffix does not precede that of the next row, or None."""
        wrong = int(search.first_disorder(self.stream, self.table, self.width, rows, COMPARED_BYTES))
        return None if wrong < 0 else wrong

    def first_wrong_row(self) -> int | None:
        """Return the first misplaced row of the table, or None; takes 4 bytes of memory per row (8 over 2^32 rows)."""
        row_of = np.empty(self.size + 1, np.uint32 if self.size < MOST_NARROW_ROWS else np.uint64)
        wrong = int(search.first_wrong_row(self.stream, self.table, self.width, self.token_bytes, row_of))
        return None if wrong < 0 else wrong

    def check_order(self, most: int | None) -> int:
        """Check the order of the table, or of a sample of its rows, and return the number of compared rows."""
        rows = self.size - 1
        if most is None:
            wrong, compared = self.first_wrong_row(), rows
        else:
            sample = np.sort(np.random.default_rng(0).choice(rows, min(rows, most), replace=False))
            wrong, compared = self.first_disorder(sample), len(sample)
        if wrong is not None:
            raise VerificationError(f"{self.folder / self.table_name} is out of order at row {wrong}")
        return compared

    def count_frequent(
        self, living: npt.NDArray[np.bool_] | None, distinct: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.uint32]:
        """Return the frequent n-grams with their counts."""
        return count_frequent(self, living, distinct)

    @property
    def table_name(self) -> str:
        """The name of the file of the suffix array."""
        return f"table{self._suffix}"

    def tokens(self, begin: int, end: int) -> npt.NDArray[np.integer[Any]]:
        """Return the token ids at the positions [begin, end)."""
        return self.ids[begin:end]


class SuffixArrayOccurrences:
    """The occurrences of the forms of a table of facts; the ranges of the suffix array are their location."""

    def __init__(self, shard: SuffixArrayShard, forms: Forms, selection: Selection, reading: int) -> None:
        ranges = shard.find_all(forms.tokens, forms.starts)
        stored = stored_counts(selection.frequent, selection.column, ranges)
        self._located = Located(
            shard.suffix_rows,
            FormRanges(*forms.arrays, ranges, stored),
            shard.ids,
            np.full(len(forms), reading, np.int8),
        )
        self.hits = forms.sums(ranges[:, 1] - ranges[:, 0])
        self.whole = True

    def locate(
        self,
        entities: npt.NDArray[np.int64],
        leaders: npt.NDArray[np.int64],
        partners: npt.NDArray[np.int64],
        threads: int,
        stop: Stop,
    ) -> Located:
        """Return the ranges of all forms, which are known already."""
        del entities, leaders, partners, threads, stop
        return self._located
