"""Each loss equals a case computed by hand, and its gradients and limits match its paper."""

from __future__ import annotations

import math
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.objectives import Objective, get_objective, objective, objectives
from factcensus.unlearn.objectives import registry as registry_module
from factcensus.unlearn.objectives.retain import retain_kl, retain_nll
from factcensus.unlearn.objectives.scores import AnswerScores

#: Three tokens with log p of -0.1, -0.2, -0.6: the sum S is 0.9, the mean l 0.3; then padding.
TOKENS = [[-0.1, -0.2, -0.6, 0.0]]
MASK = [[True, True, True, False]]


def scores(tokens: Any = None, reference: float = math.nan, margin: float = 0.0) -> AnswerScores:
    values = torch.tensor(TOKENS if tokens is None else tokens, dtype=torch.float64, requires_grad=True)
    return AnswerScores(values, torch.tensor(MASK), torch.tensor([reference]), torch.tensor([margin]))


def value(loss: torch.Tensor) -> float:
    return float(loss.detach())


def gradient(name: str, given_scores: AnswerScores, **parameters: Any) -> list[float]:
    """Return d loss / d log p of each token."""
    loss: Any = get_objective(name)(given_scores, parameters).sum()
    loss.backward()
    found = given_scores.token_log_probabilities.grad
    assert found is not None
    return found[0].tolist()


@pytest.mark.parametrize(
    ("name", "parameters", "given_scores", "by_hand"),
    [
        ("grad_ascent", {}, scores(), -0.3),
        ("grad_diff", {}, scores(), -0.3),
        ("grad_diff", {"ceiling_nats": 0.25}, scores(), -0.25),
        ("idk", {}, scores(), 0.3),
        # (2/2.5) ln(1 + e^(-0.75)) = 0.8 * 0.386871
        ("simnpo", {"beta": 2.5}, scores(), 0.309497),
        # (2/2.5) ln(1 + e^(2.5 * (1 - 0.3))) = 0.8 * 1.910224
        ("simnpo", {"beta": 2.5}, scores(margin=1.0), 1.528179),
        # (2/0.1) ln(1 + e^(-0.1 * (0.9 - 0.4))) = 20 * 0.668460
        ("npo", {"beta": 0.1}, scores(reference=0.4), 13.369193),
    ],
)
def test_loss_equals_the_case_computed_by_hand(
    name: str, parameters: dict[str, Any], given_scores: AnswerScores, by_hand: float
) -> None:
    assert value(get_objective(name)(given_scores, parameters)) == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("name", ["grad_ascent", "grad_diff", "simnpo", "npo"])
def test_descending_a_forget_loss_makes_the_answer_less_likely(name: str) -> None:
    found = gradient(name, scores(reference=0.9))
    assert all(value > 0 for value in found[:3])
    assert found[3] == 0


def test_descending_idk_makes_the_refusal_more_likely() -> None:
    assert gradient("idk", scores()) == pytest.approx([-1 / 3, -1 / 3, -1 / 3, 0])


@given(st.floats(0.05, 10), st.floats(0.01, 8), st.floats(-2, 4))
def test_simnpo_weight_is_twice_sigmoid_of_minus_beta_times_excess_loss(
    beta: float, loss: float, margin: float
) -> None:
    weight = 2 / (1 + math.exp(beta * (loss - margin)))
    found = gradient("simnpo", scores([[-loss, -loss, -loss, 0.0]], margin=margin), beta=beta)
    assert found[:3] == pytest.approx([weight / 3] * 3, rel=1e-5, abs=1e-12)


@given(st.floats(0.01, 2), st.floats(0.01, 8), st.floats(0.01, 8))
def test_npo_weight_is_twice_sigmoid_of_minus_beta_times_loss_increase(
    beta: float, loss: float, reference: float
) -> None:
    weight = 2 / (1 + math.exp(beta * (3 * loss - reference)))
    found = gradient("npo", scores([[-loss, -loss, -loss, 0.0]], reference=reference), beta=beta)
    assert found[:3] == pytest.approx([weight] * 3, rel=1e-5)


def test_npo_is_gradient_ascent_on_the_sum_as_beta_goes_to_zero() -> None:
    beta = 1e-6
    assert gradient("npo", scores(reference=0.4), beta=beta)[:3] == pytest.approx([1, 1, 1], abs=1e-5)
    shifted = value(get_objective("npo")(scores(reference=0.4), {"beta": beta})) - 2 / beta * math.log(2)
    assert shifted == pytest.approx(-(0.9 - 0.4), abs=1e-3)


def test_simnpo_is_gradient_ascent_as_beta_goes_to_zero() -> None:
    assert gradient("simnpo", scores(), beta=1e-7) == pytest.approx(gradient("grad_ascent", scores()), abs=1e-6)


def test_simnpo_weights_match_the_documented_values() -> None:
    for beta, one_nat in ((0.1, 0.95), (2.5, 0.15), (4.5, 0.02)):
        weight = 3 * gradient("simnpo", scores([[-1.0, -1.0, -1.0, 0.0]]), beta=beta)[0]
        assert weight == pytest.approx(one_nat, abs=0.005)


def test_grad_diff_has_no_gradient_above_its_ceiling() -> None:
    assert gradient("grad_diff", scores(), ceiling_nats=0.25) == [0, 0, 0, 0]
    assert gradient("grad_diff", scores(), ceiling_nats=0.35)[0] == pytest.approx(1 / 3)


def test_every_objective_has_a_formula_and_a_source() -> None:
    for known in objectives().values():
        assert known.formula
        assert known.source
        assert all(default is not None or name == "ceiling_nats" for name, default in known.parameters().items())


def test_errors_for_unknown_objectives_and_parameters_name_known_ones() -> None:
    with pytest.raises(ConfigError, match="simnpo"):
        get_objective("simpo")
    with pytest.raises(ConfigError, match="beta"):
        get_objective("simnpo").check_parameters({"betta": 1.0})


def test_packages_add_objectives_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def bring(value: Any) -> None:
        class Brought(EntryPoint):
            def load(self) -> Any:
                return value

        entry_point = Brought("mine", "package:mine", registry_module.GROUP)
        monkeypatch.setattr(registry_module, "entry_points", lambda group: [entry_point] * bool(group))
        objectives.cache_clear()

    @objective("mine", source="here")
    def mine(scores: AnswerScores, *, scale: float = 2.0) -> torch.Tensor:
        """-scale l."""
        return -scale * scores.mean_nll

    try:
        bring(mine)
        assert isinstance(mine, Objective)
        assert value(get_objective("mine")(scores(), {"scale": 3.0})) == pytest.approx(-0.9)
        bring(lambda: None)
        with pytest.raises(ConfigError, match="decorate"):
            objectives()
        bring(Objective("idk", mine.loss, "answer", frozenset(), False, "here"))
        with pytest.raises(ConfigError, match="already"):
            objectives()
    finally:
        monkeypatch.undo()
        objectives.cache_clear()


def test_retain_loss_is_the_mean_over_tokens_then_over_facts() -> None:
    tokens = torch.tensor([[-0.1, -0.2, -0.6], [-1.0, 0.0, 0.0]])
    mask = torch.tensor([[True, True, True], [True, False, False]])
    assert value(retain_nll(tokens, mask)) == pytest.approx((0.3 + 1.0) / 2)


def test_retain_divergence_equals_the_case_computed_by_hand() -> None:
    original = torch.tensor([[[math.log(0.5), math.log(0.5)], [9.0, -9.0]]], requires_grad=True)
    now = torch.tensor([[[math.log(0.8), math.log(0.2)], [0.0, 0.0]]], requires_grad=True)
    mask = torch.tensor([[True, False]])
    divergence = retain_kl(now, original, mask)
    assert value(divergence) == pytest.approx(0.5 * math.log(0.5 / 0.8) + 0.5 * math.log(0.5 / 0.2))
    divergence.backward()  # type: ignore[no-untyped-call]
    assert original.grad is None
    assert now.grad is not None
    assert now.grad[0, 0, 0] > 0  # too likely now, so descent makes it less likely
    assert value(retain_kl(original, original, mask)) == pytest.approx(0, abs=1e-7)
