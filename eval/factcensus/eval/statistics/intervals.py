"""Shares and means with intervals that account for clusters: facts about one person are not independent.

A share has Wilson's score interval at an *effective* sample size: n divided by the design effect, which is the factor
by which clustering inflates the variance of the mean (Korn and Graubard 1998). A mean has a Student interval on cluster
sums.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

Floats = npt.NDArray[np.float64]
#: One cluster label of any type per row; equal labels form a cluster.
Labels = Sequence[object] | npt.NDArray[np.generic]

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean or a share of n rows with its 95% interval; None if undefined."""

    n: int
    value: float | None
    ci95: tuple[float, float] | None


def estimate_json(found: Estimate) -> dict[str, Any]:
    """Return an estimate in the format of the summary."""
    return {"value": found.value, "ci95": found.ci95, "n": found.n}


def wilson(successes: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return Wilson's score interval (1927) of a share, n > 0; it stays within 0 to 1 and has a width even at 0 and n.

    Both numbers may be fractions, such as an effective sample size and its successes.
    """
    low, high = cast(Any, proportion_confint)(successes, n, alpha=1 - confidence, method="wilson")
    # Exact at the ends, where rounding would leave 1e-17 on the wrong side.
    return (0.0 if successes <= 0 else float(low)), (1.0 if successes >= n else float(high))


def share(values: Sequence[bool] | npt.NDArray[np.bool_], clusters: Labels) -> Estimate:
    """Return the share of true values, with a Wilson interval at the effective sample size of the clusters."""
    truth = np.asarray(values, float)
    if not len(truth):
        return Estimate(0, None, None)
    effective = len(truth) / design_effect(truth, clusters)
    value = float(truth.mean())
    return Estimate(len(truth), value, wilson(value * effective, effective))


def design_effect(values: npt.NDArray[np.float64], clusters: Labels) -> float:
    """Return the factor by which clustering inflates the variance of a mean, at least 1.

    The linearised variance of the mean over clusters, divided by that of n independent rows. With one cluster, or
    without variation (a share of 0 or 1), the data cannot show how similar the rows of a cluster are. They then count
    as copies of each other, for which the factor is the mean size of the cluster of a row.
    """
    codes, count = label_codes(clusters)
    independent = float(values.var()) / len(values)
    if count < 2 or independent <= 0:
        return float((np.bincount(codes) ** 2).sum()) / len(values)
    deviations = np.bincount(codes, weights=values - values.mean(), minlength=count)
    clustered = count / (count - 1) * float((deviations**2).sum()) / len(values) ** 2
    return max(1.0, clustered / independent)


def mean(
    values: Sequence[float] | npt.NDArray[np.float64], clusters: Labels, confidence: float = CONFIDENCE
) -> Estimate:
    """Return the mean with a Student interval from the linearised variance over clusters.

    The interval is None for one cluster, and if all values are equal, because their variance then says nothing about
    further values.
    """
    numbers = np.asarray(values, float)
    if not len(numbers):
        return Estimate(0, None, None)
    value = float(numbers.mean())
    codes, count = label_codes(clusters)
    if count < 2 or (numbers == numbers[0]).all():
        return Estimate(len(numbers), value, None)
    deviations = np.bincount(codes, weights=numbers - value, minlength=count)
    error = math.sqrt(count / (count - 1) * float((deviations**2).sum())) / len(numbers)
    half = float(stats.t.ppf(0.5 + confidence / 2, count - 1)) * error
    return Estimate(len(numbers), value, (value - half, value + half))


def mcnemar(only_first: int, only_second: int) -> float | None:
    """Return the exact two-sided p-value that two boolean outcomes of the same facts are equally often true.

    Args:
        only_first, only_second: Numbers of facts where only one of the two is true. None if both are 0.

    The test treats facts as independent; read it together with an interval that does not.
    """
    discordant = only_first + only_second
    return float(stats.binomtest(only_first, discordant).pvalue) if discordant else None


def label_codes(labels: Labels) -> tuple[npt.NDArray[np.int64], int]:
    """Return labels as integers from 0, and the number of distinct labels."""
    if isinstance(labels, np.ndarray):
        values, codes = np.unique(labels, return_inverse=True)
        return codes.astype(np.int64), len(values)
    numbers: dict[object, int] = {}
    codes = np.fromiter((numbers.setdefault(label, len(numbers)) for label in labels), np.int64, len(labels))
    return codes, len(numbers)
