"""Curves of forgetting over the count: shares at each count, a monotone curve, and a logistic one.

The points make no assumption. The isotonic curve assumes only that the share changes in one direction (the one that
fits better). The logistic curve assumes a straight line of log-odds and has a band.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import isotonic_regression

from factcensus.eval.names import COUNT
from factcensus.eval.statistics.intervals import Floats, estimate_json, share
from factcensus.eval.statistics.logistic import curve

#: With more different counts than this, points are shares over ranges of the count.
MOST_LEVELS = 12
GRID = 33


def forgotten_by_count(rows: pd.DataFrame) -> dict[str, Any]:
    """Return the share forgotten by generation against the count, over facts known before with a count above 0.

    Args:
        rows: Outcomes of one method in one form (:func:`factcensus.eval.statistics.outcomes.pair_outcomes`).

    Returns:
        ``points`` (``low``, ``high``, ``count`` (geometric mean), ``value``, ``ci95``, ``n``, and ``isotonic``: the
        monotone curve there) and ``logistic`` (lists ``count``, ``value``, ``low``, ``high``), None without a fit.
    """
    counts = rows[COUNT].to_numpy(dtype=float, na_value=np.nan)
    kept = rows[rows["forgotten_generation"].notna().to_numpy() & (counts > 0)]
    x = np.log10(kept[COUNT].to_numpy(dtype=float))
    y = kept["forgotten_generation"].to_numpy(dtype=bool).astype(float)
    people = kept["subject_code"].to_numpy()
    points = []
    for level in _levels(x):
        found = share(y[level].astype(bool), people[level])
        low, high = float(10 ** x[level].min()), float(10 ** x[level].max())
        points.append(
            {"low": round(low), "high": round(high), "count": float(10 ** x[level].mean()), **estimate_json(found)}
        )
    monotone = _isotonic(np.array([each["value"] for each in points]), np.array([each["n"] for each in points]))
    for each, value in zip(points, monotone, strict=True):
        each["isotonic"] = float(value)
    return {"points": points, "logistic": _logistic(x, y, people)}


def _levels(x: Floats) -> list[npt.NDArray[np.bool_]]:
    """Return a mask of the rows of each point: one count, or a twelfth of the logarithmic range."""
    different = np.unique(x)
    if len(different) <= MOST_LEVELS:
        return [x == each for each in different]
    edges = np.linspace(different[0], different[-1], MOST_LEVELS + 1)
    place = np.clip(np.searchsorted(edges, x, "right") - 1, 0, MOST_LEVELS - 1)
    return [place == each for each in np.unique(place)]


def _isotonic(values: Floats, weights: Floats) -> Floats:
    """Return the weighted monotone fit, rising or falling, whichever fits better."""
    if not len(values):
        return values
    fits = [np.asarray(isotonic_regression(values, weights=weights, increasing=up).x) for up in (False, True)]
    nearer: Floats = min(fits, key=lambda fit: float((weights * (fit - values) ** 2).sum()))
    return nearer


def _logistic(x: Floats, y: Floats, people: npt.NDArray[Any]) -> dict[str, list[float]] | None:
    if not len(x):
        return None
    grid = np.linspace(x.min(), x.max(), GRID)
    fitted = curve(x, y, people, grid)
    if fitted is None:
        return None
    return {
        "count": list(map(float, 10**grid)),
        **{name: list(map(float, values)) for name, values in zip(("value", "low", "high"), fitted, strict=True)},
    }
