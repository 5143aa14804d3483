"""Continuations of prompts: the most probable one, and samples.

``model.generate`` is not used because it follows the checkpoint's generation_config.json (repetition penalties, forced
tokens, sampling) and pads prompts of different lengths; neither is acceptable in a measurement. A continuation stops at
an end-of-text token, at the end of its first line, or at a limit that depends on the expected answer. A collapsed model
never ends on its own, so a generous fixed limit would make the worst checkpoints the slowest to evaluate.

Samples are drawn at temperature 1 from the full distribution of the model, without truncation. The random numbers of a
prompt depend only on the seed and its token ids, so a sample does not depend on the batch.
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

#: Tokens allowed beyond twice the expected answer, for "It is ..." and a full stop.
EXTRA_TOKENS = 4
#: Chooses the next token of each text from (R, V) logits, the row and number of each text, and the step.
_Choose = Callable[[torch.Tensor, list[int], list[int], int], torch.Tensor]


def token_limit(answer_tokens: int, room: int | None = None) -> int:
    """Return the maximum length of a continuation: twice the expected answer plus a few tokens, at most ``room``."""
    cap = 2 * answer_tokens + EXTRA_TOKENS
    return cap if room is None else min(cap, room)


@dataclass(frozen=True, slots=True)
class Continuation:
    """A continuation of a prompt.

    Attributes:
        text: Its first line, without the prompt, special tokens and surrounding white space.
        token_ids: The generated tokens, without the stop token.
        finished: True if it ended on its own (end of text or of the line), False if it reached the limit.
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
    """Continue each prompt with its most probable tokens, at most ``limits[i]`` of them; results are in order.

    Args:
        prompts: Token ids, at least one each.
        limits: Maximum number of new tokens for each prompt.
        stop_ids: Additional tokens that end the text, in addition to the end-of-text tokens of tokenizer and model.
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
    batch_tokens: int = 4096,
) -> list[list[Continuation]]:
    """Draw ``samples`` independent continuations of each prompt; see :func:`continue_greedily`.

    Args:
        samples: At least 1.
        seed: Together with the token ids of a prompt it determines the samples, whatever else is in the batch.
        temperature: Divisor of the logits; above 0.
    """

    def choose_for(indices: Sequence[int]) -> _Choose:
        longest = max((limits[index] for index in indices), default=0)
        drawn = [_uniforms(prompts[index], samples, longest, seed) for index in indices]
        uniforms = torch.from_numpy(np.concatenate(drawn)).to(model.device)  # (B * samples, longest)

        def choose(logits: torch.Tensor, rows: list[int], texts: list[int], step: int) -> torch.Tensor:
            cumulative = (logits.float() / temperature).softmax(-1).cumsum(-1)[rows]  # (texts, V)
            wanted = uniforms[texts, step][:, None] * cumulative[:, -1:]  # rounding may make the sum less than 1
            return torch.searchsorted(cumulative, wanted)[:, 0].clamp(max=logits.shape[-1] - 1)

        return choose

    return _continue(model, tokenizer, prompts, limits, samples, choose_for, (), batch_tokens)


def _uniforms(prompt: Sequence[int], samples: int, tokens: int, seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Draw the random numbers of one prompt in [0, 1), (samples, tokens); a higher limit only appends numbers."""
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
    """Return ``copies`` continuations of each prompt, in order, and restore the mode of the model."""
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
    """Return the end-of-text ids of the tokenizer, the model configuration and the generation configuration."""
    generation_config = getattr(model, "generation_config", None)
    named: list[Any] = [
        tokenizer.eos_token_id,
        model.config.eos_token_id,
        getattr(generation_config, "eos_token_id", None),
    ]
    lists = [value if isinstance(value, list | tuple) else [value] for value in named if value is not None]
    return frozenset(int(value) for values in lists for value in values)


class _Texts:
    """Decoding of tokens, and detection of the end of a line."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stops: frozenset[int]) -> None:
        self.stops = stops
        self.decode = partial(tokenizer.decode, skip_special_tokens=True)
        self._breaks_line = cache(lambda token: "\n" in str(self.decode([token])))

    def line_is_over(self, tokens: list[int]) -> bool:
        """Return whether a line with text has ended; chat models often begin with an empty line."""
        return self._breaks_line(tokens[-1]) and "\n" in str(self.decode(tokens)).lstrip()

    def continuation(self, tokens: list[int], finished: bool) -> Continuation:
        return Continuation(first_line(str(self.decode(tokens))), tuple(tokens), finished)


def _continue_batch(
    model: PreTrainedModel, texts: _Texts, prompts: list[list[int]], limits: list[int], choose: _Choose
) -> list[Continuation]:
    """Decode prompts of one length; each prompt has the same number of continuations.

    Continuations of a prompt that are identical so far share a row: eight samples of a confident model cost little more
    than one, and finished continuations cost nothing.
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
    """Distinct texts of one length with the model's key-value cache, if it has one."""

    def __init__(self, model: PreTrainedModel, prompts: list[list[int]]) -> None:
        self.model = model
        self._ids = torch.tensor(prompts, device=model.device)  # (R, L)
        self._cache: Any = None
        parameters = inspect.signature(model.forward).parameters
        # transformers renamed `past_key_values` to `cache` in 5.24.
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"

    def logits(self) -> torch.Tensor:
        """Return the logits of the next token, (R, V)."""
        ids = self._ids if self._cache is None else self._ids[:, -1:]
        output = self.model(input_ids=ids, use_cache=True, **{self._cache_name: self._cache})
        self._cache = getattr(output, self._cache_name, None)
        logits: torch.Tensor = output.logits[:, -1]
        return logits

    def go_on(self, parents: list[int], tokens: list[int]) -> None:
        """Replace the texts: each new one extends the row in ``parents`` by one token."""
        device = self._ids.device
        if parents != list(range(len(self._ids))):
            index = torch.tensor(parents, device=device)
            self._ids = self._ids[index]
            if hasattr(self._cache, "batch_select_indices"):
                self._cache.batch_select_indices(index)
            else:
                self._cache = None  # this cache cannot be reordered, so the texts are processed again
        self._ids = torch.cat([self._ids, torch.tensor(tokens, device=device)[:, None]], dim=1)


def first_line(text: str) -> str:
    """Return the first line that is not blank, without surrounding white space; empty if there is none."""
    return text.lstrip().partition("\n")[0].rstrip()
