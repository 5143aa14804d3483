from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import statsmodels.api as sm
from scipy import stats

from factcensus.eval.statistics.logistic import LogOdds, curve, difference, fit_logistic, logistic_slope

Floats = npt.NDArray[np.float64]


def world(seed: int, *, planted: float, people: int = 42, base: float = 0.3, spread: float = 0.6) -> dict[str, Any]:
    """Make facts of three relations; the marginal model is exactly logistic, people and objects are correlated."""
    generator = np.random.default_rng(seed)
    subject, relation = np.repeat(np.arange(people), 3), np.tile(np.arange(3), people)
    thing = relation * 12 + generator.integers(12, size=len(subject))
    x = np.log10(2.0 ** (subject % 7))
    latent = (
        spread * generator.normal(size=people)[subject]
        + spread * generator.normal(size=36)[thing]
        + generator.normal(size=len(subject))
    ) / np.sqrt(1 + 2 * spread**2)
    p = 1 / (1 + np.exp(-(base + planted * x + 0.3 * (relation - 1))))
    kept = generator.random(len(subject)) < 0.75
    return {
        "x": x[kept],
        "outcome": (stats.norm.cdf(latent) < p).astype(float)[kept],
        "groups": relation[kept],
        "clusters": {"subject": subject[kept], "object": thing[kept]},
    }


def test_estimate_equals_statsmodels_with_group_intercepts() -> None:
    facts = world(1, planted=-0.7)
    covariate = np.random.default_rng(0).normal(size=len(facts["x"]))
    plain = sm.Logit(facts["outcome"], np.column_stack([facts["x"], np.eye(3)[facts["groups"]]])).fit(disp=0)
    assert logistic_slope(**facts).value == pytest.approx(plain.params[0], abs=1e-6)
    design = np.column_stack([facts["x"], covariate, np.eye(3)[facts["groups"]]])
    adjusted = sm.Logit(facts["outcome"], design).fit(disp=0)
    assert logistic_slope(**facts, covariates=[covariate]).value == pytest.approx(adjusted.params[0], abs=1e-6)


def test_one_way_error_approaches_the_sandwich_with_many_clusters() -> None:
    facts = world(2, planted=-0.7, people=400)
    people = facts["clusters"]["subject"]
    design = np.column_stack([facts["x"], np.eye(3)[facts["groups"]]])
    fit = sm.Logit(facts["outcome"], design).fit(disp=0, cov_type="cluster", cov_kwds={"groups": people})
    found = logistic_slope(facts["x"], facts["outcome"], groups=facts["groups"], clusters={"subject": people})
    assert found.ci95 is not None
    half = stats.t.ppf(0.975, len(set(people)) - 1) * fit.bse[0]
    assert (found.ci95[1] - found.ci95[0]) / 2 == pytest.approx(half, rel=0.05)


def test_one_newton_step_approximates_a_refitted_jackknife() -> None:
    """Compare with the slow, obvious way: leave each person out and fit again."""
    facts = world(3, planted=-0.7)
    people = facts["clusters"]["subject"]
    design = np.column_stack([facts["x"], np.eye(3)[facts["groups"]]])
    whole = fit_logistic(design, facts["outcome"])
    assert whole is not None
    moved = []
    for person in set(people):
        again = fit_logistic(design[people != person], facts["outcome"][people != person])
        assert again is not None
        moved.append(whole[0][0] - again[0][0])
    found = logistic_slope(facts["x"], facts["outcome"], groups=facts["groups"], clusters={"subject": people})
    assert sum(move**2 for move in found.moves["subject"].values()) == pytest.approx(np.square(moved).sum(), rel=0.05)


def test_difference_of_methods_equals_one_fit_with_interactions() -> None:
    first, second = world(4, planted=-0.9), world(4, planted=0.2)
    slopes = [logistic_slope(**each) for each in (first, second)]
    found = difference(*slopes)
    x, y = np.concatenate([first["x"]] * 2), np.concatenate([first["outcome"], second["outcome"]])
    method = np.repeat([0, 1], len(first["x"]))
    groups = np.eye(6)[method * 3 + np.concatenate([first["groups"]] * 2)]
    people = np.concatenate([first["clusters"]["subject"]] * 2)
    joint = sm.Logit(y, np.column_stack([x * (method == 0), x * (method == 1), groups])).fit(
        disp=0, cov_type="cluster", cov_kwds={"groups": people}
    )
    assert found.value == pytest.approx(joint.params[0] - joint.params[1], abs=1e-6)
    one_way = difference(
        *(
            logistic_slope(
                each["x"], each["outcome"], groups=each["groups"], clusters={"subject": each["clusters"]["subject"]}
            )
            for each in (first, second)
        )
    )
    assert one_way.ci95 is not None
    error = np.sqrt(joint.cov_params()[:2, :2] @ [1, -1] @ [1, -1])
    half = stats.t.ppf(0.975, len(set(people)) - 1) * error
    assert (one_way.ci95[1] - one_way.ci95[0]) / 2 == pytest.approx(half, rel=0.15)


def test_separation_is_penalised_and_reported() -> None:
    """All facts above x = 1 are kept, all below forgotten. Firth by hand for the saturated 2x2 table: add 1/2."""
    x = np.repeat([0.0, 1.0], 20)
    outcome = np.repeat([1.0, 0.0], 20)
    found = logistic_slope(x, outcome, groups=np.zeros(40), clusters={"subject": np.arange(40)})
    assert found.penalised
    assert found.value == pytest.approx(np.log(0.5 / 20.5) - np.log(20.5 / 0.5), abs=1e-4)
    assert found.ci95 is not None
    assert found.ci95[1] < 0
    mixed = logistic_slope(**world(5, planted=0.0))
    assert not mixed.penalised


def test_groups_with_one_outcome_are_left_out_without_effect() -> None:
    facts = world(6, planted=-0.5)
    more = {
        "x": np.append(facts["x"], [0.0, 1.0, 2.0]),
        "outcome": np.append(facts["outcome"], [1.0, 1.0, 1.0]),
        "groups": np.append(facts["groups"], [9, 9, 9]),
        "clusters": {kind: np.append(values, [97, 98, 99]) for kind, values in facts["clusters"].items()},
    }
    assert logistic_slope(**more) == logistic_slope(**facts)


def test_result_is_null_without_data_to_fit() -> None:
    people = {"subject": np.arange(20)}
    assert logistic_slope([], [], groups=[], clusters={"subject": []}) == LogOdds(0, None)
    assert logistic_slope(np.arange(20), np.ones(20), groups=np.zeros(20), clusters=people).value is None
    constant = logistic_slope(np.ones(20), np.arange(20) % 2, groups=np.zeros(20), clusters=people)
    assert constant.value is None, "x does not vary"
    few = logistic_slope(np.arange(20), np.arange(20) % 3 == 0, groups=np.zeros(20), clusters={"s": np.arange(20) % 3})
    assert few.value is not None
    assert few.ci95 is None
    with pytest.raises(ValueError, match="outcomes of 0 or 1"):
        logistic_slope([1.0, 2.0], [0.0, 0.5], groups=[0, 0], clusters={"subject": [0, 1]})


def test_curve_passes_through_the_shares_of_two_levels() -> None:
    """With two counts the logistic curve is saturated, so it equals the share at each."""
    x = np.repeat([0.0, 1.0], 50)
    outcome = np.concatenate([np.arange(50) < 40, np.arange(50) < 10])
    found = curve(x, outcome, np.arange(100), [0.0, 1.0])
    assert found is not None
    value, low, high = found
    assert value == pytest.approx([0.8, 0.2], abs=1e-6)
    assert (low < value).all()
    assert (value < high).all()
    assert (high <= 1).all()
    assert curve(x, np.ones(100), np.arange(100), [0.0]) is None
