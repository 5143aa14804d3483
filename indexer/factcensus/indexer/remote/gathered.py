"""The part of a remote shard that one query needs, in memory, in the form that compiled code counts in.

All rows of the n-grams are read, and the documents of their positions are found. Then the shard shrinks to these
positions: documents get new numbers without gaps, and distances between neighbouring positions are cut to a length that
no mention and no window spans. So the kernels that count in a local shard count here as well, in memory proportional to
the number of occurrences, and need no other token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Mask, Numbers, Stop, TokenArray
from factcensus.indexer.kernels import search
from factcensus.indexer.kernels.entities import FormRanges
from factcensus.indexer.kernels.ngrams import (
    NEVER_FREQUENT,
    NO_GROUPS,
    Selection,
    count_by_group,
    count_range,
    count_ranges,
)
from factcensus.indexer.storage.layout import pack
from factcensus.indexer.storage.shard import Located, Shard

if TYPE_CHECKING:
    from factcensus.indexer.kernels.forms import Forms
    from factcensus.indexer.remote.shard import RemoteShard
    from factcensus.indexer.remote.texts import TextSource

#: The largest row entry of four bytes.
_MOST_NARROW = 0xFFFFFFFF


class Found(NamedTuple):
    """The positions of many n-grams in order.

    Attributes:
        positions: int64, sorted, without repetitions.
        place: int64: the place among these of each row, n-gram by n-gram in table order.
    """

    positions: Numbers
    place: Numbers

    @classmethod
    def of(cls, positions: Sequence[Numbers]) -> Found:
        """Sort the positions of n-grams; one sort is much faster than a binary search per row."""
        rows = np.concatenate([np.zeros(0, np.int64), *positions])
        order = np.argsort(rows)
        ordered = rows[order]
        new = np.diff(ordered, prepend=-1) > 0
        place = np.empty(len(rows), np.int64)
        place[order] = np.cumsum(new) - 1
        return cls(ordered[new], place)


class GatheredShard(Shard):
    """The occurrences of some n-grams in a remote shard, which answers queries about these n-grams only.

    Args:
        shard: The remote shard.
        ngrams: The n-grams.
        positions: For each n-gram, its positions in table order.
        found: All positions in order.
        documents: int64: the document of each of the distinct positions.
        reach: The largest number of tokens between two mentions that matters.
        counts: For n-grams whose occurrences were not read, their counts stored in ``frequent.N.G``.
    """

    def __init__(
        self,
        shard: RemoteShard,
        ngrams: Sequence[tuple[int, ...]],
        positions: Sequence[Numbers],
        found: Found,
        documents: Numbers,
        reach: int,
        counts: Mapping[int, npt.NDArray[np.uint32]] = MappingProxyType({}),
    ) -> None:
        self._shard = shard
        self.number, self.first_document = shard.number, shard.first_document
        self.token_bytes, self.token_dtype, self.size = shard.token_bytes, shard.token_dtype, shard.size
        self.deleted, self.repeated = shard.deleted, shard.repeated
        self.kept = shard.kept
        self._of_ngram, self._document_of = positions, documents
        self._found, self._place_of_row = found.positions, found.place
        starts = np.cumsum([0, *map(len, positions)])
        self._ranges = np.stack([starts[:-1], starts[1:]], axis=1).astype(np.int64)
        self.frequent = self._place_stored(counts)
        self._number_of = {ngram: i for i, ngram in enumerate(ngrams)}
        self._longest = max(map(len, ngrams), default=1)
        self._reach = reach
        new = np.diff(documents, prepend=-1) > 0
        #: int64: the numbers in the shard of the documents that have an occurrence, and the first position of each.
        self._numbers, self._begins = documents[new], np.flatnonzero(new)
        self.documents = len(self._numbers)

    def _place_stored(self, counts: Mapping[int, npt.NDArray[np.uint32]]) -> npt.NDArray[np.uint32]:
        """Give n-grams with stored counts ranges after all rows, and return a ``frequent.N.G`` with these ranges."""
        first = int(self._ranges[:, 1].max(initial=0))
        size = NEVER_FREQUENT + 1
        stored = np.zeros((len(counts), 6), np.uint32)
        for place, (ngram, numbers) in enumerate(sorted(counts.items())):
            self._ranges[ngram] = first + place * size, first + (place + 1) * size
            stored[place] = [*self._ranges[ngram], *numbers]
        stored.flags.writeable = False  # like a mapped file, so that code is compiled only once
        return stored

    @cached_property
    def _rows(self) -> search.Rows:
        """The rows of all n-grams, one after the other, and their documents for compiled code."""
        placed = self._placed()
        entries = placed[self._place_of_row]
        size = int(placed[-1]) + self._longest if len(placed) else 0
        table: npt.NDArray[Any]
        if size <= _MOST_NARROW:
            table, width = entries.astype("<u4"), 1
        else:
            table, width = pack(entries, 5), 5
        table.flags.writeable = False  # like a mapped file, so that code is compiled only once
        begins = placed[self._begins] - 1
        begins.flags.writeable = False
        # Entries count tokens, as if each token had one byte.
        return search.Rows(table, width, 1, begins, search.block_documents(begins, size), size)

    def _placed(self) -> Numbers:
        """Return closer positions that preserve all distances that mentions and windows can span."""
        steps = np.minimum(np.diff(self._found, prepend=0), self._longest + self._reach + 1)
        steps[self._begins] = self._longest + 1
        steps[:1] = 1
        placed: Numbers = np.cumsum(steps)
        return placed

    def _range(self, token_ids: Sequence[int]) -> tuple[int, int]:
        low, high = self._ranges[self._number_of[tuple(token_ids)]].tolist()
        return low, high

    def _ranges_of(self, tokens: npt.NDArray[np.uint32], starts: Numbers) -> Numbers:
        ids = tokens.tolist()
        chosen = [self._number_of[tuple(ids[begin:end])] for begin, end in pairwise(starts.tolist())]
        return self._ranges[chosen].reshape(-1, 2)

    @property
    def document_starts(self) -> Numbers:
        """int64: the beginnings of the gathered documents, in the coordinates of the gathered rows."""
        begins: Numbers = self._rows.document_starts
        return begins

    def selection(self, counted: Mask, column: int, groups: npt.NDArray[np.int32] | None = None) -> Selection:
        """Return the gathered documents to count and their groups; see :class:`ngrams.Selection`."""
        if counted.size:
            counted = counted[self._numbers]
            counted.flags.writeable = False
        chosen = NO_GROUPS if groups is None or not groups.size else groups[self._numbers]
        return Selection(counted, chosen, self.frequent, column)

    def count(self, token_ids: Sequence[int], counted: Mask, column: int, stop: Stop) -> tuple[int, int]:
        """Return occurrences and documents of these tokens."""
        low, high = self._range(token_ids)
        if low == high:
            return 0, 0
        occurrences, documents = count_range(self._rows, self.selection(counted, column), low, high, stop)
        return int(occurrences), int(documents)

    def count_all(
        self, tokens: TokenArray, starts: Numbers, counted: Mask, column: int, stop: Stop, counts: Numbers
    ) -> None:
        """Add occurrences and documents of each ``tokens[starts[i]:starts[i + 1]]`` to ``counts``."""
        ranges = self._ranges_of(tokens, starts)
        count_ranges(self._rows, self.selection(counted, column), ranges, stop, counts)

    def count_groups(
        self, token_ids: Sequence[int], counted: Mask, groups: npt.NDArray[np.int32], stop: Stop, counts: Numbers
    ) -> None:
        """Add occurrences and documents of these tokens per group of documents to ``counts``."""
        low, high = self._range(token_ids)
        if low < high:
            count_by_group(self._rows, self.selection(counted, -1, groups), low, high, stop, counts)

    def occurrences(self, forms: Forms, selection: Selection, reading: int) -> GatheredOccurrences:
        """Return the occurrences of the forms of a table of facts."""
        del selection, reading  # other tokens than those of the n-grams were not read
        return GatheredOccurrences(self._rows, forms, self._ranges_of(forms.tokens, forms.starts), self.token_dtype)

    def most_occurrences(self, token_ids: Sequence[int]) -> int:
        """Return the number of occurrences of these tokens."""
        low, high = self._range(token_ids)
        return high - low

    def positions_of(self, token_ids: Sequence[int]) -> Numbers:
        """Return the positions of all occurrences of these tokens."""
        return self._of_ngram[self._number_of[tuple(token_ids)]]

    def documents_of(self, positions: Numbers) -> Numbers:
        """Return the document of each given position of the n-grams."""
        return self._document_of[np.searchsorted(self._found, positions)]

    def tokens(self, begin: int, end: int) -> npt.NDArray[np.integer[Any]]:
        """Return the token ids at the positions [begin, end)."""
        return self._shard.tokens(begin, end)

    def document_span(self, document: int) -> tuple[int, int]:
        """Return the positions [begin, end) of the tokens of a document of the shard."""
        return self._shard.document_span(document)

    def document_spans(self, documents: Numbers) -> tuple[Numbers, Numbers]:
        """Return the start (at the separator) and the end of each given document of the shard."""
        return self._shard.document_spans(documents)

    def token_parts(self, parts: Sequence[tuple[int, int]]) -> list[npt.NDArray[np.integer[Any]]]:
        """Run :meth:`tokens` for many ranges."""
        return self._shard.token_parts(parts)

    @property
    def text_source(self) -> TextSource:
        """The original texts of the shard."""
        return self._shard.text_source

    def rows(self, documents: Sequence[int]) -> list[dict[str, Any]]:
        """Return the document rows of some documents of the shard."""
        return self._shard.rows(documents)

    def check_order(self, most: int | None) -> int:
        """Refuse the check, which needs a local folder."""
        return self._shard.check_order(most)

    def count_frequent(
        self, living: npt.NDArray[np.bool_] | None, distinct: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.uint32]:
        """Refuse the count, which needs a local folder."""
        return self._shard.count_frequent(living, distinct)


class GatheredOccurrences:
    """The occurrences of the forms of a table of facts, all of them already located."""

    def __init__(self, rows: search.Rows, forms: Forms, ranges: Numbers, token_dtype: np.dtype[Any]) -> None:
        unread = np.zeros(0, token_dtype)
        unread.flags.writeable = False
        self._located = Located(
            rows,
            FormRanges(*forms.arrays, ranges, np.full(ranges.shape, -1, np.int64)),
            unread,
            np.zeros(len(forms), np.int8),  # documents cannot be read through
        )
        before = np.concatenate([[0], np.cumsum(ranges[:, 1] - ranges[:, 0])])
        self.hits = before[forms.entities[1:]] - before[forms.entities[:-1]]
        self.whole = True

    def locate(self, entities: Numbers, leaders: Numbers, partners: Numbers, threads: int, stop: Stop) -> Located:
        """Return the rows of all forms."""
        del entities, leaders, partners, threads, stop
        return self._located
