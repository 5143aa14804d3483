"""Clauses joined by AND: find their terms in text, and link their occurrences.

A clause occurs where one of its terms starts. Occurrences of several clauses are linked if they are in one document
and, in the order of the text, each starts at most ``distance`` tokens after the previous one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.pairs import gallop


class Positions(NamedTuple):
    """Sorted positions of the clauses other than the rarest; clause ``i`` has ``starts[i]:starts[i + 1]``."""

    positions: Array
    starts: Array


class Anchors(NamedTuple):
    """Positions of the rarest clause, and the start and end of the document of each."""

    positions: Array
    begins: Array
    ends: Array


class Waiting(NamedTuple):
    """Ranges of text that may still grow: first and last position, and the bit set of the clauses left out."""

    lefts: Array
    rights: Array
    sets: Array


@compiled()
def _term_at(ids: Array, at: Any, terms: Array, lengths: Array) -> Any:
    """Return whether one of the terms starts at a position."""
    first = 0
    for term in range(lengths.size):
        length = lengths[term]
        if at + length <= ids.size:
            i = 0
            while i < length and ids[at + i] == terms[first + i]:
                i += 1
            if i == length:
                return True
        first += length
    return False


@compiled()
def scan(ids: Array, begins: Array, ends: Array, terms: Array, lengths: Array, stop: Array, found: Array) -> Any:
    """Write the positions in the ranges where a term starts to ``found``, and return their number."""
    size = 0
    for stretch in range(begins.size):
        if stop[0]:
            break
        for at in range(begins[stretch], ends[stretch]):
            if _term_at(ids, at, terms, lengths):
                found[size] = at
                size += 1
    return size


@compiled()
def scan_documents(
    ids: Array, begins: Array, ends: Array, terms: Array, lengths: Array, stop: Array, found: Array
) -> None:
    """Set ``found`` for the ranges in which a term starts."""
    for stretch in range(begins.size):
        if stop[0]:
            break
        for at in range(begins[stretch], ends[stretch]):
            if _term_at(ids, at, terms, lengths):
                found[stretch] = True
                break


@compiled()
def link(anchors: Anchors, clauses: Positions, distance: int, stop: Array, found: Array) -> None:
    """Write the start of the linked group of each anchor to ``found``, or -1 if it has none.

    A group has an occurrence of each clause. It grows from its anchor, here with ``distance`` 2:

        text      .  b  .  a  .  c  .  .  d        a: the anchor; b, c, d: one occurrence of each other clause
        range 1            a                       b, c, d are left out
        range 2      b  .  a                       each clause and side gives one range to try
        range 3      b  .  a  .  c                 d is 3 tokens after c, out of reach: the anchor is not linked

    Args:
        anchors: Positions of the rarest clause.
        clauses: Positions of the other clauses.
        distance: Maximum distance in tokens between the starts of neighbouring occurrences.
        stop: Set to stop the search.
        found: int64 (anchors,), the result.
    """
    others = clauses.starts.size - 1
    # Room for all pending states: each of at most 2 * others steps adds its siblings.
    room = 2 * others * others + 1
    waiting = Waiting(np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64))
    for i in range(anchors.positions.size):
        if (i & 1023) == 0 and stop[0]:
            return
        anchor, begin, end = anchors.positions[i], anchors.begins[i], anchors.ends[i]
        found[i] = -1
        if _is_linked(anchor, begin, end, clauses, distance, waiting):
            found[i] = _first_near(anchor, max(begin, anchor - distance), clauses)


@compiled()
def _is_linked(anchor: Any, begin: Any, end: Any, clauses: Positions, distance: int, waiting: Waiting) -> bool:
    """Return whether a range of text around an anchor can grow until it holds every clause.

    It grows by one clause at a time, to either side and as far as possible. A shorter step reaches nothing that the
    longest one does not, because everything between is in the range.
    """
    waiting.lefts[0], waiting.rights[0] = anchor, anchor
    waiting.sets[0] = (1 << (clauses.starts.size - 1)) - 1
    size = 1
    while size:
        size -= 1
        left, right, left_out = waiting.lefts[size], waiting.rights[size], waiting.sets[size]
        if _holds_all(left, right, left_out, clauses):
            return True
        low, high = max(begin, left - distance), min(end, right + distance + 1)
        size = _grow(left, right, left_out, low, high, clauses, waiting, size)
    return False


@compiled()
def _holds_all(left: Any, right: Any, left_out: Any, clauses: Positions) -> bool:
    """Return whether each clause left out has an occurrence inside the range."""
    for j in range(clauses.starts.size - 1):
        if left_out >> j & 1:
            at = gallop(clauses.positions, clauses.starts[j], clauses.starts[j + 1], left)
            if at == clauses.starts[j + 1] or clauses.positions[at] > right:
                return False
    return True


@compiled()
def _grow(
    left: Any, right: Any, left_out: Any, low: Any, high: Any, clauses: Positions, waiting: Waiting, size: Any
) -> Any:
    """Queue each range extended to one more clause within ``low`` to ``high``; return the number of queued ranges."""
    for j in range(clauses.starts.size - 1):
        if not left_out >> j & 1:
            continue
        first, end = clauses.starts[j], clauses.starts[j + 1]
        at = gallop(clauses.positions, first, end, low)
        if at < end and clauses.positions[at] < left:
            waiting.lefts[size], waiting.rights[size] = clauses.positions[at], right
            waiting.sets[size] = left_out & ~(1 << j)
            size += 1
        at = gallop(clauses.positions, first, end, high) - 1
        if at >= first and clauses.positions[at] > right:
            waiting.lefts[size], waiting.rights[size] = left, clauses.positions[at]
            waiting.sets[size] = left_out & ~(1 << j)
            size += 1
    return size


@compiled()
def _first_near(anchor: Any, low: Any, clauses: Positions) -> Any:
    """Return the smallest of the clauses' last occurrences within ``low`` to ``anchor``, or the anchor itself."""
    first = anchor
    for j in range(clauses.starts.size - 1):
        at = gallop(clauses.positions, clauses.starts[j], clauses.starts[j + 1], anchor + 1) - 1
        if at >= clauses.starts[j] and clauses.positions[at] >= low:
            first = min(first, clauses.positions[at])
    return first
