"""A histogram of facts by count: bars on a logarithmic axis, each divided by stratum.

The height of a bar is the square root of its number of facts. Most facts of a table often never occur, so with a linear
scale all other bars would be one pixel high.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Number of shades in ``page.css``; with more strata, neighbours share a shade.
SHADES = 6
#: Pixels from the axis to the top of the highest bar, and pixels above it for its number.
HEIGHT, ABOVE = 150, 34


@dataclass(frozen=True, slots=True)
class Part:
    """The facts of one stratum in a bar: shade, and position in pixels from the top of the picture."""

    shade: int
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """The facts with ``low`` to ``high`` documents; ``x`` and ``width`` in percent of the picture."""

    low: int
    high: int
    facts: int
    x: float
    width: float
    top: float
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """The layout of a picture. Widths are in percent and heights in pixels, so that text keeps its size.

    Attributes:
        bars: Bars from rare to frequent, without empty ones.
        ticks: Position in percent and label of the ticks on the axis.
        marker: Position in percent of the marked count, if any.
        axis: Position of the axis in pixels from the top.
        height: Height of the whole picture in pixels.
    """

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    marker: float | None
    axis: int = ABOVE + HEIGHT
    height: int = ABOVE + HEIGHT + 24


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
    most = max([int(counts.max(initial=0)), marked or 0])
    edges = bin_edges(most)
    places = np.searchsorted(edges, counts, side="right") - 1
    by_bin = np.zeros((len(edges) - 1, number), np.int64)
    np.add.at(by_bin, (places, strata), 1)
    scale = HEIGHT / math.sqrt(max(1, int(by_bin.sum(axis=1).max())))
    step = 100 / len(by_bin)
    bars = []
    for place, row in enumerate(by_bin):
        if not row.any():
            continue
        parts = tuple(_parts(row.tolist(), scale))
        x, width = round((place + 0.08) * step, 2), round(0.84 * step, 2)
        bars.append(Bar(edges[place], edges[place + 1] - 1, int(row.sum()), x, width, parts[-1].y, parts))
    ticks = [
        (round(step * (place + 0.5), 2), _short(edge)) for place, edge in enumerate(edges[:-1]) if _is_decade(edge)
    ]
    return Histogram(tuple(bars), tuple(ticks), None if marked is None else round(_place(edges, marked) * step, 2))


def _parts(row: Sequence[int], scale: float) -> Iterable[Part]:
    """Yield the parts of a bar from the axis upwards, rarest stratum first."""
    y = float(ABOVE + HEIGHT)
    per_fact = scale / math.sqrt(sum(row))
    for stratum, facts in enumerate(row):
        if facts:
            height = facts * per_fact
            y -= height
            yield Part(shade_of(stratum, len(row)), round(y, 1), round(height, 1))


def _place(edges: Sequence[int], count: int) -> float:
    """Return the position of a count in bins from the left: the middle of a bin of one count, or by its logarithm."""
    place = int(np.searchsorted(edges, count, side="right")) - 1
    low, end = edges[place], edges[place + 1]
    return place + (0.5 if end - low == 1 else math.log(count / low) / math.log(end / low))


def _is_decade(edge: int) -> bool:
    return edge == 0 or str(edge).strip("0") == "1"


def _short(count: int) -> str:
    """Return the label of a tick: 1, 10, 100, 1k, 10k, 1M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count // size}{letter}"
    return str(count)
