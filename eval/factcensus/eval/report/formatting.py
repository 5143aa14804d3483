"""Number formats of the report: signed numbers, whole percentages, intervals in brackets, "-" for no value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from factcensus.eval.names import COUNT

MINUS = "−"
NONE = "-"
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")


def number(value: float | None) -> str:
    """Format a signed number with two decimals; 0.00 has no sign."""
    if value is None:
        return NONE
    text = f"{value:+.2f}"
    return text.lstrip("+-") if not text.strip("+-0.") else text.replace("-", MINUS)


def detectable(value: float | None) -> str:
    """Format an effect size of either sign."""
    return NONE if value is None else "±" + number(value).lstrip("+")


def percent(value: float | None) -> str:
    """Format a share as a whole percentage."""
    return NONE if value is None else f"{value:.0%}".replace("-", MINUS)


def ratio(value: float | None) -> str:
    """Format a factor with two significant digits (0.066, 1.0, 550), or as a power of ten if it is far from 1."""
    if value is None:
        return NONE
    if not 1e-4 <= value < 1e5:
        return f"{value:.0e}"
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.{max(0, 1 - math.floor(math.log10(rounded)))}f}"


def quantity(value: float | None, unit: str) -> str:
    """Format a number with three significant digits and an SI prefix: 22 GFLOP, 1.2 kJ."""
    if value is None:
        return NONE
    place = 0 if value < 1 else min(len(PREFIXES) - 1, int(math.log10(float(f"{value:.3g}")) / 3 + 1e-9))
    return f"{value / 1000**place:.3g} {PREFIXES[place]}{unit}".strip()


def share_of_one(value: float | None) -> str:
    """Format a number from 0 to 1."""
    return NONE if value is None else f"{value:.2f}"


def probability(value: float | None) -> str:
    """Format a p-value."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(bounds: Sequence[float] | None, form: Callable[[float | None], str]) -> str:
    """Format an interval."""
    return NONE if bounds is None else f"[{form(bounds[0])}, {form(bounds[1])}]"


def with_interval(value: float | None, bounds: Sequence[float] | None, form: Callable[[float | None], str]) -> str:
    """Format a value with its interval."""
    return f"{form(value)} {interval(bounds, form)}"


def span(low: float | None, high: float | None) -> str:
    """Format a range of counts."""
    if low is None or high is None:
        return NONE
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def duration(seconds: float | None) -> str:
    """Format a duration."""
    if seconds is None:
        return NONE
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def count_label(summary: Mapping[str, Any]) -> str:
    """Return the axis label for the count of a summary."""
    column = summary.get("count_column", COUNT)
    return "co-occurrence documents" if column == COUNT else str(column)


def count_unit(summary: Mapping[str, Any], *, one: bool = False) -> str:
    """Return the noun after a count in a sentence: documents, or the name of the run's count column."""
    column = summary.get("count_column", COUNT)
    return ("document" if one else "documents") if column == COUNT else str(column)
