"""Means over facts or over all answer tokens of a batch, by hand and for every split of the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_methods import ANSWERS, CPU, chosen, prepared

from factcensus.unlearn.config.method_config import MethodConfig
from factcensus.unlearn.objectives import objectives
from factcensus.unlearn.objectives.retain import retain_nll
from factcensus.unlearn.training.examples import Example
from factcensus.unlearn.training.gradients import Draw, Gradients
from factcensus.unlearn.training.ranks import Ranks
from factcensus.unlearn.training.references import CachedReference
from factcensus.unlearn.training.scoring import token_log_probabilities_of
from tiny import tiny_model

DRAWS = [Draw(index, 0) for index in (1, 3, 4, 6, 8, 9)]
#: Answers of one to three tokens, so that facts and tokens weigh differently.
RETAIN = tuple(Example(f"r{n}", (0, n, n + 1, 7), (n + 2, n + 3, n + 4)[: 1 + n % 3]) for n in range(20, 33))
WHICH = [0, 2, 3, 5, 7]


def gradients(method: MethodConfig, model: Any, **settings: Any) -> Gradients:
    made = Gradients(model, prepared(tiny_model("llama", 50), method), RETAIN, method, 0, layer=0, **settings)
    original = tiny_model("llama", 50)
    layer = 0 if method.retain == "embedding" else None
    made.retain_reference = CachedReference(original, RETAIN, range(len(RETAIN)), 0, layer, lambda: torch.no_grad())
    made.forget_reference = CachedReference(original, made.forget.examples, range(10), 0, None, lambda: torch.no_grad())
    return made


def test_retain_term_equals_the_case_computed_by_hand() -> None:
    tokens, mask = torch.tensor([[-0.1, -0.5], [-1.0, -9.0]]), torch.tensor([[True, True], [True, False]])
    assert float(retain_nll(tokens, mask)) == pytest.approx((0.3 + 1.0) / 2)
    assert float(retain_nll(tokens, mask, by_token=True)) == pytest.approx((0.1 + 0.5 + 1.0) / 3)


def test_both_terms_are_means_over_tokens() -> None:
    """Both terms equal sums over tokens that are divided once."""
    model = tiny_model("llama", 50)
    method = chosen("grad_diff", reduction="token", weights="count", weight_strength=0.5)
    made = gradients(method, model, micro_batch=2)
    drawn = [draw.index for draw in DRAWS]
    of_forget = token_log_probabilities_of(model, [ANSWERS[index] for index in drawn], 0, 8, CPU)
    of_retain = token_log_probabilities_of(model, [RETAIN[index] for index in WHICH], 0, 8, CPU)
    weights = made.forget.weights[drawn].tolist()
    forget = sum(weight * float(each.sum()) for weight, each in zip(weights, of_forget, strict=True))
    retain = -sum(float(each.sum()) for each in of_retain)
    assert made.add_forget(DRAWS, None)[0] == pytest.approx(forget / sum(map(len, of_forget)), rel=1e-5)
    assert made.add_retain(WHICH, 1.0) == pytest.approx(retain / sum(map(len, of_retain)), rel=1e-5)
    assert made.retain_term(WHICH) == pytest.approx(retain / sum(map(len, of_retain)), rel=1e-5)


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("grad_diff", {}),
        ("wga", {}),
        ("idk", {}),
        ("undial", {"retain": "nll"}),
        ("jensun", {}),
        ("rmu", {}),
        ("never_seen", {"retain": "kl"}),
        ("npo", {}),
    ],
)
def test_every_split_gives_the_same_gradient(preset: str, changes: dict[str, Any]) -> None:
    method = chosen(preset, reduction="token", **changes)

    def gradient(ranks: int, micro_batch: int | None) -> list[torch.Tensor]:
        model = tiny_model("llama", 50)
        for rank in range(ranks):
            part = Ranks()
            part.index, part.count = rank, ranks
            made = gradients(method, model, micro_batch=micro_batch, ranks=part)
            made.add_forget(DRAWS, None)
            made.add_retain(WHICH, 0.7)
        return [torch.zeros_like(each) if each.grad is None else each.grad for each in model.parameters()]

    whole = gradient(1, None)
    assert any(float(each.abs().max()) > 1e-6 for each in whole)
    for ranks, micro_batch in ((1, 1), (2, None), (3, 2), (8, 1)):
        for first, second in zip(whole, gradient(ranks, micro_batch), strict=True):
            torch.testing.assert_close(first, second, atol=1e-6, rtol=1e-5)


def test_losses_of_a_whole_answer_stay_means_over_facts() -> None:
    whole = {name for name, each in objectives().items() if not each.token_mean}
    assert {"npo", "simnpo", "dpo", "flat"} <= whole
    values = [
        gradients(chosen("simnpo", reduction=reduction), tiny_model("llama", 50)).add_forget(DRAWS, None)[0]
        for reduction in ("fact", "token")
    ]
    assert values[0] == values[1]


def test_losses_that_weight_tokens_cannot_be_reduced_by_token() -> None:
    for preset, parameters in (("grad_diff", {"ceiling_nats": 5.0}), ("ce_u", {"skip": 1})):
        with pytest.raises(ValueError, match="weighs all tokens equally"):
            chosen(preset, reduction="token", parameters=parameters)
