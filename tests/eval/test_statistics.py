from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.proportion import proportion_confint

from factcensus.eval.statistics.intervals import design_effect, label_codes, mcnemar, mean, share, wilson


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (3, 17), (160, 400)])
def test_wilson_equals_statsmodels(successes: int, n: int) -> None:
    low, high = proportion_confint(successes, n, method="wilson")
    assert wilson(successes, n) == (pytest.approx(low, abs=1e-12), pytest.approx(high, abs=1e-12))
    assert 0.0 <= wilson(successes, n)[0] < wilson(successes, n)[1] <= 1.0


def test_wilson_interval_equals_the_one_computed_by_hand() -> None:
    """5 of 10 at z = 1.96: centre 1/2, half width z / (1 + z²/10) sqrt(1/40 + z²/400)."""
    z = 1.959964
    half = z / (1 + z * z / 10) * math.sqrt(1 / 40 + z * z / 400)
    assert wilson(5, 10) == (pytest.approx(0.5 - half, abs=1e-6), pytest.approx(0.5 + half, abs=1e-6))


def test_share_of_independent_facts_is_wilson_and_copies_add_no_information() -> None:
    values = np.array([True, True, False, True, False, True, True, True])
    alone = share(values, range(8))
    assert alone.value == 0.75
    # The variance over clusters has n - 1, so eight facts count as seven.
    assert alone.ci95 == (pytest.approx(wilson(0.75 * 7, 7)[0]), pytest.approx(wilson(0.75 * 7, 7)[1]))
    twins = share(np.repeat(values, 2), np.repeat(np.arange(8), 2))
    assert twins.n == 16
    assert twins.ci95 is not None
    assert alone.ci95 is not None
    assert twins.ci95 == (pytest.approx(alone.ci95[0]), pytest.approx(alone.ci95[1])), "a copy adds no information"


def test_share_without_rows_is_null() -> None:
    empty = share(np.array([], bool), [])
    assert (empty.n, empty.value, empty.ci95) == (0, None, None)
    assert mean(np.array([]), []).value is None


def test_design_effect_by_hand() -> None:
    """Two clusters {1, 1} and {0, 0}: deviations ±1, variance 2/1 * (1 + 1) / 16 = 1/4; independent 1/4 / 4 = 1/16."""
    assert design_effect(np.array([1.0, 1.0, 0.0, 0.0]), ["a", "a", "b", "b"]) == pytest.approx(4.0)
    assert design_effect(np.array([1.0, 1.0]), ["a", "b"]) == 1.0, "no variation, one row per cluster"


@pytest.mark.parametrize("value", [True, False])
def test_facts_of_few_people_that_all_agree_have_the_information_of_the_people(value: bool) -> None:
    found = share([value] * 30, np.repeat(np.arange(10), 3))
    assert found.ci95 == wilson(10 * value, 10)
    # Sizes 1 and 3: a row is in a cluster of (1 * 1 + 3 * 3) / 4 = 2.5 rows on average, so 4 rows count as 1.6.
    assert share([value] * 4, ["a", "b", "b", "b"]).ci95 == (
        pytest.approx(wilson(1.6 * value, 1.6)[0]),
        pytest.approx(wilson(1.6 * value, 1.6)[1]),
    )


def test_facts_of_one_person_have_the_information_of_one_fact() -> None:
    assert share([True, False, True, False], ["a"] * 4).ci95 == (
        pytest.approx(wilson(0.5, 1)[0]),
        pytest.approx(wilson(0.5, 1)[1]),
    )


def test_a_mean_of_equal_values_has_no_interval() -> None:
    """A width of 0 would claim that further people cannot differ."""
    found = mean([0.25] * 6, range(6))
    assert (found.value, found.ci95) == (0.25, None)


def test_mean_with_one_row_per_cluster_has_students_interval() -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    found = mean(values, range(4))
    half = 3.182446 * np.std(values, ddof=1) / 2  # t with 3 degrees of freedom
    assert found.value == 2.5
    assert found.ci95 == (pytest.approx(2.5 - half, abs=1e-5), pytest.approx(2.5 + half, abs=1e-5))
    assert mean([1.0, 2.0], ["a", "a"]).ci95 is None


def test_mcnemar_is_exact_and_null_without_discordant_facts() -> None:
    assert mcnemar(9, 2) == pytest.approx(statsmodels_mcnemar([[5, 9], [2, 5]], exact=True).pvalue)
    assert mcnemar(1, 1) == 1.0
    assert mcnemar(0, 0) is None


def test_label_codes_distinguish_labels_by_value() -> None:
    codes, count = label_codes([("a", 0), ("b", 0), ("a", 0)])
    assert codes.tolist() == [0, 1, 0]
    assert count == 2
    assert label_codes(np.array([7, 7, 3]))[0].tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("people", "facts_each", "known"), [(40, 1, 0.3), (40, 3, 0.3), (10, 3, 0.85), (10, 3, 0.15), (6, 5, 0.85)]
)
def test_clustered_share_covers_the_true_share(people: int, facts_each: int, known: float) -> None:
    """People know all of their facts or none: 40 people carry the information of 40 facts, not 120."""
    covered, worlds = 0, 400
    for seed in range(worlds):
        flips = np.random.default_rng(seed).random(people) < known
        found = share(np.repeat(flips, facts_each), np.repeat(np.arange(people), facts_each))
        assert found.ci95 is not None
        covered += found.ci95[0] <= known <= found.ci95[1]
    assert covered >= 0.91 * worlds  # 95%, less 3 standard errors and the steps of few people
