from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from factcensus.eval.asking.token_record import score_answers
from factcensus.unlearn.training.examples import Example

EXAMPLES = [
    Example("", (2, 3, 4, 7), (9,)),
    Example("", (2, 3, 5, 7), (10, 11)),
    Example("", (5,), (7, 8, 9)),
    Example("", (4, 3, 7, 8), (12,)),
    Example("", (2, 3, 6, 7), (10, 11, 15, 13)),
    Example("", (2, 3, 6), (9, 10, 11)),
    Example("", (2, 3, 6), (9, 10, 4)),  # shares the pass of the example above
    Example("", (2, 3, 6, 9), (10, 11)),  # so do this one and the next, with other answers
    Example("", (2, 3, 6, 9, 10), (5,)),
]
FIELDS = ("log_probability", "entropy", "surprisal_deviation", "vocabulary_mean", "vocabulary_deviation", "margin")


def by_definition(model: PreTrainedModel, example: Example) -> dict[str, list[float]]:
    """Compute the token record of one example from a separate forward pass, in plain float64 loops."""
    ids = [*example.prompt_ids, *example.answer_ids]
    with torch.no_grad():
        logits = model.eval()(torch.tensor([ids])).logits[0].double()
    record: dict[str, list[float]] = {name: [] for name in (*FIELDS, "token_id", "rank", "top1_id")}
    for place, token in enumerate(example.answer_ids):
        row = logits[len(example.prompt_ids) + place - 1]
        log_p = [float(value) for value in row - torch.logsumexp(row, 0)]
        p = [math.exp(value) for value in log_p]
        entropy = -sum(q * value for q, value in zip(p, log_p, strict=True))
        mean = sum(log_p) / len(log_p)
        record["token_id"].append(token)
        record["log_probability"].append(log_p[token])
        record["rank"].append(sum(value > log_p[token] for value in log_p))
        record["entropy"].append(entropy)
        record["surprisal_deviation"].append(
            math.sqrt(sum(q * (value + entropy) ** 2 for q, value in zip(p, log_p, strict=True)))
        )
        record["vocabulary_mean"].append(mean)
        record["vocabulary_deviation"].append(math.sqrt(sum((value - mean) ** 2 for value in log_p) / len(log_p)))
        record["top1_id"].append(log_p.index(max(log_p)))
        record["margin"].append(log_p[token] - max(value for i, value in enumerate(log_p) if i != token))
    return record


@pytest.mark.parametrize("batch_tokens", [1, 12, 4096])
def test_record_does_not_depend_on_the_batch(model: PreTrainedModel, batch_tokens: int) -> None:
    found = score_answers(model, EXAMPLES, batch_tokens=batch_tokens)
    assert model.training, "the model's mode is left as it was"
    for example, scores in zip(EXAMPLES, found, strict=True):
        expected = by_definition(model, example)
        for name, values in expected.items():
            np.testing.assert_allclose(getattr(scores, name), values, rtol=1e-4, atol=1e-5, err_msg=name)
        assert scores.total_log_probability == pytest.approx(sum(expected["log_probability"]), abs=1e-4)


class Fixed(nn.Module):
    """A model without context, which returns the same logits everywhere."""

    device = torch.device("cpu")

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)

    def forward(self, input_ids: torch.Tensor, use_cache: bool = False) -> CausalLMOutput:
        assert not use_cache
        return CausalLMOutput(logits=self.logits.expand(*input_ids.shape, -1))


def test_answers_with_the_same_input_share_a_pass(model: PreTrainedModel) -> None:
    seen: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda _, __, arguments: seen.append(len(arguments["input_ids"])), with_kwargs=True
    )
    score_answers(model, EXAMPLES)
    hook.remove()
    assert sum(seen) == len(EXAMPLES) - 3


def test_hand_computed_record() -> None:
    """Probabilities 1/2, 1/4, 1/4 over three tokens."""
    [scores] = score_answers(Fixed([math.log(2.0), 0.0, 0.0]), [Example("", (0,), (0, 1))])  # type: ignore[arg-type]
    ln2 = math.log(2)
    np.testing.assert_allclose(scores.log_probability, [-ln2, -2 * ln2], rtol=1e-6)
    assert scores.rank.tolist() == [0, 1]
    np.testing.assert_allclose(scores.entropy, [1.5 * ln2] * 2, rtol=1e-6)
    np.testing.assert_allclose(scores.surprisal_deviation, [0.5 * ln2] * 2, rtol=1e-6)
    np.testing.assert_allclose(scores.vocabulary_mean, [-5 / 3 * ln2] * 2, rtol=1e-6)
    np.testing.assert_allclose(scores.vocabulary_deviation, [math.sqrt(2) / 3 * ln2] * 2, rtol=1e-6)
    np.testing.assert_allclose(scores.margin, [ln2, -ln2], rtol=1e-6)
    assert scores.top1_id.tolist() == [0, 0]


def test_collapsed_model_gives_nan_not_a_number() -> None:
    [scores] = score_answers(Fixed([math.nan, 0.0, 0.0]), [Example("", (0,), (1,))])  # type: ignore[arg-type]
    assert math.isnan(scores.total_log_probability)


def test_no_examples_give_an_empty_record(model: PreTrainedModel) -> None:
    assert score_answers(model, []) == []
