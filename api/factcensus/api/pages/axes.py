"""Axes of the figures: linear from 0, or logarithmic, always with labelled ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Factor between the largest and the smallest value from which bars are drawn on a logarithmic axis.
WIDE = 100
#: Maximum number of ticks on a linear axis besides 0, and of decades with a tick each on a logarithmic one.
_MOST_STEPS, _MOST_DECADES = 5, 7
#: The lowest value of a logarithmic axis, so that a bar for 1 has a height. A bar for 0 has none.
_LOWEST = 0.5


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis from 0 to 1, with ticks.

    Attributes:
        logarithmic: Whether equal distances are equal factors.
        high: The value at its end.
        ticks: Position from 0 to 1, and label.
    """

    logarithmic: bool
    high: float
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: float) -> float:
        """Return the position of a value from 0 to 1."""
        if not self.logarithmic:
            return value / self.high
        return 0.0 if value <= _LOWEST else math.log(value / _LOWEST) / math.log(self.high / _LOWEST)


def linear(most: float, unit: str = "") -> Axis:
    """Return an axis from 0 to at least ``most``, with ticks at multiples of 1, 2 or 5 times a power of ten."""
    if most <= 0:
        return Axis(False, 1.0, ((0.0, f"0{unit}"),))
    step = 10.0 ** math.floor(math.log10(most / _MOST_STEPS))
    step *= next(factor for factor in (1, 2, 5, 10) if factor * step * _MOST_STEPS >= most * (1 - 1e-9))
    if not unit:  # counts are whole numbers
        step = max(1.0, step)
    steps = math.ceil(most / step - 1e-9)
    high = steps * step
    ticks = tuple((number / steps, short(round(number * step, 10)) + unit) for number in range(steps + 1))
    return Axis(False, high, ticks)


def logarithmic(most: float) -> Axis:
    """Return a logarithmic axis for whole numbers of at least 1, up to a power of ten; 0 has no place on it."""
    decades = max(1, math.ceil(math.log10(max(1, most)) - 1e-9))
    every = math.ceil(decades / _MOST_DECADES)
    values = [1, 2, 5, 10] if decades == 1 else [10**power for power in range(0, decades + 1, every)]
    axis = Axis(True, 10.0**decades, ())
    return Axis(True, axis.high, tuple((axis.place(value), short(value)) for value in values))


def fitting(values: Sequence[float]) -> Axis:
    """Return a linear axis, or a logarithmic one if the largest value is at least 100 times the smallest above 0.

    Values below 1 have no place on a logarithmic axis, so with one of them the axis is linear.
    """
    above = [value for value in values if value > 0]
    wide = bool(above) and max(above) >= WIDE * min(above) and min(above) >= 1
    return logarithmic(max(above)) if wide else linear(max([0.0, *above]))


def short(value: float) -> str:
    """Return the label of a tick: 0.5, 1, 10, 1k, 2.5k, 1M, 1G, 1T."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
