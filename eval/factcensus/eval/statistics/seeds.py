"""Statistics across seeds: a seed is one draw from a population of worlds and models with different effects.

A pooled slope describes the models that were trained. The effect at another seed depends on how much seeds differ,
which is estimated from one number per seed: a random-effects mean with the method of moments for the variance between
seeds (DerSimonian and Laird 1986) and the interval of Hartung and Knapp (2001) with Student's quantile, which keeps its
level with few seeds. There is no interval for fewer than three seeds, because with two it would depend on a single
difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from factcensus.eval.statistics.intervals import CONFIDENCE

LEAST_SEEDS = 3


@dataclass(frozen=True, slots=True)
class AcrossSeeds:
    """A random-effects mean over seeds.

    Attributes:
        value: The mean; None if no seed has a standard error.
        ci95: Its interval, which covers further seeds; None for fewer than three seeds.
        between: Standard deviation of the true effects of seeds, in the unit of the effect.
        heterogeneity_p: p-value of Cochran's Q test for differences between seeds beyond their errors.
    """

    seeds: int
    value: float | None
    ci95: tuple[float, float] | None
    between: float | None
    heterogeneity_p: float | None


def random_effects(values: Sequence[float], errors: Sequence[float]) -> AcrossSeeds:
    """Pool the effects of several seeds.

    Args:
        values, errors: Effect and standard error of each seed, errors above 0.
    """
    effect, variance = np.asarray(values, float), np.square(np.asarray(errors, float))
    seeds = len(effect)
    if not seeds:
        return AcrossSeeds(0, None, None, None, None)
    if seeds == 1:
        return AcrossSeeds(1, float(effect[0]), None, None, None)
    weight = 1.0 / variance
    fixed = float((weight * effect).sum() / weight.sum())
    q = float((weight * (effect - fixed) ** 2).sum())
    spare = float(weight.sum() - (weight**2).sum() / weight.sum())
    # At least 0; statsmodels.stats.meta_analysis.combine_effects (0.15) weights by negative variances as well.
    between = max(0.0, (q - (seeds - 1)) / spare)
    weight = 1.0 / (variance + between)
    value = float((weight * effect).sum() / weight.sum())
    ci95 = None
    if seeds >= LEAST_SEEDS:
        # Never narrower than the plain random-effects interval: Hartung and Knapp's can shrink by chance if the
        # seeds happen to agree (the usual safeguard, Röver, Knapp and Friede 2015).
        scale = max(1.0, float((weight * (effect - value) ** 2).sum()) / (seeds - 1))
        half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, seeds - 1)) * math.sqrt(scale / float(weight.sum()))
        ci95 = (value - half, value + half)
    return AcrossSeeds(seeds, value, ci95, math.sqrt(between), float(stats.chi2.sf(q, seeds - 1)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's (1979) adjusted p-values, which control the family-wise error rate; None stays None."""
    tests = [place for place, p in enumerate(p_values) if p is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    if tests:
        _, corrected, *_ = cast(Any, multipletests)([p_values[place] for place in tests], method="holm")
        for place, p in zip(tests, corrected, strict=True):
            adjusted[place] = float(p)
    return adjusted
