"""Several seeds as what they are: a sample of worlds and models, each with an effect of its own.

A pooled slope speaks of the models that were trained. What another seed would give is a question of how much seeds
differ, and that is estimated from one number a seed: a random-effects mean with the method of moments for the variance
between seeds (DerSimonian and Laird 1986) and the interval of Hartung and Knapp (2001) with Student's quantile, which
keeps its level where there are few seeds. With fewer than three there is no interval: with two it would rest on one
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
        value: The mean; None without a seed that has a standard error.
        ci95: Its interval, which covers seeds not run; None for fewer than three.
        between: Standard deviation of the seeds' true effects, in the effect's unit.
        heterogeneity_p: p-value of Cochran's Q: are seeds further apart than their errors explain?
    """

    seeds: int
    value: float | None
    ci95: tuple[float, float] | None
    between: float | None
    heterogeneity_p: float | None


def random_effects(values: Sequence[float], errors: Sequence[float]) -> AcrossSeeds:
    """Pool effects of several seeds.

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
        # Never below the interval of the plain random-effects mean: Hartung and Knapp's can shrink by chance where
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
