from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import statsmodels.api as sm
from scipy import stats

from factcensus.eval.statistics.slope import MIN_CLUSTERS, Slope, slope

Floats = npt.NDArray[np.float64]


def world(seed: int, *, planted: float, people: int = 42, relations: int = 3, objects: int = 12) -> dict[str, Any]:
    """Make facts with effects of subject, object and relation; counts depend on the subject, 3 in 4 facts are known."""
    generator = np.random.default_rng(seed)
    subject = np.repeat(np.arange(people), relations)
    relation = np.tile(np.arange(relations), people)
    thing = relation * objects + generator.integers(objects, size=len(subject))
    x = np.log10(2.0 ** (subject % 7))
    y = (
        planted * x
        + 1.5 * relation
        + 0.5 * generator.normal(size=people)[subject]
        + 0.5 * generator.normal(size=relations * objects)[thing]
        + generator.normal(size=len(subject))
    )
    kept = generator.random(len(subject)) < 0.75
    clusters = {"subject": subject[kept], "object": thing[kept]}
    return {"x": x[kept], "y": y[kept], "groups": relation[kept], "clusters": clusters}


def test_slope_is_least_squares_with_an_intercept_per_group() -> None:
    facts = world(1, planted=0.7)
    dummies = np.eye(3)[facts["groups"]]
    confidence = np.random.default_rng(0).normal(size=len(facts["x"])) + facts["x"]
    plain = sm.OLS(facts["y"], np.column_stack([facts["x"], dummies])).fit()
    assert slope(**facts).value == pytest.approx(plain.params[0])
    adjusted = sm.OLS(facts["y"], np.column_stack([facts["x"], confidence, dummies])).fit()
    assert slope(**facts, covariates=[confidence]).value == pytest.approx(adjusted.params[0])


def test_one_way_interval_agrees_with_the_sandwich() -> None:
    """The cluster-robust error of statsmodels is the analytic counterpart of the bootstrap error."""
    facts = world(2, planted=0.7, people=140)
    design = np.column_stack([facts["x"], np.eye(3)[facts["groups"]]])
    for kind, labels in facts["clusters"].items():
        fit = sm.OLS(facts["y"], design).fit(cov_type="cluster", cov_kwds={"groups": labels})
        found = slope(facts["x"], facts["y"], groups=facts["groups"], clusters={kind: labels})
        assert found.ci95 is not None
        size = found.clusters[kind]
        half = stats.t.ppf(0.975, size - 1) * np.sqrt(size / (size - 1)) * fit.bse[0]
        assert (found.ci95[1] - found.ci95[0]) / 2 == pytest.approx(half, rel=0.1)
        assert found.ci95_by[kind] == found.ci95


def test_reported_interval_is_never_narrower_than_either_one_way_interval() -> None:
    for seed in range(10):
        found = slope(**world(seed, planted=0.3), replicates=200)
        assert found.ci95 is not None
        for interval in found.ci95_by.values():
            assert interval is not None
            assert found.ci95[0] <= interval[0] <= interval[1] <= found.ci95[1]


def test_minimum_detectable_effect_has_80_percent_power() -> None:
    effects = [slope(**world(seed, planted=0.0), replicates=300).minimum_detectable_effect for seed in range(20)]
    effect = float(np.mean([each for each in effects if each is not None]))
    found = [slope(**world(1000 + seed, planted=effect), replicates=300).ci95 for seed in range(150)]
    power = np.mean([interval is not None and interval[0] > 0 for interval in found])
    assert 0.7 <= power <= 0.9


def test_different_levels_of_seeds_are_not_an_effect() -> None:
    """Seed 1 has larger counts and a higher level, but no slope; naive pooling finds a strong slope."""
    x = np.concatenate([np.tile([0.0, 1.0], 50), np.tile([1.0, 2.0], 50)])
    y = np.repeat([0.0, 5.0], 100) + np.random.default_rng(0).normal(scale=0.1, size=200)
    seeds = np.repeat([0, 1], 100)
    people = {"subject": np.arange(200)}
    pooled = slope(x, y, groups=seeds, clusters=people).value
    assert pooled == pytest.approx(0.0, abs=0.05)
    careless = slope(x, y, groups=np.zeros(200), clusters=people).value
    assert careless is not None
    assert careless > 2


def test_interval_is_reproducible_and_row_order_does_not_change_the_value() -> None:
    facts = world(3, planted=0.2)
    assert slope(**facts) == slope(**facts)
    order = np.random.default_rng(0).permutation(len(facts["x"]))
    shuffled = slope(
        facts["x"][order],
        facts["y"][order],
        groups=facts["groups"][order],
        clusters={kind: labels[order] for kind, labels in facts["clusters"].items()},
    )
    assert shuffled.value == pytest.approx(slope(**facts).value)


def test_undefined_slope_is_null() -> None:
    nothing = slope([], [], groups=[], clusters={"subject": [], "object": []})
    assert nothing == Slope(0, None, None, {"subject": None, "object": None}, {"subject": 0, "object": 0})
    constant = slope([3.0] * 20, range(20), groups=[0] * 20, clusters={"subject": range(20)})
    assert constant.value is None
    only_between = slope([1.0] * 10 + [2.0] * 10, range(20), groups=[0] * 10 + [1] * 10, clusters={"s": range(20)})
    assert only_between.value is None, "x varies between groups only"


def test_few_clusters_give_a_value_without_an_interval() -> None:
    size = MIN_CLUSTERS - 1
    found = slope(range(size), range(size), groups=[0] * size, clusters={"subject": range(size)})
    assert found.value == pytest.approx(1.0)
    assert found.ci95 is None
    assert found.minimum_detectable_effect is None


def test_an_interval_needs_enough_clusters_of_every_kind() -> None:
    facts = world(4, planted=0.5)
    facts["clusters"]["object"] = facts["clusters"]["object"] % 3
    found = slope(**facts)
    assert found.ci95_by["object"] is None
    assert found.ci95_by["subject"] is not None
    assert found.ci95 is None


def test_collinear_covariate_does_not_change_the_slope() -> None:
    facts = world(5, planted=0.5)
    once = slope(**facts, covariates=[np.ones(len(facts["x"]))])
    assert once.value == pytest.approx(slope(**facts).value)


def test_non_finite_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        slope([1.0, np.nan], [1.0, 2.0], groups=[0, 0], clusters={"subject": [0, 1]})


@pytest.mark.parametrize("levels", [(1.0, 1.0), (0.0, 1.0)])
def test_an_outcome_without_variation_has_slope_0_without_an_interval(levels: tuple[float, float]) -> None:
    """If everything is forgotten, no sample could show a slope, so a width of 0 would be false precision."""
    people = np.arange(40)
    found = slope(
        people % 7 + 1.0,
        np.asarray(levels)[people % 2],
        groups=people % 2,
        clusters={"subject": people, "object": people % 20},
    )
    assert (found.value, found.ci95, found.p, found.minimum_detectable_effect) == (0.0, None, None, None)
