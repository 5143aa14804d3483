"""Compiled counting of n-grams in one shard: from a range of the suffix array to occurrences and documents."""

from __future__ import annotations

from typing import Any

import numpy as np

from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.search import Array, document_of, entry, find

#: Rows that are looked at between two looks at the clock, and rows below which a set of documents is hashed.
STRIDE = 1 << 16
FEW_ROWS = 4096
#: Ranges this short are counted sooner than looked up.
NEVER_FREQUENT = 16


@compiled()
def find_frequent(frequent: Array, low: int, high: int) -> int:
    """The row of ``frequent.N.G`` for a range of the suffix array; -1 when it has none."""
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


@compiled()
def count_range(
    table: Array, width: int, token_bytes: int, document_starts: Array, blocks: Array,
    frequent: Array, column: int, counted: Array, low: int, high: int, stop: Array,
) -> tuple[Any, Any]:  # fmt: skip
    """Occurrences and documents of the rows [low, high).

    Args:
        frequent: ``frequent.N.G``; ``column`` is where the counts of these ``counted`` documents stand there, -1 if
            they do not.
        column: see above.
        counted: bool (documents,), or of size 0 for all.
        stop: the count is abandoned when ``stop[0]`` is set.
    """
    row = find_frequent(frequent, low, high) if column >= 0 else -1
    if row >= 0:
        return np.int64(frequent[row, column]), np.int64(frequent[row, column + 1])
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
            document = document_of(entry(table, row, width) >> (token_bytes >> 1), document_starts, blocks)
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
    marked = np.zeros(document_starts.size, np.bool_)
    for row in range(low, high):
        if (row - low) % STRIDE == 0 and stop[0]:
            break
        document = document_of(entry(table, row, width) >> (token_bytes >> 1), document_starts, blocks)
        if counted.size and not counted[document]:
            continue
        occurrences += 1
        if not marked[document]:
            marked[document] = True
            found += 1
    return occurrences, found


@compiled()
def count_ngram(
    stream: Array, table: Array, width: int, token_bytes: int, first: Array, types: int,
    document_starts: Array, blocks: Array, frequent: Array, ids: Array, column: int, counted: Array, stop: Array,
) -> tuple[Any, Any]:  # fmt: skip
    """:func:`search.find` of a token sequence (an array of ids), and :func:`count_range` of what it finds."""
    low, high = find(stream, table, width, token_bytes, first, types, ids.view(np.uint8))
    if low >= high:
        return np.int64(0), np.int64(0)
    return count_range(table, width, token_bytes, document_starts, blocks, frequent, column, counted, low, high, stop)


@compiled()
def count_ranges(
    table: Array, width: int, token_bytes: int, document_starts: Array, blocks: Array,
    frequent: Array, column: int, counted: Array, ranges: Array, stop: Array, counts: Array,
) -> None:  # fmt: skip
    """Add :func:`count_range` of many ranges, int64 (n, 2), to ``counts``, int64 (n, 2)."""
    for i in range(ranges.shape[0]):
        if stop[0]:
            return
        if ranges[i, 0] < ranges[i, 1]:
            occurrences, documents = count_range(
                table, width, token_bytes, document_starts, blocks, frequent, column, counted,
                ranges[i, 0], ranges[i, 1], stop,
            )  # fmt: skip
            counts[i, 0] += occurrences
            counts[i, 1] += documents


@compiled()
def count_by_group(
    table: Array, width: int, token_bytes: int, document_starts: Array, blocks: Array,
    counted: Array, groups: Array, low: int, high: int, stop: Array, counts: Array,
) -> None:  # fmt: skip
    """Add occurrences and documents of the rows [low, high) to ``counts``, int64 (groups, 2), by document's group."""
    marked = np.zeros(document_starts.size, np.bool_)
    for row in range(low, high):
        if (row - low) % STRIDE == 0 and stop[0]:
            return
        document = document_of(entry(table, row, width) >> (token_bytes >> 1), document_starts, blocks)
        if counted.size and not counted[document]:
            continue
        counts[groups[document], 0] += 1
        if not marked[document]:
            marked[document] = True
            counts[groups[document], 1] += 1
