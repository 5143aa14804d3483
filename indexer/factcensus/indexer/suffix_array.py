"""The suffix array of a token stream: every position, in the byte order of the little-endian rest of the stream.

Canonical (a proper suffix sorts first; nothing stops at document separators), so any correct builder makes the same
table. Three steps, each with a reason:

1. *Buckets* by first token: one counting sort.
2. Inside each bucket, several tokens packed into one 63-bit key are sorted at a time (radix sort for large groups,
   quicksort for small), down to ``DEPTH`` tokens. Natural text is nearly done then: 4 % of the suffixes are tied.
3. *Prefix doubling* (Larsson and Sadakane 2007) over the tied groups only, so that repeated documents cost
   O(n log n), not O(n * length of the repeat). That is where merging builders explode.

Memory: ranks 4, positions 4, and while ties are left ranks of suffixes 4 bytes a token; scratch of about 28 bytes
an element of the largest bucket a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[Any]

#: Tokens sorted by packed keys before doubling takes over; 16 was best on natural and duplicate-heavy text
#: (7: 8.9 s, 31: 8.2 s, 16: 7.2 s on 20 M tokens of the latter).
DEPTH = 16
#: Groups at least this large are radix-sorted.
RADIX_FROM = 2048
_DIGIT = 11


def suffix_array(
    ranks: npt.NDArray[np.uint32],
    alphabet: int,
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.uint32]:
    """Positions of all suffixes in order.

    Args:
        ranks: uint32 (n,), n < 2**32: each token's place in the byte order of the ids (see :func:`byte_order_ranks`).
        alphabet: every rank is below it.
        threads: threads that sort buckets; the result does not depend on it.
        progress: called with (suffixes sorted, n) after each chunk of buckets.

    Returns:
        uint32 (n,).
    """
    n = len(ranks)
    if n == 0:
        return np.zeros(0, np.uint32)
    starts = np.zeros(alphabet + 1, np.int64)
    np.cumsum(np.bincount(ranks, minlength=alphabet), out=starts[1:])
    positions = _bucket(ranks, starts[:-1].copy())
    bits = max(1, int(alphabet).bit_length())  # keys hold rank + 1, and 0 beyond the end
    per_key = max(1, 63 // bits)
    levels = -(-(DEPTH - 1) // per_key)
    tied = _sort_buckets(ranks, positions, starts, bits, per_key, levels, threads, progress)
    if len(tied):
        _double(positions, tied, depth=1 + levels * per_key)
    return positions


def byte_order_ranks(vocabulary_size: int, dtype: np.dtype[Any]) -> npt.NDArray[np.uint32]:
    """The rank of each id 0 … vocabulary_size - 1 among them, compared as little-endian bytes."""
    ids = np.arange(vocabulary_size, dtype=dtype)
    ranks = np.empty(vocabulary_size, np.uint32)
    ranks[np.argsort(ids.byteswap() if dtype.itemsize > 1 else ids, kind="stable")] = np.arange(vocabulary_size)
    return ranks


def _sort_buckets(
    ranks: Array,
    positions: Array,
    starts: Array,
    bits: int,
    per_key: int,
    levels: int,
    threads: int,
    progress: Callable[[int, int], None] | None,
) -> Array:
    """Sort every bucket to ``1 + levels * per_key`` tokens; int64 (groups, 2) of what is still tied, in order."""
    chunks = _chunks(starts, max(len(positions) // 256, 1 << 16))

    def sort(chunk: tuple[int, int]) -> Array:
        first, last = chunk
        sizes = np.diff(starts[first : last + 1])
        largest = int(sizes.max(initial=0))
        if largest < 2:
            return np.zeros((0, 2), np.int64)
        keys, other_keys = np.empty(largest, np.uint64), np.empty(largest, np.uint64)
        other_positions = np.empty(largest, np.uint32)
        groups, next_groups = np.empty((largest // 2, 2), np.int64), np.empty((largest // 2, 2), np.int64)
        tied = np.empty((int(sizes.sum()) // 2, 2), np.int64)
        count = _sort_chunk(
            ranks, positions, starts, first, last, bits, per_key, levels,
            keys, other_keys, other_positions, groups, next_groups, tied,
        )  # fmt: skip
        return tied[:count].copy()

    chunks_by_size = sorted(chunks, key=lambda chunk: starts[chunk[0]] - starts[chunk[1]])
    results: dict[tuple[int, int], Array] = {}
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for chunk, tied in zip(chunks_by_size, pool.map(sort, chunks_by_size), strict=True):
            results[chunk] = tied
            done += int(starts[chunk[1]] - starts[chunk[0]])
            if progress:
                progress(done, len(positions))
    return np.concatenate([results[chunk] for chunk in chunks])


def _chunks(starts: Array, target: int) -> list[tuple[int, int]]:
    """Ranges of buckets of about ``target`` suffixes each (a larger bucket stands alone or ends one)."""
    wanted = np.arange(target, int(starts[-1]) + target, target)
    edges = np.unique(np.concatenate([[0], np.searchsorted(starts, wanted).clip(max=len(starts) - 1)]))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


@njit(cache=True, nogil=True)
def _bucket(ranks: Array, cursors: Array) -> Array:
    positions = np.empty(ranks.size, np.uint32)
    for position in range(ranks.size):
        rank = ranks[position]
        positions[cursors[rank]] = position
        cursors[rank] += 1
    return positions


@njit(cache=True, nogil=True)
def _sort_chunk(
    ranks: Array, positions: Array, starts: Array, first: int, last: int, bits: int, per_key: int, levels: int,
    keys: Array, other_keys: Array, other_positions: Array, groups: Array, next_groups: Array, tied: Array,
) -> int:  # fmt: skip
    """Sort buckets ``first`` … ``last - 1``, level by level; the number of groups written to ``tied``."""
    tied_count = 0
    for bucket in range(first, last):
        begin = starts[bucket]
        if starts[bucket + 1] - begin < 2:
            continue
        groups[0, 0] = begin
        groups[0, 1] = starts[bucket + 1]
        group_count = 1
        depth = 1
        for _level in range(levels):
            next_count = 0
            for g in range(group_count):
                low, high = groups[g, 0], groups[g, 1]
                for i in range(low, high):
                    keys[i - low] = _packed(ranks, np.int64(positions[i]) + depth, bits, per_key)
                _sort_pairs(keys, positions[low:high], high - low, other_keys, other_positions)
                next_count = _equal_runs(keys, low, high - low, next_groups, next_count)
            groups, next_groups = next_groups, groups
            group_count = next_count
            depth += per_key
            if group_count == 0:
                break
        for g in range(group_count):
            tied[tied_count, 0] = groups[g, 0]
            tied[tied_count, 1] = groups[g, 1]
            tied_count += 1
    return tied_count


@njit(cache=True, nogil=True, inline="always")
def _packed(ranks: Any, position: Any, bits: Any, per_key: Any) -> Any:
    key = np.uint64(0)
    shift = np.uint64(bits)
    for i in range(per_key):
        key <<= shift
        if position + i < ranks.size:
            key |= np.uint64(ranks[position + i]) + np.uint64(1)
    return key


@njit(cache=True, nogil=True, inline="always")
def _equal_runs(keys: Any, low: Any, size: Any, groups: Any, count: Any) -> Any:
    """Append the runs of two or more equal keys, as (begin, end) from ``low`` on, to ``groups``."""
    i = 0
    while i < size:
        j = i + 1
        while j < size and keys[j] == keys[i]:
            j += 1
        if j - i > 1:
            groups[count, 0] = low + i
            groups[count, 1] = low + j
            count += 1
        i = j
    return count


@njit(cache=True, nogil=True)
def _sort_pairs(keys: Array, values: Array, size: int, other_keys: Array, other_values: Array) -> None:
    """Sort ``keys[:size]`` and carry ``values[:size]`` along."""
    if size >= RADIX_FROM:
        _radix_sort(keys, values, size, other_keys, other_values)
    else:
        _quick_sort(keys, values, size)


@njit(cache=True, nogil=True)
def _radix_sort(keys: Array, values: Array, size: int, other_keys: Array, other_values: Array) -> None:
    """Least significant digit first, only over digits in which the keys differ."""
    differing = np.uint64(0)
    for i in range(1, size):
        differing |= keys[i] ^ keys[0]
    buckets = np.empty(1 << _DIGIT, np.int64)
    mask = np.uint64((1 << _DIGIT) - 1)
    swapped = False
    for digit in range(6):
        shift = np.uint64(digit * _DIGIT)
        if (differing >> shift) & mask == 0:
            continue
        source_keys, target_keys = (other_keys, keys) if swapped else (keys, other_keys)
        source_values, target_values = (other_values, values) if swapped else (values, other_values)
        buckets[:] = 0
        for i in range(size):
            buckets[np.int64((source_keys[i] >> shift) & mask)] += 1
        total = 0
        for b in range(buckets.size):
            count = buckets[b]
            buckets[b] = total
            total += count
        for i in range(size):
            digit_value = np.int64((source_keys[i] >> shift) & mask)
            target_keys[buckets[digit_value]] = source_keys[i]
            target_values[buckets[digit_value]] = source_values[i]
            buckets[digit_value] += 1
        swapped = not swapped
    if swapped:
        for i in range(size):
            keys[i] = other_keys[i]
            values[i] = other_values[i]


@njit(cache=True, nogil=True)
def _quick_sort(keys: Array, values: Array, size: int) -> None:
    """Three-way quicksort with insertion sort below 16; the larger side waits, so the stack stays under 64."""
    stack = np.empty((64, 2), np.int64)
    top = 0
    low, high = 0, size
    while True:
        if high - low < 16:
            for i in range(low + 1, high):
                key, value = keys[i], values[i]
                j = i - 1
                while j >= low and keys[j] > key:
                    keys[j + 1], values[j + 1] = keys[j], values[j]
                    j -= 1
                keys[j + 1], values[j + 1] = key, value
            if top == 0:
                return
            top -= 1
            low, high = stack[top, 0], stack[top, 1]
            continue
        a, b, c = keys[low], keys[(low + high) // 2], keys[high - 1]
        pivot = max(min(a, b), min(max(a, b), c))
        less, i, greater = low, low, high
        while i < greater:
            if keys[i] < pivot:
                keys[less], keys[i] = keys[i], keys[less]
                values[less], values[i] = values[i], values[less]
                less += 1
                i += 1
            elif keys[i] > pivot:
                greater -= 1
                keys[greater], keys[i] = keys[i], keys[greater]
                values[greater], values[i] = values[i], values[greater]
            else:
                i += 1
        if less - low < high - greater:
            stack[top, 0], stack[top, 1] = greater, high
            high = less
        else:
            stack[top, 0], stack[top, 1] = low, less
            low = greater
        top += 1


@njit(cache=True, nogil=True)
def _double(positions: Array, tied: Array, depth: int) -> None:
    """Sort the tied groups by the rank of what follows them, twice as far each round, until none is left.

    ``tied`` is int64 (groups, 2), each a range of ``positions`` that agrees in ``depth`` tokens. The rank of a
    suffix is the first place of its group; refining ranks inside a round only sharpens later comparisons.
    """
    n = positions.size
    rank = np.empty(n, np.uint32)
    for i in range(n):
        rank[positions[i]] = i
    largest = np.int64(0)
    total = np.int64(0)
    for g in range(tied.shape[0]):
        low, high = tied[g, 0], tied[g, 1]
        largest = max(largest, np.int64(high - low))
        total += high - low
        for i in range(low, high):
            rank[positions[i]] = low
    keys, other_keys = np.empty(largest, np.uint64), np.empty(largest, np.uint64)
    other_positions = np.empty(largest, np.uint32)
    groups = tied
    spare = np.empty((total // 2, 2), np.int64)
    while groups.shape[0] > 0:
        count = 0
        for g in range(groups.shape[0]):
            low, high = groups[g, 0], groups[g, 1]
            for i in range(low, high):
                behind = np.int64(positions[i]) + depth
                keys[i - low] = np.uint64(rank[behind]) + np.uint64(1) if behind < n else np.uint64(0)
            _sort_pairs(keys, positions[low:high], high - low, other_keys, other_positions)
            first = low
            for i in range(low, high):
                if i > low and keys[i - low] != keys[i - 1 - low]:
                    first = i
                rank[positions[i]] = first
            count = _equal_runs(keys, low, high - low, spare, count)
        groups = spare[:count].copy()
        depth *= 2
