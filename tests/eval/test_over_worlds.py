"""Means over worlds, equivalence tests and their simulated power: hand-computed cases, statsmodels, and error rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from factcensus.eval.statistics.worlds import equivalence_p, over_worlds, simulated_power, verdict


def test_a_hand_computed_mean_over_four_worlds() -> None:
    """Mean 0.02, deviation 0.02 / sqrt(3) * 2 = 0.0163 and error 0.00816; t(3) is 3.182 at 97.5% and 2.353 at 95%."""
    found = over_worlds([0.0, 0.02, 0.02, 0.04])
    error = math.sqrt(2 * 0.02**2 / 3) / 2
    assert found.value == pytest.approx(0.02)
    assert found.deviation == pytest.approx(2 * error)
    assert found.ci95 == pytest.approx((0.02 - 3.182446 * error, 0.02 + 3.182446 * error), rel=1e-6)
    assert found.ci90 == pytest.approx((0.02 - 2.353363 * error, 0.02 + 2.353363 * error), rel=1e-5)
    # The nearer margin decides: t = (0.05 - 0.02) / 0.00816 = 3.674 with 3 degrees of freedom.
    assert equivalence_p(found, 0.05) == pytest.approx(stats.t.sf(3.6742346, 3))
    assert verdict(found, 0.05) == "equivalent"
    assert verdict(found, 0.03) == "undecided"


def test_equivalence_agrees_with_statsmodels() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        values = generator.normal(generator.normal(0, 0.05), 0.04, size=int(generator.integers(3, 15)))
        theirs, *_ = DescrStatsW(values).ttost_mean(-0.05, 0.05)
        assert equivalence_p(over_worlds(values.tolist()), 0.05) == pytest.approx(theirs)


def test_the_p_value_is_below_five_percent_exactly_if_the_narrow_interval_is_inside_the_margin() -> None:
    generator = np.random.default_rng(4)
    for _ in range(200):
        found = over_worlds(generator.normal(generator.normal(0, 0.04), 0.04, size=8).tolist())
        p = equivalence_p(found, 0.05)
        assert p is not None
        assert found.ci90 is not None
        assert (p < 0.05) == (found.ci90[0] > -0.05 and found.ci90[1] < 0.05)


def test_an_effect_smaller_than_the_margin_is_still_an_effect() -> None:
    assert verdict(over_worlds([0.01, 0.011, 0.012, 0.009]), 0.05) == "above"
    assert verdict(over_worlds([-0.01, -0.011, -0.012, -0.009]), 0.05) == "below"


def test_one_world_decides_nothing() -> None:
    assert verdict(over_worlds([0.0]), 0.05) == "undecided"
    assert equivalence_p(over_worlds([]), 0.05) is None
    assert verdict(over_worlds([]), 0.05) == "undecided"


def test_equal_worlds_have_no_error() -> None:
    assert equivalence_p(over_worlds([0.0, 0.0]), 0.05) == 0.0
    assert equivalence_p(over_worlds([0.1, 0.1]), 0.05) == 1.0


@pytest.mark.parametrize("worlds", [3, 8, 12])
def test_error_rates_are_five_percent(worlds: int) -> None:
    """With 20,000 experiments, the standard error of a share of .05 is .0015."""
    no_effect = simulated_power(worlds, 0.01, 0.05)
    assert no_effect.effect == pytest.approx(0.05, abs=0.006)
    at_the_margin = simulated_power(worlds, 0.01, 0.05, true=0.05)
    assert at_the_margin.equivalent == pytest.approx(0.05, abs=0.006)


def test_power_agrees_with_the_noncentral_t_distribution() -> None:
    worlds, deviation, true = 12, 0.05, 0.04
    limit, shift = stats.t.ppf(0.975, worlds - 1), true / deviation * math.sqrt(worlds)
    assert simulated_power(worlds, deviation, 0.05, true=true).effect == pytest.approx(
        stats.nct.sf(limit, worlds - 1, shift), abs=0.012
    )


def test_power_grows_with_worlds_and_shrinks_with_deviation() -> None:
    assert simulated_power(12, 0.04, 0.05).equivalent > simulated_power(6, 0.04, 0.05).equivalent + 0.1
    assert simulated_power(12, 0.04, 0.05).equivalent > simulated_power(12, 0.08, 0.05).equivalent + 0.3


def test_the_simulation_and_the_analysis_reach_the_same_verdicts() -> None:
    """The simulation decides for whole arrays; the analysis of each experiment must agree with it."""
    experiments, worlds, margin = 300, 6, 0.05
    power = simulated_power(worlds, 0.05, margin, true=0.02, experiments=experiments, seed=9)
    drawn = np.random.default_rng(9).normal(0.02, 0.05, size=(experiments, worlds))
    found = [over_worlds(values.tolist()) for values in drawn]
    assert power.effect == pytest.approx(np.mean([verdict(each, margin) == "above" for each in found]))
    assert power.undecided == pytest.approx(np.mean([verdict(each, margin) == "undecided" for each in found]))
    p = [equivalence_p(each, margin) for each in found]
    assert power.equivalent == pytest.approx(np.mean([each is not None and each < 0.05 for each in p]))
