"""The longest parts of a text that occur in a remote shard, for all their starts together.

In the sorted rows, the suffix of a text lies between the two suffixes of the corpus that share the longest beginnings
with it. So one lockstep search for the beginnings of all suffixes, and one more read of the rows around them, give the
longest match of each start: about eight rounds for a whole text, where testing one span after another takes hundreds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from factcensus.indexer.remote.rounds import Steps
from factcensus.indexer.remote.search import KEY_BYTES, Loaded, Table, read_rows, search

#: Maximum number of rows with the same beginning whose texts are compared; more are narrowed by a longer beginning.
MOST_ROWS = 16
#: Bytes that are first read and compared in a row, and at most at a time.
_PIECE_BYTES, _MOST_PIECE_BYTES = 256, 64 << 10


@dataclass
class _Walk:
    """The comparison of a part of the text with the corpus, from a place on in both, while they are equal.

    Attributes:
        at: The byte of the text to compare next; ``stop`` is the end of the part.
        shift: The byte of the corpus that is compared with the first byte of the text.
        piece: Bytes to read next.
    """

    at: int
    stop: int
    shift: int
    piece: int = _PIECE_BYTES


def longest_ends(table: Table, text: bytes, starts: Sequence[int], stops: Sequence[int]) -> Steps[list[int]]:
    """Return the end of the longest part of a text from each start that occurs in the shard.

    Args:
        table: The suffix array.
        text: The token ids of the text, in the width of the shard.
        starts: Ascending offsets of tokens in ``text``, in bytes.
        stops: The end of the longest part to search for from each start, ascending.
    """
    loaded = Loaded()
    ends = list(starts)
    waiting, size = list(range(len(starts))), KEY_BYTES
    while waiting:
        keys = [text[starts[i] : min(starts[i] + size, stops[i])] for i in waiting]
        ranges = (yield from search(table, keys, loaded)).tolist()
        rows: list[tuple[int, int]] = []  # a start, and a row whose suffix may share the longest beginning with it
        longer = []
        for i, key, (low, high) in zip(waiting, keys, ranges, strict=True):
            if low == high:
                rows += [(i, row) for row in (low - 1, low) if 0 <= row < table.rows and key]
            elif starts[i] + len(key) == stops[i]:
                ends[i] = stops[i]
            elif high - low > MOST_ROWS:
                longer.append(i)
            else:
                rows += [(i, row) for row in range(low, high)]
        positions = yield from read_rows(table, [(row, row + 1) for _, row in rows], loaded)
        shifts = [int(each[0]) * table.token_bytes - starts[i] for (i, _), each in zip(rows, positions, strict=True)]
        found = yield from _compare(
            table, text, [(i, shift) for (i, _), shift in zip(rows, shifts, strict=True)], starts, stops
        )
        for (i, _), end in zip(rows, found, strict=True):
            ends[i] = max(ends[i], end - (end - starts[i]) % table.token_bytes)
        waiting, size = longer, size * 4
    return ends


def _compare(
    table: Table, text: bytes, wanted: Sequence[tuple[int, int]], starts: Sequence[int], stops: Sequence[int]
) -> Steps[list[int]]:
    """Return the end of the equal bytes of the text and the corpus for each start, and each shift between them.

    Starts with the same shift follow the same part of the corpus. So one of them is compared byte by byte, and the
    others inside of its equal bytes have the same end.
    """
    chosen: dict[int, list[int]] = {}
    for i, shift in sorted(wanted):
        chosen.setdefault(shift, []).append(i)
    ends: dict[tuple[int, int], int] = {}
    while chosen:
        walks = {shift: _Walk(starts[members[0]], stops[members[0]], shift) for shift, members in chosen.items()}
        yield from _follow(table, text, list(walks.values()))
        left = {}
        for shift, members in chosen.items():
            end = walks[shift].at
            inside = max(1, bisect_left(members, end, key=starts.__getitem__))
            ends |= {(i, shift): end for i in members[:inside]}
            if inside < len(members):
                left[shift] = members[inside:]
        chosen = left
    return [ends[each] for each in wanted]


def _follow(table: Table, text: bytes, walks: Sequence[_Walk]) -> Steps[None]:
    """Move each walk to the end of its equal bytes."""
    active = list(walks)
    while active:
        sizes = [min(walk.piece, walk.stop - walk.at) for walk in active]
        data = yield [
            table.token_span((walk.at + walk.shift) // table.token_bytes, size)
            for walk, size in zip(active, sizes, strict=True)
        ]
        still = []
        for walk, size, corpus in zip(active, sizes, data, strict=True):
            equal = _common(text[walk.at : walk.at + size], corpus)
            walk.at += equal
            walk.piece = min(4 * walk.piece, _MOST_PIECE_BYTES)
            if equal == size and walk.at < walk.stop:
                still.append(walk)
        active = still


def _common(one: bytes, other: bytes) -> int:
    """Return the number of equal bytes at the beginning of two byte strings."""
    size = min(len(one), len(other))
    unequal = np.flatnonzero(np.frombuffer(one, np.uint8, size) != np.frombuffer(other, np.uint8, size))
    return int(unequal[0]) if unequal.size else size
