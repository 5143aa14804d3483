"""Lockstep search in remote suffix arrays: from token sequences to their ranges of rows.

A plain binary search reads a row of ``table.N`` and then the tokens at its position, again and again: about 100 reads
that wait for one another, for one n-gram in 2^26 rows. Here the searches of all n-grams proceed together:

* Landmarks narrow each search without a read.
* While a search has more rows than fit a *window*, it probes rows at multiples of a power of two: one round for their
  entries, one for the tokens. They become landmarks.
* Then it reads its window of the table in one piece, and probes only tokens, many rows per round. For few searches, 15
  rows per round resolve 4095 rows in three rounds. For many searches, 3 rows per round need fewer requests in all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.remote.landmarks import Bound, FixedLandmarks, Grid, Landmarks
from factcensus.indexer.remote.rounds import RemoteFile, Span, Steps, together
from factcensus.indexer.storage.layout import unpack

#: Bytes of tokens that are read at a probed row and kept in the grid; longer n-grams read longer pieces.
KEY_BYTES = 64
#: Windows are read if all windows of a round take at most this many bytes, or if a window has at most this many rows.
WINDOW_BYTES, WINDOW_ROWS = 2 << 20, 1 << 14
#: Maximum number of rows of the grid that one search probes in a round.
MOST_GRID_ROWS = 31
#: Up to this number of open searches, the maximum number of rows that each probes in its window per round.
_PROBES = ((32, 25), (256, 9))
_FEWEST_PROBES = 4

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """The suffix array of one remote shard.

    Attributes:
        stream: ``tokenized.N``.
        table: ``table.N`` with ``width`` bytes per entry.
        token_bytes: Bytes of a token id.
        rows: Number of rows.
        grid: Rows that searches probed, kept for later ones.
        sample: The landmarks of ``sample.N``, or none.
    """

    stream: RemoteFile
    table: RemoteFile
    width: int
    token_bytes: int
    rows: int
    grid: Grid = field(default_factory=lambda: Grid(KEY_BYTES))
    sample: Landmarks = field(default_factory=FixedLandmarks)

    def entry_span(self, low: int, high: int) -> Span:
        """Return the span of the rows [low, high)."""
        return Span(self.table, low * self.width, high * self.width)

    def token_span(self, position: int, size: int) -> Span:
        """Return the span of ``size`` bytes of tokens that begins at a position; shorter at the end of the file."""
        begin = position * self.token_bytes
        return Span(self.stream, begin, min(begin + size, self.stream.size))

    def positions(self, entries: bytes) -> Rows:
        """Return the token positions of entries of the table.

        Raises:
            IndexFormatError: An entry is not the offset of a token.
        """
        offsets = unpack(np.frombuffer(entries, np.uint8), self.width)
        wrong = (offsets < 0) | (offsets >= self.stream.size) | (offsets % self.token_bytes != 0)
        if wrong.any():
            raise IndexFormatError(
                f"{self.table} is damaged: it has the entry {int(offsets[wrong][0])}; copy the index again or rebuild "
                "it"
            )
        return offsets // self.token_bytes


class Loaded:
    """The pieces of a table that were read for one query."""

    def __init__(self) -> None:
        self._pieces: list[tuple[int, int, Rows]] = []

    def add(self, low: int, positions: Rows) -> None:
        """Add the positions of the rows from ``low`` on; pieces that touch are joined."""
        high = low + len(positions)
        touching = [piece for piece in self._pieces if piece[0] <= high and low <= piece[1]]
        kept = [piece for piece in self._pieces if not (piece[0] <= high and low <= piece[1])]
        if touching:
            touching.append((low, high, positions))
            low, high = min(piece[0] for piece in touching), max(piece[1] for piece in touching)
            positions = np.empty(high - low, np.int64)
            for first, last, part in touching:
                positions[first - low : last - low] = part
        self._pieces = sorted([*kept, (low, high, positions)], key=lambda piece: piece[0])

    def find(self, low: int, high: int) -> Rows | None:
        """Return the positions of the rows [low, high); None if they were not all read."""
        at = bisect_right(self._pieces, low, key=lambda piece: piece[0]) - 1
        if at < 0 or self._pieces[at][1] < high:
            return None
        first, _, positions = self._pieces[at]
        return positions[low - first : high - first]

    def missing(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of the rows [low, high) that were not read."""
        for first, last, _ in self._pieces:
            if last <= low or first >= high:
                continue
            if low < first:
                yield low, first
            low = last
        if low < high:
            yield low, high


def search(table: Table, queries: Sequence[bytes], loaded: Loaded, *, inside: int = 0) -> Steps[Rows]:
    """Find the ranges of n-grams.

    Args:
        table: The suffix array.
        queries: The bytes of each n-gram; an empty one has no rows.
        loaded: Pieces of the table; the search adds those that it reads.
        inside: Also read the rows that certainly belong to a range while its ends are still searched, because they are
            needed later; only for ranges with at most this number of such rows.

    Returns:
        int64 (n-grams, 2).

    Raises:
        IndexFormatError: The rows are not in order.
    """
    classes: dict[int, list[bytes]] = {}
    for query in sorted({query for query in queries if query}):
        classes.setdefault(_key_bytes(len(query)), []).append(query)
    found: dict[bytes, tuple[int, int]] = {b"": (0, 0)}
    results = yield from together(
        [_Searches(table, chosen, key_bytes, loaded, inside).steps() for key_bytes, chosen in classes.items()]
    )
    for result in results:
        found |= result
    return np.array([found[query] for query in queries], np.int64).reshape(-1, 2)


def read_rows(table: Table, ranges: Sequence[tuple[int, int]], loaded: Loaded) -> Steps[list[Rows]]:
    """Return the token positions of ranges of rows, read in one round unless they are loaded."""
    parts = _joined(part for low, high in ranges for part in loaded.missing(low, high))
    if parts:
        data = yield [table.entry_span(low, high) for low, high in parts]
        for (low, _), entries in zip(parts, data, strict=True):
            loaded.add(low, table.positions(entries))
    found = [loaded.find(low, high) if low < high else np.zeros(0, np.int64) for low, high in ranges]
    assert all(each is not None for each in found)
    return [each for each in found if each is not None]


def _joined(parts: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return ranges in order, with those that overlap or touch joined."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(parts):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return joined


def _key_bytes(size: int) -> int:
    """Return how many bytes are read at each row for an n-gram; n-grams of similar length share their probes."""
    key_bytes = KEY_BYTES
    while key_bytes < size:
        key_bytes *= 4
    return key_bytes


@dataclass
class _Read:
    """A span to read in this round, and the function that receives its bytes.

    Attributes:
        span: The span.
        row: The (first) row.
        kind: A ``window`` of the table, the ``entry`` of a row, or the ``tokens`` at a row.
        kept: The row belongs to the grid.
    """

    span: Span
    row: int
    kind: str
    kept: bool = False


class _Searches:
    """The searches of n-grams of similar length in one table."""

    def __init__(self, table: Table, queries: Sequence[bytes], key_bytes: int, loaded: Loaded, inside: int) -> None:
        self._table, self._loaded, self._inside = table, loaded, inside
        self._pairs = [(Bound(query, False, 0, table.rows), Bound(query, True, 0, table.rows)) for query in queries]
        self._bounds = [bound for pair in self._pairs for bound in pair]
        self._probed = Grid(key_bytes)
        #: The token positions of rows outside windows.
        self._entries: dict[int, int] = {}
        for bound in self._bounds:
            bound.narrow(table.sample)
            bound.narrow(table.grid)

    def steps(self) -> Steps[dict[bytes, tuple[int, int]]]:
        """Run the searches and return the range of each n-gram."""
        while waiting := [bound for bound in self._bounds if bound.is_open]:
            reads = self._reads(sorted({(bound.low, bound.high) for bound in waiting}))
            data = yield [read.span for read in reads]
            self._keep(reads, data)
            for bound in waiting:
                bound.narrow(self._probed)
        return {begin.query: (begin.low, max(begin.low, end.low)) for begin, end in self._pairs}

    def _reads(self, intervals: Sequence[tuple[int, int]]) -> list[_Read]:
        """Return the reads of one round for all open searches, without repetitions."""
        table = self._table
        reads: dict[int, _Read] = {}
        windows: list[tuple[int, int]] = []
        unread = [(low, high) for low, high in intervals if self._loaded.find(low, high) is None]
        all_fit = sum(high - low for low, high in unread) * table.width <= WINDOW_BYTES
        for low, high in intervals:
            positions = self._loaded.find(low, high)
            if positions is not None:
                for row in _spread(low, high, probes_per_round(high - low, len(intervals))):
                    reads[row] = self._probe(row, int(positions[row - low]))
            elif all_fit or high - low <= WINDOW_ROWS:
                windows += self._loaded.missing(low, high)
            else:
                for row in grid_rows(low, high):
                    if row in self._entries:
                        reads[row] = self._probe(row, self._entries[row], kept=True)
                    else:
                        reads[row] = _Read(table.entry_span(row, row + 1), row, "entry")
        for begin, end in self._pairs:
            if 0 < end.low - begin.high <= self._inside:
                windows += self._loaded.missing(begin.high, end.low)
        return [
            *reads.values(),
            *(_Read(table.entry_span(low, high), low, "window") for low, high in _joined(windows)),
        ]

    def _probe(self, row: int, position: int, *, kept: bool = False) -> _Read:
        return _Read(self._table.token_span(position, self._probed.key_bytes), row, "tokens", kept)

    def _keep(self, reads: Sequence[_Read], data: Sequence[bytes]) -> None:
        """Add the bytes of a round to the known landmarks.

        Raises:
            IndexFormatError: The rows are not in order.
        """
        table = self._table
        tokens = []
        for read, found in zip(reads, data, strict=True):
            if read.kind == "window":
                self._loaded.add(read.row, table.positions(found))
            elif read.kind == "entry":
                self._entries[read.row] = int(table.positions(found)[0])
            else:
                tokens.append((read.row, found, read.kept))
        self._probed.add((row, key) for row, key, _ in tokens)
        row = self._probed.disorder()
        if row is not None:
            raise IndexFormatError(
                f"{table.table} is damaged: row {row} is out of order; copy the index again or rebuild it"
            )
        table.grid.add((row, key) for row, key, kept in tokens if kept)


def _spread(low: int, high: int, most: int) -> list[int]:
    """Return at most ``most`` evenly spaced rows of [low, high)."""
    rows = high - low
    if rows <= most:
        return list(range(low, high))
    return [low - 1 + (rows + 1) * i // (most + 1) for i in range(1, most + 1)]


def probes_per_round(rows: int, searches: int) -> int:
    """Return how many rows a search probes in this round: as few as possible without adding a round."""
    most = next((probes for number, probes in _PROBES if searches <= number), _FEWEST_PROBES)
    rounds = 1
    while (most + 1) ** rounds < rows + 1:
        rounds += 1
    probes = 1
    while (probes + 1) ** rounds < rows + 1:
        probes += 1
    return probes


def grid_rows(low: int, high: int) -> range:
    """Return the rows of [low, high) that are multiples of a power of two, as many as the limit allows."""
    step = 1
    while (high - low) // step > MOST_GRID_ROWS - 1:
        step *= 2
    return range(-(-low // step) * step, high, step)
