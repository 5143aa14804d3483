"""How many facts have which count: bars on a logarithmic axis, each divided by stratum.

A bar's height is the square root of its number of facts: facts that never occur are often most of a table, and linear
bars of all others would be a pixel high.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Shades of the ordered palette in ``page.css``; with more strata, neighbours share one.
SHADES = 6
#: Pixels from the axis to the highest bar's top, and room above it for its number.
HEIGHT, ABOVE = 150, 34


@dataclass(frozen=True, slots=True)
class Part:
    """The facts of one stratum in a bar: its shade, and where it stands in pixels from the picture's top."""

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
    """A picture's measures. Widths are in percent and heights in pixels, so that text keeps its size on any screen.

    Attributes:
        bars: from rare to frequent, empty ones left out.
        ticks: position in percent and label of counts on the axis.
        marker: position in percent of the count that is pointed out, if any.
        axis: the axis's place in pixels from the top.
        height: of the whole picture in pixels.
    """

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    marker: float | None
    axis: int = ABOVE + HEIGHT
    height: int = ABOVE + HEIGHT + 24


def shade_of(stratum: int, strata: int) -> int:
    """The palette's shade of a stratum: rare ones light, frequent ones dark."""
    return SHADES - 1 if strata < 2 else round(stratum * (SHADES - 1) / (strata - 1))


def bin_edges(most: int) -> list[int]:
    """0, 1, 2, 5, 10, 20, 50, …: where bins begin that take in all counts up to ``most``, and where the last one ends.

    They are about equally wide on a logarithmic scale; 0, which has no place on it, has a bin of its own.
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
    """The picture of some counts.

    Args:
        counts: int64 (facts,), at least 0.
        strata: int64 (facts,), the stratum of each, from 0.
        number: how many strata there are.
        marked: a count to point out.
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
    """A bar from the axis up, divided as its facts are: the rarest stratum lowest."""
    y = float(ABOVE + HEIGHT)
    per_fact = scale / math.sqrt(sum(row))
    for stratum, facts in enumerate(row):
        if facts:
            height = facts * per_fact
            y -= height
            yield Part(shade_of(stratum, len(row)), round(y, 1), round(height, 1))


def _place(edges: Sequence[int], count: int) -> float:
    """Where a count stands, in bins from the left: in the middle of a bin of one count, else by its logarithm."""
    place = int(np.searchsorted(edges, count, side="right")) - 1
    low, end = edges[place], edges[place + 1]
    return place + (0.5 if end - low == 1 else math.log(count / low) / math.log(end / low))


def _is_decade(edge: int) -> bool:
    return edge == 0 or str(edge).strip("0") == "1"


def _short(count: int) -> str:
    """1, 10, 100, 1k, 10k, 1M: a tick's label."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count // size}{letter}"
    return str(count)
