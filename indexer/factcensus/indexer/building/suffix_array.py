"""The suffix array of a token stream: all positions, sorted by the little-endian bytes from there to the end.

The order is canonical: a suffix that is a prefix of another sorts first, and comparisons do not stop at document
separators. So every correct builder makes the same table. There are three steps:

1. *Buckets*: one counting sort by the first token.
2. *Levels*: groups of suffixes that agree so far are sorted by their next tokens, until they agree in ``DEPTH`` tokens.
   Many groups become 64-bit keys (group, tokens, place) in a cache-sized batch for NumPy's vectorised sort. Groups of a
   few suffixes are sorted in place. After this step, only 4% of the suffixes of natural text are still tied.
3. *Prefix doubling* (Larsson and Sadakane 2007) over the tied groups only, so that repeated documents cost O(n log n)
   instead of O(n * length of the repeat). Groups are processed from the end of the text backwards. The text after a
   repeat is then already sorted when it is needed, and one round resolves most groups.

It takes 8 bytes of memory per token (the ranks, which are overwritten, and the result), at most 8 bytes per tied
suffix, and scratch per thread of 12 bytes per element of the largest bucket.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Array
from factcensus.indexer.building.device_sort import choose_device, sort_suffixes_on
from factcensus.indexer.kernels.compiled import compiled

#: Number of equal tokens after which prefix doubling takes over.
DEPTH = 16
#: Groups up to this size are sorted by insertion; larger ones by np.sort in batches of about this many suffixes.
TINY = 16
BATCH = 8192
#: Tied groups up to this size are sorted by insertion during doubling.
NEARBY = 128
#: Number of suffixes that a thread processes at a time.
CHUNK = 1 << 20


def count_ranks(ranks: npt.NDArray[np.uint32], alphabet: int) -> npt.NDArray[np.int64]:
    """Return int64 (alphabet + 1,): the first row of the suffixes of each rank, and the number of all suffixes."""
    starts = np.zeros(alphabet + 1, np.int64)
    _count(ranks, starts)
    np.cumsum(starts, out=starts)
    return starts


def sort_suffixes(
    ranks: npt.NDArray[np.uint32],
    starts: npt.NDArray[np.int64],
    *,
    threads: int = 1,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> npt.NDArray[np.uint32]:
    """Return the positions of all suffixes in order.

    Args:
        ranks: uint32 (n,), n < 2**32: the rank of each token in the byte order of ids (see :func:`byte_order_ranks`);
            overwritten.
        starts: The result of :func:`count_ranks`.
        threads: Number of threads that sort; the result does not depend on it.
        device: See :func:`device_sort.choose_device`; the result does not depend on it.
        progress: Called from time to time with (suffixes sorted, n).

    Returns:
        uint32 (n,).
    """
    n = len(ranks)
    if n == 0:
        return np.zeros(0, np.uint32)
    device = choose_device(device, n)
    if device != "cpu":
        return sort_suffixes_on(device, ranks, len(starts) - 1, progress=progress)
    positions = np.empty(n, np.uint32)  # NumPy requests huge pages, which help the random accesses of the kernels
    _bucket(ranks, starts[:-1].copy(), positions)
    bits = max(1, (len(starts) - 1).bit_length())  # keys contain rank + 1, and 0 beyond the end
    tied: list[Array] = []
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        for size, found in pool.map(lambda chunk: _sort_chunk(ranks, positions, starts, chunk, bits), _chunks(starts)):
            tied.append(found)
            done += size
            if progress:
                progress(done, n)
    groups = np.concatenate(tied)
    tied.clear()
    if len(groups):
        _double(ranks, positions, groups)
    return positions


def byte_order_ranks(vocabulary_size: int, dtype: np.dtype[Any]) -> npt.NDArray[np.uint32]:
    """Return the rank of each id 0 … vocabulary_size - 1 when compared as little-endian bytes."""
    ids = np.arange(vocabulary_size, dtype=dtype)
    ranks = np.empty(vocabulary_size, np.uint32)
    ranks[np.argsort(ids.byteswap() if dtype.itemsize > 1 else ids, kind="stable")] = np.arange(vocabulary_size)
    return ranks


def _chunks(starts: Array) -> list[tuple[int, int]]:
    """Return ranges of buckets of about ``CHUNK`` suffixes each, largest first (a larger bucket ends a range)."""
    wanted = np.arange(CHUNK, int(starts[-1]) + CHUNK, CHUNK)
    edges = np.unique(np.concatenate([[0], np.searchsorted(starts, wanted).clip(max=len(starts) - 1)]))
    chunks = list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    return sorted(chunks, key=lambda chunk: int(starts[chunk[0]] - starts[chunk[1]]))


def _sort_chunk(ranks: Array, positions: Array, starts: Array, chunk: tuple[int, int], bits: int) -> tuple[int, Array]:
    """Sort a range of buckets to ``DEPTH`` tokens; return its size and uint32 (groups, 2), the groups still tied."""
    first, last = chunk
    size = int(starts[last] - starts[first])
    largest = max(int(np.diff(starts[first : last + 1]).max()), BATCH)
    keys = np.empty(largest, np.uint64)
    places = np.empty(largest, np.uint32)
    groups = np.empty((size // (TINY + 1) + 1, 3), np.int64)
    next_groups = np.empty_like(groups)
    tied = np.empty((size // 2 + 1, 2), np.uint32)
    counts = np.zeros(2, np.int64)  # groups of the next level, tied groups
    _first_level(ranks, positions, starts, first, last, bits, groups, tied, counts)
    while counts[0]:
        waiting = int(counts[0])
        counts[0] = 0
        at = 0
        while at < waiting:
            until, batch, index_bits, per_key = _fill(ranks, positions, groups, at, waiting, bits, keys, places)
            keys[:batch].sort()
            _settle(
                ranks, positions, groups, at, until, bits, index_bits, per_key, keys, places, next_groups, tied, counts
            )
            at = until
        groups, next_groups = next_groups, groups
    return size, tied[: counts[1]].copy()


@compiled()
def _count(ranks: Array, starts: Array) -> None:
    for i in range(ranks.size):
        starts[np.int64(ranks[i]) + 1] += 1


@compiled()
def _bucket(ranks: Array, cursors: Array, positions: Array) -> None:
    for position in range(ranks.size):
        rank = ranks[position]
        positions[cursors[rank]] = position
        cursors[rank] += 1


@compiled(inline="always")
def _packed(ranks: Any, position: Any, bits: Any, per_key: Any) -> Any:
    """Return the next ``per_key`` tokens as one integer that sorts like them; 0 is used beyond the end."""
    key = np.uint64(0)
    shift = np.uint64(bits)
    for i in range(per_key):
        key <<= shift
        if position + i < ranks.size:
            key |= np.uint64(ranks[position + i]) + np.uint64(1)
    return key


@compiled(inline="always")
def _insert(keys: Any, positions: Any, low: Any, size: Any) -> None:
    """Sort ``keys[:size]`` by insertion, and reorder ``positions[low:low + size]`` in the same way."""
    for i in range(1, size):
        key, position = keys[i], positions[low + i]
        j = i - 1
        while j >= 0 and keys[j] > key:
            keys[j + 1], positions[low + j + 1] = keys[j], positions[low + j]
            j -= 1
        keys[j + 1], positions[low + j + 1] = key, position


@compiled()
def _sort_tiny(  # noqa: PLR0913 - compiled: arrays of several records
    ranks: Array,
    positions: Array,
    low: int,
    high: int,
    depth: int,
    bits: int,
    keys: Array,
    stack: Array,
    tied: Array,
    counts: Array,
) -> None:
    """Sort one group of at most ``TINY`` suffixes that agree in ``depth`` tokens, up to ``DEPTH`` tokens."""
    per_key = max(1, 63 // bits)
    stack[0, 0], stack[0, 1], stack[0, 2] = low, high, depth
    top = 1
    while top > 0:
        top -= 1
        low, high, depth = stack[top, 0], stack[top, 1], stack[top, 2]
        if depth >= DEPTH:
            tied[counts[1], 0], tied[counts[1], 1] = low, high
            counts[1] += 1
            continue
        size = high - low
        for i in range(size):
            keys[i] = _packed(ranks, np.int64(positions[low + i]) + depth, bits, per_key)
        _insert(keys, positions, low, size)
        i = 0
        while i < size:
            j = i + 1
            while j < size and keys[j] == keys[i]:
                j += 1
            if j - i > 1:
                stack[top, 0], stack[top, 1], stack[top, 2] = low + i, low + j, depth + per_key
                top += 1
            i = j


@compiled()
def _first_level(  # noqa: PLR0913 - compiled: arrays of several records
    ranks: Array,
    positions: Array,
    starts: Array,
    first: int,
    last: int,
    bits: int,
    groups: Array,
    tied: Array,
    counts: Array,
) -> None:
    """Sort tiny buckets, and list all others as groups that agree in one token."""
    keys, stack = np.empty(TINY, np.uint64), np.empty((TINY, 3), np.int64)
    for bucket in range(first, last):
        low, high = starts[bucket], starts[bucket + 1]
        if high - low > TINY:
            groups[counts[0], 0], groups[counts[0], 1], groups[counts[0], 2] = low, high, 1
            counts[0] += 1
        elif high - low > 1:
            _sort_tiny(ranks, positions, low, high, 1, bits, keys, stack, tied, counts)


@compiled(inline="always")
def _bit_length(value: Any) -> Any:
    length = 0
    while value >> length:
        length += 1
    return length


@compiled()
def _fill(
    ranks: Array, positions: Array, groups: Array, at: int, waiting: int, bits: int, keys: Array, places: Array
) -> tuple[int, int, int, int]:
    """Fill the keys of a batch from ``groups[at]``; return (next group, suffixes, bits per place, tokens per key)."""
    until = at
    size = np.int64(0)
    while until < waiting and (size == 0 or size + groups[until, 1] - groups[until, 0] <= BATCH):
        size += groups[until, 1] - groups[until, 0]
        until += 1
    index_bits = _bit_length(size - 1)
    per_key = max(1, (64 - index_bits - _bit_length(until - at - 1)) // bits)
    shift, place_shift = np.uint64(min(63, per_key * bits)), np.uint64(index_bits)
    place = 0
    for g in range(at, until):
        group = np.uint64(g - at) << shift if until > at + 1 else np.uint64(0)
        depth = groups[g, 2]
        for i in range(groups[g, 0], groups[g, 1]):
            position = np.int64(positions[i])
            tokens = _packed(ranks, position + depth, bits, per_key)
            keys[place] = (group | tokens) << place_shift | np.uint64(place)
            places[place] = positions[i]
            place += 1
    return until, place, index_bits, per_key


@compiled()
def _settle(  # noqa: PLR0913 - compiled: arrays of several records
    ranks: Array,
    positions: Array,
    groups: Array,
    at: int,
    until: int,
    bits: int,
    index_bits: int,
    per_key: int,
    keys: Array,
    places: Array,
    next_groups: Array,
    tied: Array,
    counts: Array,
) -> None:
    """Write a sorted batch back; tied groups are sorted at once if tiny, otherwise kept for the next level."""
    tiny_keys, stack = np.empty(TINY, np.uint64), np.empty((TINY, 3), np.int64)
    place_shift = np.uint64(index_bits)
    mask = (np.uint64(1) << place_shift) - np.uint64(1)
    k = 0
    for g in range(at, until):
        low, high, depth = groups[g, 0], groups[g, 1], groups[g, 2] + per_key
        first = low
        for i in range(low, high):
            positions[i] = places[np.int64(keys[k] & mask)]
            k += 1
            if i + 1 < high and keys[k] >> place_shift == keys[k - 1] >> place_shift:
                continue
            size = i + 1 - first
            if size > 1:
                if depth >= DEPTH:
                    tied[counts[1], 0], tied[counts[1], 1] = first, i + 1
                    counts[1] += 1
                elif size > TINY:
                    next_groups[counts[0], 0], next_groups[counts[0], 1] = first, i + 1
                    next_groups[counts[0], 2] = depth
                    counts[0] += 1
                else:
                    _sort_tiny(ranks, positions, first, i + 1, depth, bits, tiny_keys, stack, tied, counts)
            first = i + 1


def _double(rank: Array, positions: Array, groups: Array) -> None:
    """Sort the tied groups by the rank of the suffixes that follow, at a distance that doubles each round.

    ``groups`` is uint32 (groups, 2), ranges of ``positions`` that agree in ``DEPTH`` tokens; ``rank`` is scratch. The
    rank of a suffix is the first place of its group. Refining ranks within a round only makes later comparisons
    more precise.
    """
    _rank_suffixes(rank, positions, groups)
    sizes = groups[:, 1] - groups[:, 0]
    groups = groups[np.argsort(positions[groups[:, 0]])[::-1]]
    largest, total = int(sizes.max()), int(sizes.sum(dtype=np.int64))
    del sizes
    spare = np.empty((total // 2, 2), np.uint32)
    places = np.empty(largest if largest > NEARBY else 0, np.uint32)
    keys = np.empty(len(places), np.uint64)
    count = np.zeros(1, np.int64)
    depth = DEPTH
    while len(groups):
        count[0] = 0
        at = 0
        while (at := _double_tiny(rank, positions, groups, at, depth, spare, count)) < len(groups):
            low, high = int(groups[at, 0]), int(groups[at, 1])
            _fill_ranks(rank, positions, low, high, depth, keys, places)
            keys[: high - low].sort()
            _settle_ranks(rank, positions, low, high, keys, places, spare, count)
            at += 1
        groups = spare[: count[0]].copy()
        depth *= 2


@compiled()
def _rank_suffixes(rank: Array, positions: Array, groups: Array) -> None:
    for i in range(positions.size):
        rank[positions[i]] = i
    for g in range(groups.shape[0]):
        for i in range(groups[g, 0], groups[g, 1]):
            rank[positions[i]] = groups[g, 0]


@compiled()
def _double_tiny(
    rank: Array, positions: Array, groups: Array, at: int, depth: int, next_groups: Array, count: Array
) -> int:
    """Sort groups from ``groups[at]`` on, up to the next large one, and return the number of that group."""
    keys = np.empty(NEARBY, np.int64)
    for g in range(at, groups.shape[0]):
        low, high = np.int64(groups[g, 0]), np.int64(groups[g, 1])
        size = high - low
        if size > NEARBY:
            return g
        for i in range(size):
            behind = np.int64(positions[low + i]) + depth
            keys[i] = np.int64(rank[behind]) if behind < rank.size else -1
        _insert(keys, positions, low, size)
        i = 0
        while i < size:
            j = i
            while j < size and keys[j] == keys[i]:
                rank[positions[low + j]] = low + i
                j += 1
            if j - i > 1:
                next_groups[count[0], 0], next_groups[count[0], 1] = low + i, low + j
                count[0] += 1
            i = j
    return len(groups)


@compiled()
def _fill_ranks(rank: Array, positions: Array, low: int, high: int, depth: int, keys: Array, places: Array) -> None:
    for i in range(high - low):
        places[i] = positions[low + i]
        behind = np.int64(places[i]) + depth
        following = np.uint64(rank[behind]) + np.uint64(1) if behind < rank.size else np.uint64(0)
        keys[i] = following << np.uint64(31) | np.uint64(i)


@compiled()
def _settle_ranks(
    rank: Array, positions: Array, low: int, high: int, keys: Array, places: Array, next_groups: Array, count: Array
) -> None:
    mask = (np.uint64(1) << np.uint64(31)) - np.uint64(1)
    first = 0
    for i in range(high - low):
        positions[low + i] = places[np.int64(keys[i] & mask)]
        if i > 0 and keys[i] >> np.uint64(31) != keys[i - 1] >> np.uint64(31):
            first = i
        rank[positions[low + i]] = low + first
        if i - first == 1:
            next_groups[count[0], 0] = low + first
            count[0] += 1
        if i > first:
            next_groups[count[0] - 1, 1] = low + i + 1
