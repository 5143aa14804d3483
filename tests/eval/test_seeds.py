from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests

from factcensus.eval.statistics.seeds import holm, random_effects


def test_random_effects_equal_statsmodels_if_seeds_differ() -> None:
    values, errors = [0.1, 0.9, 0.4, 1.4], [0.2, 0.25, 0.15, 0.3]
    theirs = combine_effects(np.array(values), np.square(errors), method_re="dl")
    found = random_effects(values, errors)
    assert found.between == pytest.approx(np.sqrt(theirs.tau2))
    assert found.value == pytest.approx(theirs.mean_effect_re)
    half = stats.t.ppf(0.975, 3) * theirs.sd_eff_w_re_hksj
    assert found.ci95 == (pytest.approx(found.value - half), pytest.approx(found.value + half))
    assert found.heterogeneity_p == pytest.approx(stats.chi2.sf(theirs.q, 3))


def test_seeds_that_agree_by_chance_do_not_shrink_the_interval() -> None:
    found = random_effects([0.5, 0.5, 0.5], [0.3, 0.3, 0.3])
    half = stats.t.ppf(0.975, 2) * 0.3 / np.sqrt(3)
    assert found.ci95 == (pytest.approx(0.5 - half), pytest.approx(0.5 + half))
    assert found.between == 0.0


def test_one_seed_has_a_value_and_two_have_no_interval() -> None:
    assert random_effects([], []).value is None
    assert random_effects([0.3], [0.1]).value == pytest.approx(0.3)
    two = random_effects([0.0, 1.0], [0.1, 0.1])
    assert two.ci95 is None
    assert two.heterogeneity_p is not None
    assert two.heterogeneity_p < 0.001


@pytest.mark.parametrize("between", [0.0, 0.5])
@pytest.mark.parametrize("seeds", [3, 6])
def test_the_interval_covers_the_mean_over_seeds(seeds: int, between: float) -> None:
    """Coverage is 95% in 1,000 draws, within three Monte Carlo standard errors (2.1 points)."""
    covered = 0
    for draw in range(1000):
        generator = np.random.default_rng(draw)
        errors = generator.uniform(0.1, 0.4, size=seeds)
        values = 0.7 + between * generator.normal(size=seeds) + errors * generator.normal(size=seeds)
        found = random_effects(list(values), list(errors)).ci95
        assert found is not None
        covered += found[0] <= 0.7 <= found[1]
    assert covered >= 930


def test_holm_equals_statsmodels_and_skips_missing_tests() -> None:
    p = [0.01, 0.04, 0.03, 0.005, 0.9]
    assert holm(p) == pytest.approx(list(multipletests(p, method="holm")[1]))
    assert holm([0.02, None, 0.5]) == [0.04, None, 0.5]
    assert holm([]) == []
