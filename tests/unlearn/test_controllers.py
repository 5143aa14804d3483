"""Controllers and wrappers: strata of equal sizes, effort by remaining knowledge, stopping at a goal, SAM and GRU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from factcensus.unlearn.config.method_config import MethodConfig, RetainConstraint, StrataControl
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.objectives.strata import fact_strata
from factcensus.unlearn.training.controllers import ConstraintController, Strata, StrataController, student95
from factcensus.unlearn.training.wrappers import Rectifier, take_gradients, worst_neighbour

COUNTS = st.lists(st.integers(0, 200), min_size=4, max_size=40).filter(lambda counts: len(set(counts)) > 3)


@given(COUNTS, st.integers(2, 6), st.integers(0, 9))
def test_strata_of_all_kinds_have_the_same_sizes(counts: list[int], strata: int, seed: int) -> None:
    loss = np.random.default_rng(seed).random(len(counts))
    made = {
        by: fact_strata(by, strata=strata, counts=counts, original_loss=loss, seed=seed)
        for by in ("count", "loss_rank", "shuffled_count")
    }
    sizes = np.bincount(made["count"])
    assert sizes.min() > 0
    for found in made.values():
        assert np.bincount(found).tolist() == sizes.tolist()
    order = np.argsort(counts, kind="stable")
    assert (np.diff(made["count"][order]) >= 0).all()
    for first, second in zip(counts, made["count"], strict=True):
        assert all(second == other for count, other in zip(counts, made["count"], strict=True) if count == first)
    assert (
        made["loss_rank"][int(loss.argmin())] == made["count"].max()
    )  # the surest fact is in the most frequent stratum


def test_strata_of_the_table_take_precedence_and_a_single_stratum_is_refused() -> None:
    assert fact_strata("count", strata=2, counts=[9, 9, 9], given=[5, 2, 5]).tolist() == [1, 0, 1]
    assert fact_strata("count", strata=2, counts=[1, 5, 5, 5, 3]).tolist() == [
        0,
        1,
        1,
        1,
        0,
    ]  # the median is the maximum
    with pytest.raises(ConfigError, match="one stratum"):
        fact_strata("count", strata=4, counts=[3, 3, 3])
    with pytest.raises(ConfigError, match="count_column"):
        fact_strata("count", strata=4, counts=None)


def controller(original: list[float], never_seen: float = 5.0, **settings: Any) -> StrataController:
    """Return a controller of two strata with two and four examples."""
    of = torch.tensor([0, 0, 1, 1, 1, 1])
    strata = Strata(of, torch.full((6,), never_seen), torch.tensor(original))
    return StrataController(StrataControl(**settings), strata)


def test_effort_moves_to_the_remembering_stratum_with_constant_total() -> None:
    control = controller([4.0, 4.0, 0.0, 0.0, 0.0, 0.0], rate=0.5, limit=4.0)
    assert control.weights().tolist() == pytest.approx([1, 1])
    assert control.remaining().tolist() == pytest.approx([1, 5])
    control.observe([0, 2, 3], [4.0, 0.0, 0.0])
    # Half a pass; the mean over facts is (2 * 1 + 4 * 5) / 6 = 11/3: log weights change by .25 * (-8/3) and .25 * 4/3.
    raw = np.exp([-2 / 3, 1 / 3])
    assert control.weights().tolist() == pytest.approx(raw / ((2 * raw[0] + 4 * raw[1]) / 6))
    weights = control.fact_weights(torch.arange(6))
    assert float(weights.mean()) == pytest.approx(1, abs=1e-6)
    for _ in range(50):
        control.observe([0, 2, 3], [4.0, 0.0, 0.0])
    ratio = control.weights()[1] / control.weights()[0]
    assert 4 <= float(ratio) <= 16 + 1e-6  # each weight is within the limit relative to the mean


def test_effort_returns_when_the_other_stratum_remembers_more() -> None:
    control = controller([4.0, 4.0, 0.0, 0.0, 0.0, 0.0], rate=1.0)
    for _ in range(20):
        control.observe([0, 1, 2, 3, 4, 5], [4.0, 4.0, 0.0, 0.0, 0.0, 0.0])
    for _ in range(20):
        control.observe([0, 1, 2, 3, 4, 5], [0.0, 0.0, 6.0, 6.0, 6.0, 6.0])
    assert control.weights()[0] > 1 > control.weights()[1]


def test_answers_below_the_never_seen_level_count_as_no_knowledge() -> None:
    control = controller([9.0, 9.0, 9.0, 9.0, 9.0, 9.0])
    assert control.remaining().tolist() == [0, 0]
    assert control.upper_bounds().tolist() == [0, 0]


def test_goal_is_reached_when_every_upper_bound_is_below_it() -> None:
    control = controller([5.0] * 6, goal=0.2)
    control.observe(range(6), [5.0, 5.0, 5.0, 5.0, 5.0, -math.log(0.3)])
    left = np.array([0, 0, 0, 0.3 - math.exp(-5)])
    bound = left.mean() + stats.t.ppf(0.95, 3) * left.std(ddof=1) / 2
    assert control.upper_bounds()[1] == pytest.approx(bound, rel=5e-3)
    assert bound > 0.2
    assert not control.is_enough()
    control.observe([5], [5.0])
    assert control.is_enough()
    assert not controller([5.0] * 6).is_enough()  # without a goal, training never stops early


def test_goal_needs_two_examples_per_stratum() -> None:
    strata = Strata(torch.tensor([0, 1, 1]), torch.zeros(3), torch.zeros(3))
    with pytest.raises(ConfigError, match="stratum 0 has 1"):
        StrataController(StrataControl(goal=0.1), strata)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 7, 20, 200])
def test_student_quantiles_match_scipy(freedom: int) -> None:
    assert student95(freedom) == pytest.approx(stats.t.ppf(0.95, freedom), rel=5e-3)


def test_constraint_raises_alpha_while_the_retain_term_exceeds_its_limit() -> None:
    control = ConstraintController(RetainConstraint(limit=0.3, rate=2.0, warmup_passes=1.0), 1.0, 0.0)
    control.observe(0.8, passes=0.5)
    assert control.alpha == 1.0  # during warm-up
    control.observe(0.8, passes=1.5)
    assert control.alpha == pytest.approx(2.0)
    control.observe(0.1, passes=2.0)
    assert control.alpha == pytest.approx(1.6)
    for _ in range(9):
        control.observe(0.0, passes=2.0)
    assert control.alpha == 0
    measured = ConstraintController(RetainConstraint(tolerance=0.05), 1.0, original_retain=0.2)
    assert measured.limit == pytest.approx(0.25)


# Wrappers ------------------------------------------------------------------------------------------------------------


def parameter(values: list[float], gradient: list[float]) -> torch.nn.Parameter:
    made = torch.nn.Parameter(torch.tensor(values))
    made.grad = torch.tensor(gradient)
    return made


def test_sam_computes_the_gradient_at_distance_rho_and_restores_the_weights() -> None:
    first, second = parameter([1.0, 2.0], [3.0, 0.0]), parameter([0.5], [4.0])
    with worst_neighbour([first, second], rho=0.1):
        assert first.tolist() == pytest.approx([1.06, 2.0])
        assert second.tolist() == pytest.approx([0.58])
        assert first.grad is None
        (first.square().sum() + second.square().sum()).backward()  # type: ignore[no-untyped-call]
    assert first.tolist() == [1.0, 2.0]
    assert second.tolist() == [0.5]
    assert first.grad is not None
    assert first.grad.tolist() == pytest.approx([2.12, 4.0])


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.lists(st.floats(-3, 3), min_size=3, max_size=3))
def test_gru_never_opposes_the_retain_gradient(forget: list[float], retain: list[float]) -> None:
    both = [parameter([0.0, 0.0], forget[:2]), parameter([0.0], forget[2:])]
    taken = take_gradients(both)
    for each, values in zip(both, (retain[:2], retain[2:]), strict=True):
        each.grad = torch.tensor(values)
    f, r = np.array(forget), np.array(retain)
    opposed = Rectifier(both, gamma=1.0).add(taken)
    found = np.concatenate([each.grad.numpy() for each in both if each.grad is not None])
    kept = found - r  # the forget component
    assert float(kept @ r) >= -1e-4
    if not opposed:
        assert kept == pytest.approx(f, abs=1e-5)


def test_gru_rectifies_against_the_moving_average_of_the_retain_gradient() -> None:
    one, two = parameter([0.0], [0.0]), parameter([0.0], [0.0])
    rectifier = Rectifier([one, two], gamma=0.5)

    def step(forget: tuple[float, float], retain: tuple[float, float]) -> list[float]:
        one.grad, two.grad = torch.tensor([retain[0]]), torch.tensor([retain[1]])
        rectifier.add([torch.tensor([forget[0]]), torch.tensor([forget[1]])])
        return [float(each.grad[0]) for each in (one, two) if each.grad is not None]

    # m = (0.5, 0): <f, m> = -1, |m|^2 = 1/4, so f + 4 m = (0, 1), and the retain gradient on top.
    assert step((-2.0, 1.0), (1.0, 0.0)) == pytest.approx([1.0, 1.0])
    # m = (0.25, 0.5): <f, m> = -0.25 though f does not oppose this batch's gradient; f + 0.8 m = (-0.8, 0.4).
    assert step((-1.0, 0.0), (0.0, 1.0)) == pytest.approx([-0.8, 1.4])
    other = Rectifier([one, two], gamma=0.5)
    other.load([value.clone() for value in rectifier.state()])
    assert [value.tolist() for value in other.state()] == [[0.25], [0.5]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "idk", "strata_control": {}}, "needs the loss of the fact's answer"),
        ({"preset": "rmu", "strata_control": {}}, "needs the loss of the fact's answer"),
        ({"preset": "grad_ascent", "constraint": {}}, "retain term"),
        ({"preset": "grad_ascent", "gru": True}, "retain term"),
        ({"preset": "grad_diff_gru", "sam_rho": 0.1}, "use one of them"),
        ({"preset": "task_vector", "adapter": {}}, "all parameters"),
        ({"preset": "loku", "retain": "none"}, "retain set"),
        ({"preset": "idk", "adapter": {"start": "fila"}}, "teaches another"),
        ({"preset": "retrain"}, "world write"),
        ({"preset": "rmu", "token_confidence": 1.0}, "token weights"),
        ({"preset": "never_seen", "margin": 1.0}, "no margin"),
    ],
)
def test_contradictory_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MethodConfig.model_validate(settings)


def test_a_nested_setting_changes_a_preset_and_keeps_the_rest() -> None:
    method = MethodConfig.model_validate({"preset": "never_seen_strata_loss_rank", "strata_control": {"goal": 0.1}})
    assert method.strata_control is not None
    assert (method.strata_control.by, method.strata_control.goal) == ("loss_rank", 0.1)
