"""The counts of a scan by groups of training steps; only nonzero counts are stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from factcensus.indexer.kernels.scan import Counts

#: Positions in the concatenated arrays of :class:`Counts`, in order, and the counts there.
Sparse = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def sparse(counts: Counts) -> Sparse:
    """Return the nonzero counts."""
    flat = np.concatenate([part.ravel() for part in counts])
    slots = np.flatnonzero(flat)
    return slots, flat[slots]


def add_sparse(counts: Counts, slots: npt.NDArray[np.int64], values: npt.NDArray[np.int64]) -> None:
    """Add nonzero counts to counts."""
    begin = 0
    for part in counts:
        first, last = np.searchsorted(slots, [begin, begin + part.size])
        part.reshape(-1)[slots[first:last] - begin] += values[first:last]
        begin += part.size


class StepCounts:
    """Counts by group of steps."""

    def __init__(self, groups: Mapping[int, Sparse] | None = None) -> None:
        self._pending: dict[int, list[Sparse]] = {group: [counts] for group, counts in (groups or {}).items()}

    def put(self, group: int, counts: Counts) -> None:
        """Add counts to a group."""
        self._pending.setdefault(group, []).append(sparse(counts))

    def add(self, other: StepCounts) -> None:
        """Add the counts of other documents."""
        for group, counts in other._pending.items():
            self._pending.setdefault(group, []).extend(counts)

    def merge(self) -> None:
        """Add up the counts of each group."""
        for group, several in self._pending.items():
            if len(several) > 1:
                slots = np.concatenate([slots for slots, _ in several])
                values = np.concatenate([values for _, values in several])
                distinct, at = np.unique(slots, return_inverse=True)
                totals = np.zeros(len(distinct), np.int64)
                np.add.at(totals, at, values)
                self._pending[group] = [(distinct, totals)]

    def __iter__(self) -> Iterator[tuple[int, Sparse]]:
        """Yield groups and their counts, in order of steps."""
        self.merge()
        for group in sorted(self._pending):
            yield group, self._pending[group][0]
