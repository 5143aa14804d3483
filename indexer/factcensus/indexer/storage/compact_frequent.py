"""``frequent.N.G`` in the layout ``compact``: stored occurrences and documents of the frequent n-grams of a shard.

The table is a tree. A row has the number of the row of the n-gram without its last token plus one (0 for single
tokens), the code of the last token, and four counts as in :mod:`frequent`. Rows are sorted by the first two columns.

It is made level by level. An n-gram can only be frequent if its first and last n - 1 tokens are, so each level has a
list of the positions of its frequent n-grams, and the next one looks only at those that follow each other in it. They
are brought together by their first n - 1 tokens, and counted there. The time is linear in the length of the lists for
any text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.compiled import compiled


def count_frequent_codes(
    codes: npt.NDArray[np.uint32],
    starts: npt.NDArray[np.int64],
    separator: int,
    living: npt.NDArray[np.bool_] | None,
    distinct: npt.NDArray[np.bool_] | None,
    least: int,
    longest: int,
) -> npt.NDArray[np.uint32]:
    """Return the table of one shard; it takes 16 bytes of memory per token, with ``codes``.

    Args:
        codes: The text of the shard; overwritten.
        starts: int64 (documents,): the position of the separator of each document.
        separator: The code of the separator.
        living: bool (documents,), False for deleted documents; None if there are none.
        distinct: bool (documents,), False for deleted and repeated documents; None if there are none.
        least: N-grams that occur more often are stored,
        longest: up to this number of tokens.

    Returns:
        uint32 (n-grams, 6).
    """
    everything = np.zeros(0, np.bool_)
    masks = (everything if living is None else living, everything if distinct is None else distinct)
    occurrences = np.zeros(int(codes.max()) + 1, np.int64)
    _count_codes(codes, occurrences)
    occurrences[separator] = 0
    last_tokens = np.flatnonzero(occurrences > least)
    rows, positions = codes, np.arange(len(codes), dtype=np.uint32)
    number_of = np.zeros(len(occurrences), np.uint32)
    number_of[last_tokens] = np.arange(1, len(last_tokens) + 1)
    counts, size = _keep(rows, positions, number_of, starts, *masks, len(last_tokens))
    levels = [np.column_stack([np.zeros(len(last_tokens), np.int64), last_tokens, counts])]
    before = 0
    for _ in range(2, longest + 1):
        pairs = _join(rows[:size], positions[:size], len(last_tokens), least)
        if not len(pairs):
            break
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        number_of = np.zeros(len(pairs) + 1, np.uint32)
        number_of[order + 1] = np.arange(1, len(pairs) + 1)
        parents, last_tokens = pairs[order, 0] + before, last_tokens[pairs[order, 1] - 1]
        before += len(levels[-1])
        counts, size = _keep(rows[:size], positions[:size], number_of, starts, *masks, len(pairs))
        levels.append(np.column_stack([parents, last_tokens, counts]))
    return np.concatenate(levels).astype(np.uint32)


@compiled()
def _count_codes(codes: Array, occurrences: Array) -> None:
    for position in range(codes.size):
        occurrences[codes[position]] += 1


@compiled()
def _keep(
    rows: Array, positions: Array, number_of: Array, starts: Array, living: Array, distinct: Array, numbers: Any
) -> tuple[Array, Any]:
    """Renumber the n-grams of a level, remove those with the number 0 from the list, and count the others.

    Args:
        rows: The n-gram at each position; overwritten.
        positions: These positions, in order; overwritten.
        number_of: The new number of each n-gram; 0 for none.
        starts, living, distinct: As in :func:`count_frequent_codes`.
        numbers: The largest new number.

    Returns:
        The four counts of each number from 1 on, int64 (numbers, 4), and the new length of the list.
    """
    counts, last = np.zeros((numbers, 4), np.int64), np.full(numbers + 1, -1, np.int64)
    size, document, end = 0, np.int64(-1), np.int64(0)
    counted = kept = np.int64(0)
    for i in range(rows.size):
        number = number_of[rows[i]]
        if number == 0:
            continue
        position = np.int64(positions[i])
        rows[size], positions[size] = number, position
        size += 1
        while position >= end:
            document += 1
            end = starts[document + 1] if document + 1 < starts.size else np.int64(1) << 32
            counted = np.int64(living.size == 0 or living[document])
            kept = np.int64(counted and (distinct.size == 0 or distinct[document]))
        first = np.int64(last[number] != document)
        last[number] = document
        counts[number - 1, 0] += counted
        counts[number - 1, 1] += counted & first
        counts[number - 1, 2] += kept
        counts[number - 1, 3] += kept & first
    return counts, size


@compiled()
def _join(rows: Array, positions: Array, numbers: Any, least: Any) -> Array:
    """Find the frequent n-grams of the next level: pairs of n-grams at adjacent positions.

    Args:
        rows: The n-gram at each position, from 1 on; replaced by that of the next level, 0 for none.
        positions: These positions, in order.
        numbers: The largest n-gram.
        least: Pairs that occur more often are frequent.

    Returns:
        int64 (pairs, 2): the two n-grams of each pair of the next level, whose number is its index here plus one.
    """
    ends = np.zeros(numbers + 2, np.int64)
    places = _pairs_by_first(rows, positions, ends)
    rows[:] = 0
    pairs = np.empty((places.shape[0] // (least + 1), 2), np.int64)
    times, number_of = np.zeros(numbers + 1, np.int64), np.zeros(numbers + 1, np.uint32)
    found, begin = 0, np.int64(0)
    for first in range(1, numbers + 1):
        end, before = ends[first], found
        for at in range(begin, end):
            second = places[at, 0]
            times[second] += 1
            if times[second] == least + 1:
                pairs[found, 0], pairs[found, 1] = first, second
                found += 1
                number_of[second] = found
        for at in range(begin, end):
            second = places[at, 0]
            times[second] = 0
            if found > before:
                rows[places[at, 1]] = number_of[second]
        for pair in range(before, found):
            number_of[pairs[pair, 1]] = 0
        begin = end
    return pairs[:found]


@compiled()
def _pairs_by_first(rows: Array, positions: Array, ends: Array) -> Array:
    """Return the second n-gram of every pair and the place of the first in the list, by the first, then in order.

    ``ends``, one longer than there are n-grams and the number 0, receives the end of the pairs of each first n-gram.
    """
    for i in range(rows.size - 1):
        ends[rows[i] + 1] += positions[i + 1] - positions[i] == 1
    for number in range(1, ends.size):
        ends[number] += ends[number - 1]
    places = np.empty((ends[-1], 2), np.uint32)
    for i in range(rows.size - 1):
        if positions[i + 1] - positions[i] == 1:
            at = ends[rows[i]]
            ends[rows[i]] += 1
            places[at, 0], places[at, 1] = rows[i + 1], i
    return places
