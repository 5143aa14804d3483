"""Losses over distributions and pairs: values by hand, gradients by formula, limits from the papers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.objectives import get_objective, objectives
from factcensus.unlearn.objectives.retain import retain_embedding, retain_jsd
from factcensus.unlearn.objectives.scores import AnswerScores

#: Three tokens over a vocabulary of three; the answer is token 0 at each position; then padding.
P = [[0.5, 0.3, 0.2], [0.8, 0.1, 0.1], [0.2, 0.7, 0.1]]
REFERENCE = [[0.6, 0.2, 0.2], [0.9, 0.05, 0.05], [0.4, 0.4, 0.2]]
MASK = torch.tensor([[True, True, True, False]])


def padded(rows: list[list[float]], fill: float = 0.0) -> torch.Tensor:
    return torch.tensor([[*rows, [fill, 0.0, 0.0]]], dtype=torch.float64)


def scores(p: list[list[float]] | None = None, fill: float = 0.0, **fields: Any) -> tuple[AnswerScores, torch.Tensor]:
    """Return scores with all fields, and their logits (a leaf tensor). ``fill`` is the value in the padding."""
    logits = padded(P if p is None else p).log()
    logits[0, 3] = torch.tensor([fill, 1.0, -1.0])
    logits.requires_grad_(True)
    ids = torch.zeros(1, 4, dtype=torch.long)
    tokens = logits.log_softmax(-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    other = torch.tensor([[-0.3, -0.4, fill, fill]], dtype=torch.float64, requires_grad=True)
    preferred = AnswerScores(
        other,
        torch.tensor([[True, True, False, False]]),
        torch.tensor([0.9], dtype=torch.float64),
        torch.tensor([0.0]),
    )
    everything: dict[str, Any] = {
        "reference_nll": torch.tensor([1.1], dtype=torch.float64),
        "margin": torch.tensor([0.0]),
        "answer_ids": ids,
        "logits": logits,
        "hidden": padded([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [-1.0, 1.0, 0.0]], fill),
        "reference_logits": padded([[math.log(v) for v in row] for row in REFERENCE], fill),
        "target": torch.tensor([[math.log(0.1), math.log(0.75), math.log(0.2), fill]], dtype=torch.float64),
        "replacement_ids": torch.tensor([[1, 2, 1, 2]]),
        "preferred": preferred,
    }
    return AnswerScores(tokens, MASK, **{**everything, **fields}), logits


def loss(name: str, given_scores: AnswerScores, **parameters: Any) -> torch.Tensor:
    return get_objective(name)(given_scores, parameters).sum()


def gradient(name: str, p: list[list[float]] | None = None, **parameters: Any) -> torch.Tensor:
    """Return d loss / d logit, (4, 3)."""
    given_scores, logits = scores(p)
    (found,) = torch.autograd.grad(loss(name, given_scores, **parameters), logits)
    return found[0]


def bernoulli(q: float, p: float) -> float:
    return q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))


def jsd_to_one_hot(q: float) -> float:
    """Return the divergence by definition, over (k, all others)."""
    middle = (1 + q) / 2
    return 0.5 * (q * math.log(q / middle) + (1 - q) * math.log(2)) + 0.5 * math.log(1 / middle)


BY_HAND: dict[str, tuple[dict[str, Any], float]] = {
    "inverted_hinge": ({}, np.mean([1 + 0.5 - 0.3, 1 + 0.8 - 0.1, 1 + 0.2 - 0.7])),
    "flatten": ({}, np.mean([(max(z) - np.mean(z)) ** 2 for z in np.log(P)])),
    "jensun": ({}, np.mean([jsd_to_one_hot(0.3), jsd_to_one_hot(0.1), jsd_to_one_hot(0.7)])),
    "never_seen": ({}, np.mean([bernoulli(0.1, 0.5), bernoulli(0.75, 0.8), 0.0])),
    "learn": ({}, -np.mean(np.log([0.5, 0.8, 0.2]))),
    # The teacher is the distribution without token 0: (.6, .4), (.5, .5), (.875, .125).
    "ce_u": (
        {},
        -np.mean(
            [
                0.6 * math.log(0.3) + 0.4 * math.log(0.2),
                math.log(0.1),
                0.875 * math.log(0.7) + 0.125 * math.log(0.1),
            ]
        ),
    ),
    # S = ln 12.5 = 2.525729, S0 = 1.1; preferred: S = 0.7, S0 = 0.9; d = 0.2 - (1.1 - 2.525729) = 1.625729.
    "dpo": ({"beta": 0.1}, 20 * math.log(1 + math.exp(-0.1 * (0.2 - 1.1 + math.log(12.5))))),
    # P = (e^-.3 + e^-.4) / 2 and .5; kl: -(P(template) - e^(P(answer) - 1)).
    "flat": ({}, -((math.exp(-0.3) + math.exp(-0.4)) / 2 - math.exp(0.5 - 1))),
}


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_loss_equals_the_case_computed_by_hand(name: str) -> None:
    parameters, by_hand = BY_HAND[name]
    assert float(loss(name, scores()[0], **parameters).detach()) == pytest.approx(by_hand, abs=1e-9)


def test_undial_equals_the_case_computed_by_hand() -> None:
    expected = []
    for now, before in zip(P, REFERENCE, strict=True):
        lowered = np.array(before) * np.array([math.exp(-2.0), 1, 1])
        expected.append(-(lowered / lowered.sum() * np.log(now)).sum())
    found = loss("undial", scores()[0], beta=2.0).detach()
    assert float(found) == pytest.approx(np.mean(expected), abs=1e-9)


def test_rmu_equals_the_case_computed_by_hand() -> None:
    u = torch.rand(3, generator=torch.Generator().manual_seed(4))
    goal = (2.0 * u / u.norm()).numpy()
    rows = np.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [-1.0, 1.0, 0.0]])
    expected = ((rows - goal) ** 2).mean(axis=1).mean()
    found = loss("rmu", scores()[0], steering=2.0, direction_seed=4)
    assert float(found) == pytest.approx(expected, rel=1e-6)
    assert ((rows[1] - goal) ** 2).sum() == pytest.approx(4, rel=1e-6)  # c u has length c


@pytest.mark.parametrize(
    ("divergence", "g", "conjugate"),
    [
        ("kl", lambda v: v, lambda u: math.exp(u - 1)),
        ("total_variation", lambda v: 0.5 * math.tanh(v), lambda u: u),
        ("pearson", lambda v: v, lambda u: 0.25 * u * u + u),
        ("jensen_shannon", lambda v: math.log(2 / (1 + math.exp(-v))), lambda u: -math.log(2 - math.exp(u))),
    ],
)
def test_flat_has_the_variational_form_of_each_divergence(divergence: str, g: Any, conjugate: Any) -> None:
    template, answer = (math.exp(-0.3) + math.exp(-0.4)) / 2, 0.5
    found = loss("flat", scores()[0], divergence=divergence).detach()
    assert float(found) == pytest.approx(-(g(template) - conjugate(g(answer))), abs=1e-9)


def test_flat_error_names_the_known_divergences() -> None:
    with pytest.raises(ConfigError, match="pearson"):
        loss("flat", scores()[0], divergence="chi")


# Gradients: sign and weight ------------------------------------------------------------------------------------------

CONFIDENCE = st.floats(0.01, 0.98)


def one_fact(p: float) -> list[list[float]]:
    return [[p, (1 - p) * 0.75, (1 - p) * 0.25]] * 3


@given(CONFIDENCE)
def test_gradients_of_the_answer_logit_match_the_docstrings(p: float) -> None:
    runner_up = (1 - p) * 0.75
    targets = [0.1, 0.75, 0.2]
    assert gradient("never_seen", one_fact(p))[:3, 0].tolist() == pytest.approx(
        [(p - q) / 3 for q in targets], abs=1e-9
    )
    assert gradient("ce_u", one_fact(p))[:3, 0].tolist() == pytest.approx([p / 3] * 3, abs=1e-9)
    assert gradient("inverted_hinge", one_fact(p))[:3, 0].tolist() == pytest.approx(
        [p * (1 - p + runner_up) / 3] * 3, abs=1e-9
    )
    q = runner_up
    assert float(gradient("jensun", one_fact(p))[0, 1]) == pytest.approx(
        q * (1 - q) * math.log(q / (1 + q)) / 2 / 3, abs=1e-9
    )
    z = np.log(one_fact(p)[0])
    assert float(gradient("flatten", one_fact(p))[0, int(z.argmax())]) == pytest.approx(
        2 * (z.max() - z.mean()) * (1 - 1 / 3) / 3, abs=1e-9
    )


@pytest.mark.parametrize("name", ["never_seen", "ce_u", "inverted_hinge", "undial", "dpo", "flat", "grad_diff"])
def test_descending_makes_a_known_answer_less_likely(name: str) -> None:
    found = gradient(name, one_fact(0.9))
    assert bool((found[:3, 0] > 0).all())
    assert found[3].tolist() == [0, 0, 0]  # the padding


def test_descending_a_preference_makes_the_preferred_answer_likelier() -> None:
    for name in ("dpo", "flat"):
        given_scores, _ = scores()
        assert given_scores.preferred is not None
        (found,) = torch.autograd.grad(loss(name, given_scores), given_scores.preferred.token_log_probabilities)
        assert bool((found[0, :2] < 0).all())
        assert found[0, 2:].tolist() == [0, 0]


def test_gradient_ascent_barely_moves_known_facts_but_never_seen_does() -> None:
    sure, unsure = one_fact(0.98), one_fact(0.3)
    ascent = float(gradient("grad_diff", sure)[0, 0] / gradient("grad_diff", unsure)[0, 0])
    ours = float(gradient("never_seen", sure)[0, 0] / gradient("never_seen", unsure)[0, 0])
    assert ascent == pytest.approx(0.02 / 0.7)
    assert ours == pytest.approx(0.88 / 0.2)


# Limits --------------------------------------------------------------------------------------------------------------


def test_never_seen_is_unlikelihood_training_at_level_zero() -> None:
    given_scores, _ = scores(target=torch.full((1, 4), -math.inf, dtype=torch.float64))
    expected = -np.mean(np.log1p(-np.array([0.5, 0.8, 0.2])))
    assert float(loss("never_seen", given_scores).detach()) == pytest.approx(expected, abs=1e-9)


def test_never_seen_is_finite_for_certain_answers() -> None:
    logits = torch.tensor([[[200.0, 0.0, 0.0]] * 3 + [[0.0, 0.0, 0.0]]], requires_grad=True)
    given_scores = dataclasses.replace(scores()[0], logits=logits, target=torch.full((1, 4), -5.0))
    (found,) = torch.autograd.grad(loss("never_seen", given_scores), logits)
    assert found[0, 0, 0] == pytest.approx((1 - math.exp(-5)) / 3, rel=1e-5)


def test_undial_at_beta_zero_has_no_gradient_at_the_original() -> None:
    assert gradient("undial", REFERENCE, beta=0.0).abs().max() == pytest.approx(0, abs=1e-9)


def test_jensun_is_bounded_by_ln_2() -> None:
    tiny = [[1 - 2e-12, 1e-12, 1e-12]] * 3
    assert float(loss("jensun", scores(tiny)[0]).detach()) == pytest.approx(math.log(2), abs=1e-9)
    certain = [[1e-12, 1 - 2e-12, 1e-12], [1e-12, 1e-12, 1 - 2e-12], [1e-12, 1 - 2e-12, 1e-12]]
    assert float(loss("jensun", scores(certain)[0]).detach()) == pytest.approx(0, abs=1e-9)


def test_dpo_without_a_preferred_answer_is_npo() -> None:
    given_scores, _ = scores()
    assert given_scores.preferred is not None
    indifferent = dataclasses.replace(given_scores.preferred, reference_nll=given_scores.preferred.nll.detach())
    without = dataclasses.replace(given_scores, preferred=indifferent)
    assert float(loss("dpo", without).detach()) == pytest.approx(float(loss("npo", without).detach()))


@given(st.floats(0.01, 5), st.lists(st.floats(0.01, 9), min_size=4, max_size=4))
def test_npo_and_dpo_equal_a_float64_reference_written_from_the_papers(beta: float, nll: list[float]) -> None:
    """NPO eq. 3: (2/beta) E log(1 + (pi/pi_ref)^beta). DPO eq. 7: -log sigmoid(beta log-ratio differences)."""
    now, before, other_now, other_before = (np.float64(value) for value in nll)
    npo = 2 / beta * np.log1p((np.exp(-now) / np.exp(-before)) ** beta)
    ratio_preferred, ratio_rejected = -other_now + other_before, -now + before
    dpo = -np.log(1 / (1 + np.exp(-beta * (ratio_preferred - ratio_rejected))))
    one = torch.tensor([[True]])

    def made(value: float, reference: float, preferred: AnswerScores | None = None) -> AnswerScores:
        tokens = torch.tensor([[-value]], dtype=torch.float64)
        known = torch.tensor([reference], dtype=torch.float64)
        return AnswerScores(tokens, one, known, torch.zeros(1), preferred=preferred)

    both = made(now, before, made(other_now, other_before))
    assert float(get_objective("npo")(both, {"beta": beta})) == pytest.approx(float(npo), rel=1e-9)
    assert float(get_objective("dpo")(both, {"beta": beta})) == pytest.approx(2 / beta * float(dpo), rel=1e-9)


def test_ce_u_skips_first_tokens_but_never_a_whole_answer() -> None:
    skipped = gradient("ce_u", skip=1.0)
    assert skipped[0].tolist() == [0, 0, 0]
    assert float(skipped[1, 0]) == pytest.approx(0.8 / 2)
    assert gradient("ce_u", skip=3.0).tolist() == gradient("ce_u").tolist()


# Token weights, padding ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("a", "b"), [(1, 0), (5, 1)], ids=["wga", "sat_imp"])
def test_token_weights_give_the_published_losses(a: float, b: float) -> None:
    p = np.array([0.5, 0.8, 0.2])
    weights = p**a * (1 - p) ** b
    given_scores, logits = scores(token_weights=torch.tensor([[*weights, 7.0]]))
    found = loss("grad_diff", given_scores)
    assert float(found.detach()) == pytest.approx(float((weights * np.log(p)).mean()), abs=1e-9)
    (slope,) = torch.autograd.grad(found, logits)
    assert slope[0, :3, 0].tolist() == pytest.approx((weights * (1 - p) / 3).tolist(), abs=1e-9)


@pytest.mark.parametrize("name", sorted(objectives()))
def test_values_in_the_padding_change_nothing(name: str) -> None:
    clean, dirty = scores()[0], scores(fill=-7.0)[0]
    assert float(loss(name, clean).detach()) == float(loss(name, dirty).detach())


def test_retain_divergences_equal_the_case_computed_by_hand() -> None:
    now = padded([[math.log(0.8), math.log(0.2), -90.0]])[:, :1]
    before = padded([[math.log(0.5), math.log(0.5), -90.0]])[:, :1]
    mask = torch.tensor([[True]])
    p, q, m = np.array([0.8, 0.2]), np.array([0.5, 0.5]), np.array([0.65, 0.35])
    jsd = 0.5 * (p * np.log(p / m)).sum() + 0.5 * (q * np.log(q / m)).sum()
    assert float(retain_jsd(now, before, mask)) == pytest.approx(jsd, rel=1e-5)
    assert float(retain_jsd(before, now, mask)) == pytest.approx(jsd, rel=1e-5)
    assert float(retain_jsd(now, now, mask)) == pytest.approx(0, abs=1e-7)
    hidden, other = torch.tensor([[[1.0, 3.0], [9.0, 9.0]]]), torch.zeros(1, 2, 2)
    assert float(retain_embedding(hidden, other, torch.tensor([[True, False]]))) == pytest.approx(5.0)
