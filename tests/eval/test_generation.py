from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutputWithPast

from factcensus.eval.asking.generation import (
    Continuation,
    continue_greedily,
    first_line,
    sample_continuations,
    token_limit,
)

PROMPTS = [[2, 3, 4, 7], [2, 3, 5, 7], [5], [4, 3, 7, 8], [6, 3]]


def one_by_one(model: PreTrainedModel, prompt: list[int], limit: int) -> list[int]:
    """Decode one prompt greedily without a cache, up to the end-of-text token."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(limit):
            token = int(model.eval()(torch.tensor([ids])).logits[0, -1].argmax())
            if token == 0:
                break
            ids.append(token)
    return ids[len(prompt) :]


@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_continuations_do_not_depend_on_the_batch(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, batch_tokens: int
) -> None:
    limits = [5, 3, 6, 0, 4]
    found = continue_greedily(model, tokenizer, PROMPTS, limits, batch_tokens=batch_tokens)
    assert model.training
    for prompt, limit, continuation in zip(PROMPTS, limits, found, strict=True):
        expected = one_by_one(model, prompt, limit)
        upto = next((place + 1 for place, token in enumerate(expected) if token == 15 and place), len(expected))
        assert list(continuation.token_ids) == expected[:upto]


class Script(nn.Module):
    """A model that outputs the tokens of a script, whatever the prompt, and has no cache."""

    device = torch.device("cpu")
    generation_config = None

    def __init__(self, script: list[int], prompt_tokens: int) -> None:
        super().__init__()
        self.script, self.prompt_tokens = script, prompt_tokens
        self.config = type("Config", (), {"eos_token_id": [0]})

    def forward(
        self, input_ids: torch.Tensor, past_key_values: object = None, use_cache: bool = False
    ) -> CausalLMOutputWithPast:
        assert past_key_values is None
        assert use_cache
        logits = torch.zeros(*input_ids.shape, 16)
        place = input_ids.shape[1] - self.prompt_tokens
        logits[:, -1, self.script[place]] = 1.0
        return CausalLMOutputWithPast(logits=logits)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([10, 11, 0, 9], Continuation("new york", (10, 11), True)),
        ([9, 15, 10, 11, 10], Continuation("rome", (9, 15), True)),
        ([15, 9, 15, 12], Continuation("rome", (15, 9, 15), True)),  # an empty line first, then the answer
        ([9, 9, 9, 9, 9, 9], Continuation("rome rome rome", (9, 9, 9), False)),
        ([0], Continuation("", (), True)),
    ],
)
def test_continuation_stops_at_end_of_text_end_of_line_or_limit(
    tokenizer: PreTrainedTokenizerFast, script: list[int], expected: Continuation
) -> None:
    model = Script(script, prompt_tokens=2)
    [found] = continue_greedily(model, tokenizer, [[2, 3]], [3])  # type: ignore[arg-type]
    assert found == expected


def test_the_prompt_is_never_part_of_the_text(tokenizer: PreTrainedTokenizerFast) -> None:
    model = Script([12, 0], prompt_tokens=3)
    [found] = continue_greedily(model, tokenizer, [[9, 10, 11]], [4])  # type: ignore[arg-type]
    assert found.text == "oslo"


def test_limit_is_twice_the_answer_plus_a_few_tokens() -> None:
    assert token_limit(1) == 6
    assert token_limit(5) == 14


@pytest.mark.parametrize(("text", "line"), [("  a b \n c", "a b"), ("\n\n a", "a"), ("", ""), (" \n ", "")])
def test_only_the_first_line_with_text_is_read(text: str, line: str) -> None:
    assert first_line(text) == line


@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_samples_of_a_prompt_do_not_depend_on_other_prompts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, batch_tokens: int
) -> None:
    limits = [5, 3, 6, 0, 4]
    together = sample_continuations(model, tokenizer, PROMPTS, limits, samples=4, seed=1, batch_tokens=batch_tokens)
    for prompt, limit, drawn in zip(PROMPTS, limits, together, strict=True):
        [alone] = sample_continuations(model, tokenizer, [prompt], [limit], samples=4, seed=1)
        assert alone == drawn
        assert len(drawn) == 4
    [fewer] = sample_continuations(model, tokenizer, PROMPTS[:1], limits[:1], samples=2, seed=1)
    assert fewer == together[0][:2], "more samples are the same ones plus others"
    assert together != sample_continuations(model, tokenizer, PROMPTS, limits, samples=4, seed=2)


def test_samples_follow_the_distribution_of_the_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    """First tokens of 4000 samples against the softmax: the G statistic of 16 tokens is below its 99.99% quantile."""
    with torch.no_grad():
        p = model.eval()(torch.tensor([PROMPTS[0]])).logits[0, -1].double().softmax(0).numpy()
    [drawn] = sample_continuations(model, tokenizer, PROMPTS[:1], [1], samples=4000, seed=0)
    seen = np.bincount([each.token_ids[0] if each.token_ids else 0 for each in drawn], minlength=16)
    expected = 4000 * p
    there = seen > 0
    assert 2 * (seen[there] * np.log(seen[there] / expected[there])).sum() < 45


def test_sample_at_low_temperature_is_the_greedy_continuation(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast
) -> None:
    greedy = continue_greedily(model, tokenizer, PROMPTS, [6] * 5)
    cold = sample_continuations(model, tokenizer, PROMPTS, [6] * 5, samples=3, seed=0, temperature=1e-4)
    assert cold == [[each] * 3 for each in greedy]
