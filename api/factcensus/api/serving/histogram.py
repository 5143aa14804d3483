"""A histogram of facts by count: bins on a logarithmic scale, each divided by stratum."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Number of shades in ``page.css``; with more strata, neighbours share a shade.
SHADES = 6


@dataclass(frozen=True, slots=True)
class Bin:
    """The facts with ``low`` to ``high`` documents; ``strata`` has (stratum, facts) from the rarest."""

    low: int
    high: int
    strata: tuple[tuple[int, int], ...]

    @property
    def facts(self) -> int:
        """All facts of the bin."""
        return sum(facts for _, facts in self.strata)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Facts by count.

    Attributes:
        bins: All bins from rare to frequent, including empty ones.
        strata: Number of strata.
        marker: Position of the marked count from 0 to 1 along all bins; None without one.
    """

    bins: tuple[Bin, ...]
    strata: int
    marker: float | None


def shade_of(stratum: int, strata: int) -> int:
    """Return the shade of a stratum: light for rare strata, dark for frequent ones."""
    return SHADES - 1 if strata < 2 else round(stratum * (SHADES - 1) / (strata - 1))


def bin_edges(most: int) -> list[int]:
    """Return the edges 0, 1, 2, 5, 10, 20, 50, … of bins that contain all counts up to ``most``.

    The bins are about equally wide on a logarithmic scale; 0, which is not on that scale, has a separate bin.
    """
    edges = [0]
    for power in range(len(str(most)) + 1):
        for step in (1, 2, 5):
            edges.append(step * 10**power)
            if edges[-1] > most:
                return edges
    raise AssertionError("a power of ten with one more digit is larger")


def histogram(
    counts: npt.NDArray[np.int64], strata: npt.NDArray[np.int64], number: int, marked: int | None = None
) -> Histogram:
    """Return the histogram of counts.

    Args:
        counts: int64 (facts,), at least 0.
        strata: int64 (facts,), the stratum of each fact, from 0.
        number: Number of strata.
        marked: A count to mark.
    """
    edges = bin_edges(max([int(counts.max(initial=0)), marked or 0]))
    places = np.searchsorted(edges, counts, side="right") - 1
    by_bin = np.zeros((len(edges) - 1, number), np.int64)
    np.add.at(by_bin, (places, strata), 1)
    bins = tuple(
        Bin(edges[place], edges[place + 1] - 1, tuple((n, facts) for n, facts in enumerate(row.tolist()) if facts))
        for place, row in enumerate(by_bin)
    )
    return Histogram(bins, number, None if marked is None else _place(edges, marked) / len(bins))


def _place(edges: Sequence[int], count: int) -> float:
    """Return the position of a count in bins from the left: the middle of a bin of one count, or by its logarithm."""
    place = int(np.searchsorted(edges, count, side="right")) - 1
    low, end = edges[place], edges[place + 1]
    return place + (0.5 if end - low == 1 else math.log(count / low) / math.log(end / low))
