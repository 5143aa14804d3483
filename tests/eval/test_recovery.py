"""Planted effects are recovered: simulated worlds with a known effect, and worlds without one.

A 95% interval should cover the planted effect in 95% of the worlds; in a world without an effect, a miss is a false
alarm. The allowed number of misses follows from the number of worlds: a correct interval exceeds it once in 700 times
(three Monte Carlo standard errors).

    pytest -m full -rP tests/eval/test_recovery.py      # a thousand worlds each; prints the number of misses
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_agreement import world as index_world
from test_logistic import world as odds_world
from test_slope import world as slope_world

from factcensus.eval.statistics.agreement import agreement
from factcensus.eval.statistics.logistic import logistic_slope
from factcensus.eval.statistics.misalignment import misalignment
from factcensus.eval.statistics.seeds import holm
from factcensus.eval.statistics.slope import slope

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of world: the planted effect, the interval computed from a world, and the size of a quick test."""

    planted: float
    interval: Callable[[int], Interval | None]
    quick: int

    def missed(self, worlds: int) -> tuple[int, int]:
        """Return the numbers of worlds whose interval misses the planted effect, and of worlds with an interval."""
        found = [interval for seed in range(worlds) if (interval := self.interval(seed)) is not None]
        return sum(not low <= self.planted <= high for low, high in found), len(found)


def of_slope(planted: float, people: int) -> Kind:
    def interval(seed: int) -> Interval | None:
        return slope(**slope_world(seed, planted=planted, people=people), replicates=300).ci95

    return Kind(planted, interval, 150)


def of_odds(planted: float, people: int, base: float) -> Kind:
    def interval(seed: int) -> Interval | None:
        return logistic_slope(**odds_world(seed, planted=planted, people=people, base=base)).ci95

    return Kind(planted, interval, 150)


def of_index(hidden: float) -> Kind:
    def interval(seed: int) -> Interval | None:
        found: Interval | None = agreement(*index_world(seed, hidden))[0]["ci95"]
        return found

    return Kind(hidden, interval, 60)


def of_disagreement(excess: float) -> Kind:
    """Make 40 people with three facts each; P and G differ for a tenth of them before, and more by ``excess`` after."""

    def interval(seed: int) -> Interval | None:
        generator = np.random.default_rng(seed)
        person = np.repeat(generator.normal(size=40), 3)
        chance = stats.norm.cdf(np.sqrt(0.5) * person + np.sqrt(0.5) * generator.normal(size=(2, 120)))
        differs = pd.DataFrame(
            {
                "subject_code": np.repeat(np.arange(40), 3),
                "forgotten_generation": True,
                "forgotten_probability": chance[0] >= 0.1 + excess,
                "original_forgotten_probability": chance[1] < 0.1,
                "never_seen_level": -4.0,
                "log_probability_mean_after": -4.5,
                "never_seen_rank": 0.5,
            }
        )
        empty = pd.DataFrame(columns=["log_probability_mean", "match", "never_seen_level"])
        found: Interval | None = misalignment(differs, empty)["excess_ci95"]
        return found

    return Kind(excess, interval, 150)


KINDS = {
    "slope 0, 28 people": of_slope(0.0, 28),
    "slope 0.5, 28 people": of_slope(0.5, 28),
    "slope 0, 56 people": of_slope(0.0, 56),
    "slope 0.5, 56 people": of_slope(0.5, 56),
    "log-odds 0, 42 people": of_odds(0.0, 42, 0.3),
    "log-odds -1, 42 people": of_odds(-1.0, 42, 1.2),
    "log-odds 0, 28 people, most forgotten": of_odds(0.0, 28, 2.5),
    "log-odds -1, 28 people, most forgotten": of_odds(-1.0, 28, 2.5),
    "index 0": of_index(0.0),
    "index 0.2": of_index(0.2),
    "disagreement 0": of_disagreement(0.0),
    "disagreement 0.2": of_disagreement(0.2),
}


def most_misses(worlds: int) -> int:
    """Return the number of misses that a correct 95% interval exceeds once in 700 times."""
    return int(stats.binom.ppf(0.9987, worlds, 0.05))


@pytest.mark.parametrize("name", KINDS)
def test_intervals_cover_the_planted_effect(name: str) -> None:
    missed, worlds = KINDS[name].missed(KINDS[name].quick)
    assert worlds > 0.9 * KINDS[name].quick
    assert missed <= most_misses(worlds)


@pytest.mark.full
@pytest.mark.parametrize("name", KINDS)
def test_intervals_cover_the_planted_effect_in_a_thousand_worlds(name: str) -> None:
    """Allow at most 71 misses of 1,000, and require some, so that the interval is not too wide."""
    missed, worlds = KINDS[name].missed(1000)
    print(f"{name}: missed {missed} of {worlds:,} ({missed / worlds:.1%})")
    assert worlds > 950
    assert 0.01 * worlds < missed <= most_misses(worlds)


@pytest.mark.full
def test_families_without_an_effect_rarely_have_a_false_alarm_after_holms_correction() -> None:
    """Six methods in two forms on the same facts share people, objects and half of the noise per fact."""
    families = 300
    alarms = uncorrected = 0
    for seed in range(families):
        facts = slope_world(seed, planted=0.0)
        generator = np.random.default_rng([seed, 1])
        p_values = []
        for _ in range(12):
            y = facts["y"] + generator.normal(size=len(facts["y"]))
            p_values.append(slope(**{**facts, "y": y}, replicates=300).p)
        alarms += any(p is not None and p < 0.05 for p in holm(p_values))
        uncorrected += any(p is not None and p < 0.05 for p in p_values)
    print(
        f"families of 12: {alarms} of {families} with a false alarm after Holm's correction, {uncorrected} without it"
    )
    assert alarms <= most_misses(families)
    assert uncorrected > 2 * alarms
