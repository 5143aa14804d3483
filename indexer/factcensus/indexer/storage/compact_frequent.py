"""``frequent.N.G`` in the layout ``compact``: stored occurrences and documents of the frequent n-grams of a shard.

The table is a tree. A row has the number of the row of the n-gram without its last token plus one (0 for single
tokens), the code of the last token, and four counts as in :mod:`frequent`. Rows are sorted by the first two columns.

It is made level by level. An n-gram can only be frequent if its first and last n - 1 tokens are. The n-grams that pass
this test are counted twice: first in a small table by a hash of the n-gram, which excludes almost all rare ones, and
then exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.compiled import compiled

#: Number of tokens per slot of the hash table that excludes rare n-grams, and its maximum number of slots.
_TOKENS_PER_SLOT, _MOST_SLOTS = 16, 1 << 24


def count_frequent_codes(
    codes: npt.NDArray[np.uint32],
    starts: npt.NDArray[np.int64],
    separator: int,
    living: npt.NDArray[np.bool_] | None,
    distinct: npt.NDArray[np.bool_] | None,
    least: int,
    longest: int,
) -> npt.NDArray[np.uint32]:
    """Return the table of one shard; it takes 4 bytes of memory per token.

    Args:
        codes: The text of the shard.
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
    counts = np.bincount(codes, minlength=separator + 1)
    counts[separator] = 0
    chosen = np.flatnonzero(counts > least)
    row_of = np.zeros(len(counts), np.uint32)
    row_of[chosen] = np.arange(1, len(chosen) + 1)
    rows = [np.column_stack([np.zeros(len(chosen), np.int64), chosen])]
    grams = row_of[codes]
    counted = [_count_level(grams, starts, *masks, 0, len(chosen))]
    total = len(chosen)
    for length in range(2, longest + 1):
        keys = _frequent_keys(codes, grams, length, least)
        if not len(keys):
            break
        _next_level(codes, grams, length, keys, total)
        counted.append(_count_level(grams, starts, *masks, total, len(keys)))
        rows.append(np.column_stack([keys >> np.uint64(32), keys & np.uint64(0xFFFFFFFF)]).astype(np.int64))
        total += len(keys)
    return np.concatenate([np.column_stack(each) for each in zip(rows, counted, strict=True)]).astype(np.uint32)


@compiled()
def _count_level(grams: Array, starts: Array, living: Array, distinct: Array, first: Any, rows: Any) -> Array:
    """Return the four counts of the rows from ``first`` on, int64 (rows, 4)."""
    counts = np.zeros((rows, 4), np.int64)
    last, last_distinct = np.full(rows, -1, np.int64), np.full(rows, -1, np.int64)
    for document in range(starts.size):
        if living.size and not living[document]:
            continue
        kept = distinct.size == 0 or distinct[document]
        end = starts[document + 1] if document + 1 < starts.size else grams.size
        for position in range(starts[document] + 1, end):
            row = np.int64(grams[position]) - 1 - first
            if row < 0:
                continue
            counts[row, 0] += 1
            if last[row] != document:
                last[row] = document
                counts[row, 1] += 1
            if kept:
                counts[row, 2] += 1
                if last_distinct[row] != document:
                    last_distinct[row] = document
                    counts[row, 3] += 1
    return counts


@compiled(inline="always")
def _key(codes: Any, grams: Any, length: Any, position: Any) -> Any:
    """Return the row of the n-gram without its last token plus one, and the code of the last token, as one integer."""
    return np.uint64(grams[position]) << np.uint64(32) | np.uint64(codes[position + length - 1])


@compiled(inline="always")
def _hashed(key: Any) -> Any:
    return np.int64((key * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20))


@compiled(inline="always")
def _slot_of(keys: Any, key: Any) -> Any:
    """Return the slot of a key in a hash table of a power of two slots, in which 0 is free."""
    slot = _hashed(key) & (keys.size - 1)
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + 1) & (keys.size - 1)
    return slot


@compiled()
def _count_hashes(codes: Array, grams: Array, length: Any, seen: Array) -> None:
    for position in range(grams.size - length + 1):
        if grams[position] and grams[position + 1]:
            seen[_hashed(_key(codes, grams, length, position)) & (seen.size - 1)] += np.uint32(1)


@compiled()
def _count_keys(codes: Array, grams: Array, length: Any, seen: Array, least: Any) -> tuple[Array, Array]:
    """Return a hash table of the n-grams that may be frequent: their keys and counts."""
    keys, counts = np.zeros(1 << 12, np.uint64), np.zeros(1 << 12, np.int64)
    used = 0
    for position in range(grams.size - length + 1):
        if not (grams[position] and grams[position + 1]):
            continue
        key = _key(codes, grams, length, position)
        if seen[_hashed(key) & (seen.size - 1)] <= least:
            continue
        slot = _slot_of(keys, key)
        if keys[slot] == 0:
            keys[slot] = key
            used += 1
        counts[slot] += 1
        if 2 * used > keys.size:
            more, more_counts = np.zeros(2 * keys.size, np.uint64), np.zeros(2 * keys.size, np.int64)
            for old in range(keys.size):
                if keys[old] != 0:
                    slot = _slot_of(more, keys[old])
                    more[slot], more_counts[slot] = keys[old], counts[old]
            keys, counts = more, more_counts
    return keys, counts


def _frequent_keys(codes: Array, grams: Array, length: int, least: int) -> npt.NDArray[np.uint64]:
    """Return the keys of the frequent n-grams of one length, in order."""
    slots = 1 << max(10, min(_MOST_SLOTS, len(codes) // _TOKENS_PER_SLOT).bit_length())
    seen = np.zeros(slots, np.uint32)
    _count_hashes(codes, grams, length, seen)
    keys, counts = _count_keys(codes, grams, length, seen, least)
    return np.sort(keys[counts > least])


@compiled()
def _next_level(codes: Array, grams: Array, length: Any, keys: Array, first: Any) -> None:
    """Replace the row of the n-gram at each position by that of the n-gram that is one token longer; 0 for none."""
    slots = 16
    while slots < 2 * keys.size + 2:
        slots *= 2
    table, rows = np.zeros(slots, np.uint64), np.zeros(slots, np.uint32)
    for i in range(keys.size):
        slot = _slot_of(table, keys[i])
        table[slot], rows[slot] = keys[i], first + i + 1
    for position in range(grams.size):
        row = np.uint32(0)
        if position + length <= grams.size and grams[position] and grams[position + 1]:
            row = rows[_slot_of(table, _key(codes, grams, length, position))]
        grams[position] = row
