"""Landmarks: rows of a remote suffix array whose leading tokens are known without a read.

They come from ``sample.N``, which our builds write, or from probes of earlier searches, which lie on a fixed grid of
rows so that later searches use them as well.
"""

from __future__ import annotations

import operator
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np

#: Additions to this fraction of the known rows, or fewer, are inserted one by one.
_FEW = 64


class Landmarks(Protocol):
    """Rows with their leading bytes of tokens, in order."""

    @property
    def key_bytes(self) -> int:
        """Number of bytes of every key; a key is only shorter if the file of tokens ends there."""
        ...

    @property
    def rows(self) -> Sequence[int]:
        """The rows."""
        ...

    @property
    def keys(self) -> Sequence[bytes]:
        """The bytes of each row."""
        ...


@dataclass(frozen=True)
class FixedLandmarks:
    """Landmarks that do not change, such as those of ``sample.N``."""

    key_bytes: int = 1
    rows: Sequence[int] = ()
    keys: Sequence[bytes] = ()


@dataclass
class Grid:
    """Landmarks to which the probes of searches are added.

    Attributes:
        changed: Whether rows were added since the grid was loaded.
    """

    key_bytes: int
    rows: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    changed: bool = False

    def add(self, found: Iterable[tuple[int, bytes]]) -> None:
        """Add rows and at least ``key_bytes`` bytes of their tokens, fewer only at the end of the file."""
        new = {row: key[: self.key_bytes] for row, key in found}
        self.changed |= bool(new)
        if len(new) * _FEW < len(self.rows):
            for row, key in new.items():
                at = bisect_left(self.rows, row)
                if at == len(self.rows) or self.rows[at] != row:
                    insort(self.rows, row)
                    self.keys.insert(at, key)
            return
        merged = dict(zip(self.rows, self.keys, strict=True)) | new
        self.rows = sorted(merged)
        self.keys = [merged[row] for row in self.rows]

    def disorder(self) -> int | None:
        """Return a row whose tokens sort before those of the row before it; None if all are in order."""
        if all(map(operator.le, self.keys, islice(self.keys, 1, None))):
            return None
        return next(self.rows[i] for i in range(1, len(self.keys)) if self.keys[i] < self.keys[i - 1])


@dataclass(slots=True)
class Bound:
    """A search for one end of the range of an n-gram: its first row, or the first row after its last.

    Attributes:
        query: The bytes of the n-gram.
        after: Whether the end of the range is searched.
        low: All rows before this one are before the bound.
        high: The bound is at most this row.
    """

    query: bytes
    after: bool
    low: int
    high: int

    @property
    def is_open(self) -> bool:
        """Whether there is more than one possible row."""
        return self.low < self.high

    def narrow(self, marks: Landmarks) -> None:
        """Narrow the possible rows by the known ones; a key that ends inside the query is ignored."""
        short = self.query[: marks.key_bytes]
        first = bisect_left(marks.keys, short)
        if len(self.query) > len(short):  # a row with these bytes may be on either side
            last = bisect_right(marks.keys, short, first)
        elif self.after:
            first = last = bisect_left(marks.keys, True, first, key=lambda key: not key.startswith(short))
        else:
            last = first
        if first:
            self.low = max(self.low, marks.rows[first - 1] + 1)
        if last < len(marks.rows):
            self.high = min(self.high, marks.rows[last])


def render_grid(grid: Grid) -> bytes:
    """Return the rows and keys of a grid as bytes for the cache folder."""
    lengths = np.array([len(key) for key in grid.keys], "<u2")
    return b"".join(
        [
            np.array([grid.key_bytes, len(grid.rows)], "<u8").tobytes(),
            np.array(grid.rows, "<u8").tobytes(),
            lengths.tobytes(),
            b"".join(grid.keys),
        ]
    )


def parse_grid(content: bytes, rows: int, key_bytes: int) -> list[tuple[int, bytes]]:
    """Return the rows and keys from the bytes of :func:`render_grid`; none if they belong to another table."""
    if len(content) < 16 or int.from_bytes(content[:8], "little") != key_bytes:
        return []
    size = int.from_bytes(content[8:16], "little")
    begin = 16 + 10 * size
    if size > rows or len(content) < begin:
        return []
    known = np.frombuffer(content, "<u8", size, 16).tolist()
    ends = np.cumsum(np.frombuffer(content, "<u2", size, 16 + 8 * size), dtype=np.int64).tolist()
    if known != sorted(set(known)) or (known and known[-1] >= rows) or len(content) != begin + (ends or [0])[-1]:
        return []
    keys = [content[begin + first : begin + last] for first, last in zip([0, *ends], ends, strict=False)]
    return list(zip(known, keys, strict=True))
