"""Numbers as people read them: signs that line up, whole per cents, intervals in brackets; "-" where there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

MINUS = "−"
NONE = "-"


def number(value: float | None) -> str:
    """A signed number with two digits after the point."""
    return NONE if value is None else f"{value:+.2f}".replace("-", MINUS)


def detectable(value: float | None) -> str:
    """An effect size of either sign."""
    return NONE if value is None else "±" + number(value).lstrip("+")


def percent(value: float | None) -> str:
    """A share as whole per cents."""
    return NONE if value is None else f"{value:.0%}".replace("-", MINUS)


def ratio(value: float | None) -> str:
    """A factor of any size, with two significant digits."""
    if value is None:
        return NONE
    return f"{value:.2g}" if 0.001 <= value < 1000 else f"{value:.0e}"


def share_of_one(value: float | None) -> str:
    """A number from 0 to 1."""
    return NONE if value is None else f"{value:.2f}"


def probability(value: float | None) -> str:
    """A p-value."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(bounds: Sequence[float] | None, form: Callable[[float | None], str]) -> str:
    """A 95 % interval."""
    return NONE if bounds is None else f"[{form(bounds[0])}, {form(bounds[1])}]"


def span(low: float | None, high: float | None) -> str:
    """A range of counts."""
    if low is None or high is None:
        return NONE
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def duration(seconds: float | None) -> str:
    """A time for people."""
    if seconds is None:
        return NONE
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
