"""Continuations: what the model says when asked, without the prompt; the most probable one, and samples.

The loop is our own because ``model.generate`` obeys a checkpoint's generation_config.json (repetition penalties,
forced tokens, sampling) and pads unequal prompts; a measurement should do neither. A continuation stops at
an end-of-text token, at the end of its first line, or at a cap that the caller sets from the gold answer: a collapsed
model never ends by itself, and a generous fixed cap makes the worst checkpoints the slowest to evaluate.

Samples are drawn at temperature 1 from the whole distribution: what the model says, not what a decoder makes of it.
Each prompt has random numbers of its own, from the seed and its token ids, so a sample does not depend on the batch.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from factcensus.eval.asking.batching import equal_length_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: Tokens a continuation may have beyond twice its gold answer: room for "It is ..." and a full stop.
EXTRA_TOKENS = 4
#: From (R, V) logits, the row of each text, the texts' numbers and the step: the next token of each text.
_Choose = Callable[[torch.Tensor, list[int], list[int], int], torch.Tensor]


def token_limit(answer_tokens: int, room: int | None = None) -> int:
    """Return the cap on a continuation: twice the gold answer and a few tokens more, and not beyond ``room``."""
    cap = 2 * answer_tokens + EXTRA_TOKENS
    return cap if room is None else min(cap, room)


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a model went on with.

    Attributes:
        text: Its first line, without the prompt, special tokens and outer white space.
        token_ids: What was generated, the stop token excluded.
        finished: True if it ended by itself (end of text or of the line), False if the cap cut it.
    """

    text: str
    token_ids: tuple[int, ...]
    finished: bool


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

    def choose_for(_: Sequence[int]) -> _Choose:
        return lambda logits, rows, texts, step: logits.argmax(-1)[rows]  # noqa: ARG005 - the shape of a chooser

    found = _continue(model, tokenizer, prompts, limits, 1, choose_for, stop_ids, batch_tokens)
    return [continuations[0] for continuations in found]


def sample_continuations(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    *,
    samples: int,
    seed: int,
    temperature: float = 1.0,
    stop_ids: Collection[int] = (),
    batch_tokens: int = 4096,
) -> list[list[Continuation]]:
    """Draw ``samples`` independent continuations of each prompt; otherwise as :func:`continue_greedily`.

    Args:
        samples: At least 1.
        seed: With a prompt's token ids it decides that prompt's samples, whatever else is asked.
        temperature: Divides the logits; above 0.
    """

    def choose_for(indices: Sequence[int]) -> _Choose:
        longest = max((limits[index] for index in indices), default=0)
        drawn = [_uniforms(prompts[index], samples, longest, seed) for index in indices]
        uniforms = torch.from_numpy(np.concatenate(drawn)).to(model.device)  # (B * samples, longest)

        def choose(logits: torch.Tensor, rows: list[int], texts: list[int], step: int) -> torch.Tensor:
            cumulative = (logits.float() / temperature).softmax(-1).cumsum(-1)[rows]  # (texts, V)
            wanted = uniforms[texts, step][:, None] * cumulative[:, -1:]  # rounding may leave the sum below 1
            return torch.searchsorted(cumulative, wanted)[:, 0].clamp(max=logits.shape[-1] - 1)

        return choose

    return _continue(model, tokenizer, prompts, limits, samples, choose_for, stop_ids, batch_tokens)


def _uniforms(prompt: Sequence[int], samples: int, tokens: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Random numbers in [0, 1) of one prompt, (samples, tokens); those of a shorter limit are the first of a longer."""
    key = zlib.crc32(np.asarray(prompt, np.int64).tobytes())
    streams = np.random.SeedSequence([seed, key]).spawn(samples)
    return np.stack([np.random.Generator(np.random.PCG64(each)).random(tokens, np.float32) for each in streams])


@torch.inference_mode()
def _continue(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    limits: Sequence[int],
    copies: int,
    choose_for: Callable[[Sequence[int]], _Choose],
    stop_ids: Collection[int],
    batch_tokens: int,
) -> list[list[Continuation]]:
    """All prompts, ``copies`` continuations each, in order. The model is left in the mode it had."""
    was_training = model.training
    model.train(False)
    texts = _Texts(tokenizer, frozenset(stop_ids) | _end_ids(model, tokenizer))
    results: dict[int, list[Continuation]] = {}
    try:
        for indices in equal_length_batches([len(prompt) for prompt in prompts], max(1, batch_tokens // copies)):
            batch = [list(prompts[index]) for index in indices]
            capped = [limits[index] for index in indices for _ in range(copies)]
            found = _continue_batch(model, texts, batch, capped, choose_for(indices))
            results.update({index: found[n * copies : (n + 1) * copies] for n, index in enumerate(indices)})
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


class _Texts:
    """What tokens say, and where a text is over."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: frozenset[int]) -> None:
        self.stops = stops
        self.decode = partial(tokenizer.decode, skip_special_tokens=True)
        self._breaks_line = cache(lambda token: "\n" in str(self.decode([token])))

    def line_is_over(self, tokens: list[int]) -> bool:
        """A line ends at a line break that has text before it: chat models often open with an empty line."""
        return self._breaks_line(tokens[-1]) and "\n" in str(self.decode(tokens)).lstrip()

    def continuation(self, tokens: list[int], finished: bool) -> Continuation:
        return Continuation(first_line(str(self.decode(tokens))), tuple(tokens), finished)


def _continue_batch(
    model: PreTrainedModel, texts: _Texts, prompts: list[list[int]], limits: list[int], choose: _Choose
) -> list[Continuation]:
    """Decode prompts of one length, as many texts of each as there are limits for it.

    Texts of one prompt that have said the same so far share a row: eight samples of a confident model cost little more
    than one, and a text that is over costs nothing.
    """
    generated: list[list[int]] = [[] for _ in limits]
    finished = [False] * len(limits)
    copies = len(limits) // len(prompts)
    row_of = {text: text // copies for text, limit in enumerate(limits) if limit > 0}
    rows = _Rows(model, prompts)
    step = 0
    while row_of:
        waiting = list(row_of)
        next_ids = choose(rows.logits(), [row_of[text] for text in waiting], waiting, step).tolist()
        for text, token in zip(waiting, next_ids, strict=True):
            if token in texts.stops:
                finished[text] = True
            else:
                generated[text].append(token)
                finished[text] = texts.line_is_over(generated[text])
        said = {
            text: (row_of[text], token)
            for text, token in zip(waiting, next_ids, strict=True)
            if not finished[text] and len(generated[text]) < limits[text]
        }
        place = {prefix: number for number, prefix in enumerate(dict.fromkeys(said.values()))}
        row_of = {text: place[prefix] for text, prefix in said.items()}
        if place:
            rows.go_on([row for row, _ in place], [token for _, token in place])
        step += 1
    return [texts.continuation(tokens, done) for tokens, done in zip(generated, finished, strict=True)]


class _Rows:
    """The model's side of decoding: different texts of one length, with the key-value cache where the model has one."""

    def __init__(self, model: PreTrainedModel, prompts: list[list[int]]) -> None:
        self.model = model
        self._ids = torch.tensor(prompts, device=model.device)  # (R, L)
        self._cache: Any = None
        parameters = inspect.signature(model.forward).parameters
        # Called `cache` from transformers 5.24 on, `past_key_values` before.
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"

    def logits(self) -> torch.Tensor:
        """(R, V) for the next token."""
        ids = self._ids if self._cache is None else self._ids[:, -1:]
        output = self.model(input_ids=ids, use_cache=True, **{self._cache_name: self._cache})
        self._cache = getattr(output, self._cache_name, None)
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def go_on(self, parents: list[int], tokens: list[int]) -> None:
        """The next texts: each is one of these, by its row, and a token more."""
        device = self._ids.device
        if parents != list(range(len(self._ids))):
            index = torch.tensor(parents, device=device)
            self._ids = self._ids[index]
            if hasattr(self._cache, "batch_select_indices"):
                self._cache.batch_select_indices(index)
            else:
                self._cache = None  # one that cannot be rearranged: the texts are read again
        self._ids = torch.cat([self._ids, torch.tensor(tokens, device=device)[:, None]], dim=1)


def first_line(text: str) -> str:
    """The first line that is not blank, without outer white space; empty if there is none."""
    return text.lstrip().partition("\n")[0].rstrip()
