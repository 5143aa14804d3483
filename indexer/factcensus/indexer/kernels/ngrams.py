"""Compiled counting of n-grams in one shard: from a range of the suffix array to occurrences and documents."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from factcensus.indexer.arrays import Array, Mask
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.search import Rows, SuffixArray, document_of, find, position_of

#: Rows processed between two checks of the stop flag; below this number of rows, documents are hashed.
STRIDE = 1 << 16
FEW_ROWS = 4096
#: Maximum length of a range that is counted faster than looked up.
NEVER_FREQUENT = 16


@compiled()
def find_frequent(frequent: Array, low: int, high: int) -> int:
    """Return the row of ``frequent.N.G`` for a range of the suffix array; -1 if there is none."""
    if high - low <= NEVER_FREQUENT:
        return -1
    first, last = 0, frequent.shape[0]
    while first < last:
        middle = (first + last) // 2
        if frequent[middle, 0] < low or (frequent[middle, 0] == low and frequent[middle, 1] < high):
            first = middle + 1
        else:
            last = middle
    if first < frequent.shape[0] and frequent[first, 0] == low and frequent[first, 1] == high:
        return first
    return -1


#: The mask that counts all documents.
EVERYTHING: Mask = np.zeros(0, np.bool_)
EVERYTHING.flags.writeable = False


class Selection(NamedTuple):
    """The documents of one shard that are counted, and how their counts are grouped.

    Attributes:
        documents: bool (documents,): whether each document is counted; of size 0 if all are counted.
        groups: int32 (documents,): the group of each document; of size 0 without groups.
        frequent: ``frequent.N.G``, the stored counts of frequent n-grams.
        column: The column of ``frequent`` with the counts for these documents; -1 if there is none.
    """

    documents: Array
    groups: Array
    frequent: Array
    column: int


@compiled()
def count_range(rows: Rows, selection: Selection, low: int, high: int, stop: Array) -> tuple[Any, Any]:  # noqa: C901 - compiled: one loop that keeps its state in local variables
    """Return occurrences and documents of the rows [low, high).

    Args:
        stop: uint8 (1,): the count is abandoned when ``stop[0]`` is set.
    """
    stored = find_frequent(selection.frequent, low, high) if selection.column >= 0 else -1
    if stored >= 0:
        column = selection.column
        return np.int64(selection.frequent[stored, column]), np.int64(selection.frequent[stored, column + 1])
    counted = selection.documents
    if high - low == 1 and counted.size == 0:
        return np.int64(1), np.int64(1)
    occurrences = 0
    found = 0
    if high - low <= FEW_ROWS:
        size = 4
        while size < 2 * (high - low):
            size *= 2
        seen = np.zeros(size, np.int32)  # document + 1, by open addressing
        for row in range(low, high):
            document = document_of(rows, position_of(rows, row))
            if counted.size and not counted[document]:
                continue
            occurrences += 1
            slot = (document * 0x9E3779B1 >> 7) & (size - 1)
            while seen[slot] != 0 and seen[slot] != document + 1:
                slot = (slot + 1) & (size - 1)
            if seen[slot] == 0:
                seen[slot] = document + 1
                found += 1
        return occurrences, found
    marked = np.zeros((rows.document_starts.size + 63) // 64, np.uint64)  # one bit per document
    for row in range(low, high):
        if (row - low) % STRIDE == 0 and stop[0]:
            break
        document = document_of(rows, position_of(rows, row))
        if counted.size and not counted[document]:
            continue
        occurrences += 1
        found += _mark(marked, document)
    return occurrences, found


@compiled(inline="always")
def _mark(marked: Any, document: Any) -> Any:
    """Set the bit of a document, and return 1 if it was not set."""
    word, bit = document >> 6, np.uint64(document & 63)
    new = (marked[word] >> bit & np.uint64(1)) ^ np.uint64(1)
    marked[word] |= new << bit
    return np.int64(new)


#: Used for counts without groups.
NO_GROUPS = np.zeros(0, np.int32)


@compiled()
def count_ngram(  # noqa: PLR0913 - compiled: arrays of several records
    stream: Array,
    table: Array,
    width: int,
    token_bytes: int,
    first: Array,
    types: int,
    document_starts: Array,
    blocks: Array,
    size: int,
    block_bits: int,
    frequent: Array,
    ids: Array,
    counted: Array,
    column: int,
    stop: Array,
) -> tuple[Any, Any]:
    """Find a token sequence (an array of ids) and return :func:`count_range` of its rows.

    The arguments are the fields of :class:`SuffixArray`, :class:`Rows` and :class:`Selection`. Passing these tuples
    from Python would take 2 us, half the time of a count.
    """
    low, high = find(SuffixArray(stream, table, width, token_bytes, first, types), ids.view(np.uint8))
    if low >= high:
        return np.int64(0), np.int64(0)
    rows = Rows(table, width, token_bytes, document_starts, blocks, size, block_bits)
    return count_range(rows, Selection(counted, NO_GROUPS, frequent, column), low, high, stop)


@compiled()
def count_ranges(rows: Rows, selection: Selection, ranges: Array, stop: Array, counts: Array) -> None:
    """Add the result of :func:`count_range` for many ranges, int64 (n, 2), to ``counts``, int64 (n, 2)."""
    for i in range(ranges.shape[0]):
        if stop[0]:
            return
        if ranges[i, 0] < ranges[i, 1]:
            occurrences, documents = count_range(rows, selection, ranges[i, 0], ranges[i, 1], stop)
            counts[i, 0] += occurrences
            counts[i, 1] += documents


@compiled()
def count_by_group(rows: Rows, selection: Selection, low: int, high: int, stop: Array, counts: Array) -> None:
    """Add occurrences and documents of the rows [low, high) per group to ``counts``, int64 (groups, 2)."""
    marked = np.zeros((rows.document_starts.size + 63) // 64, np.uint64)
    for row in range(low, high):
        if (row - low) % STRIDE == 0 and stop[0]:
            return
        document = document_of(rows, position_of(rows, row))
        if selection.documents.size and not selection.documents[document]:
            continue
        counts[selection.groups[document], 0] += 1
        counts[selection.groups[document], 1] += _mark(marked, document)
