"""Greedy continuations: what the model says when asked, without the prompt.

The loop is our own, thirty lines, because ``model.generate`` obeys a checkpoint's generation_config.json (repetition
penalties, forced tokens, sampling) and pads unequal prompts; a measurement should do neither. A continuation stops at
an end-of-text token, at the end of its first line, or at a cap that the caller sets from the gold answer: a collapsed
model never ends by itself, and a generous fixed cap makes the worst checkpoints the slowest to evaluate.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import torch

from factcensus.eval.batching import equal_length_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Tokens a continuation may have beyond twice its gold answer: room for "It is ..." and a full stop.
EXTRA_TOKENS = 4


def token_limit(answer_tokens: int) -> int:
    """The cap on a continuation: twice the gold answer and a few tokens more."""
    return 2 * answer_tokens + EXTRA_TOKENS


@dataclass(frozen=True, slots=True)
class Continuation:
    """A greedy continuation.

    Attributes:
        text: Its first line, without the prompt, special tokens and outer white space.
        token_ids: What was generated, the stop token excluded.
        finished: True if it ended by itself (end of text or of the line), False if the cap cut it.
    """

    text: str
    token_ids: tuple[int, ...]
    finished: bool


@torch.inference_mode()
def continue_greedily(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    *,
    stop_ids: Collection[int] = (),
    batch_tokens: int = 4096,
) -> list[Continuation]:
    """Continue each prompt by its most probable tokens, at most ``limits[i]`` of them; results in order.

    Args:
        prompts: Token ids, at least one each.
        limits: Greatest number of new tokens of each prompt.
        stop_ids: Tokens that end the text; the tokenizer's and the model's end-of-text tokens are always among them.
    """
    was_training = model.training
    model.train(False)
    stops = frozenset(stop_ids) | _end_ids(model, tokenizer)
    results: dict[int, Continuation] = {}
    try:
        for indices in equal_length_batches([len(prompt) for prompt in prompts], batch_tokens):
            batch = _continue_batch(
                model, tokenizer, [prompts[i] for i in indices], [limits[i] for i in indices], stops
            )
            results.update(zip(indices, batch, strict=True))
    finally:
        model.train(was_training)
    return [results[index] for index in range(len(prompts))]


def _end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """End-of-text ids that the tokenizer, the model's configuration and its generation configuration name."""
    generation_config = getattr(model, "generation_config", None)
    named: list[Any] = [
        tokenizer.eos_token_id,
        model.config.eos_token_id,
        getattr(generation_config, "eos_token_id", None),
    ]
    lists = [value if isinstance(value, list | tuple) else [value] for value in named if value is not None]
    return frozenset(int(value) for values in lists for value in values)


def _continue_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    stops: frozenset[int],
) -> list[Continuation]:
    """Greedy decoding of prompts of one length, with the model's key-value cache."""
    decode = partial(tokenizer.decode, skip_special_tokens=True)
    breaks_line = cache(lambda token: "\n" in str(decode([token])))
    generated: list[list[int]] = [[] for _ in prompts]
    finished = [False] * len(prompts)
    waiting = {row for row, limit in enumerate(limits) if limit > 0}
    all_ids = torch.tensor([list(prompt) for prompt in prompts], device=model.device)  # (B, L)
    step_ids, past = all_ids, None
    while waiting:
        output = model(input_ids=step_ids, past_key_values=past, use_cache=True)
        past = getattr(output, "past_key_values", None)
        next_ids = output.logits[:, -1].argmax(-1)  # (B,)
        all_ids = torch.cat([all_ids, next_ids[:, None]], dim=1)
        step_ids = all_ids if past is None else next_ids[:, None]
        tokens_of_row = next_ids.tolist()  # one transfer a step, not one a row
        for row in sorted(waiting):
            token = tokens_of_row[row]
            if token in stops:
                finished[row] = True
            else:
                generated[row].append(token)
                # A line ends at a line break that has text before it: chat models often open with an empty line.
                finished[row] = breaks_line(token) and "\n" in str(decode(generated[row])).lstrip()
            if finished[row] or len(generated[row]) >= limits[row]:
                waiting.discard(row)
    return [
        Continuation(first_line(str(decode(tokens))), tuple(tokens), done)
        for tokens, done in zip(generated, finished, strict=True)
    ]


def first_line(text: str) -> str:
    """The first line that is not blank, without outer white space; empty if there is none."""
    return text.lstrip().partition("\n")[0].rstrip()
