"""The token record: one teacher-forced pass per text, from which all probability metrics are computed.

Evaluations with one forward pass per metric process the same tokens many times. Here the model runs once per (fact,
form, checkpoint), and the values kept for each answer token suffice for every metric of
:mod:`factcensus.eval.metrics.record`. Batches hold sequences of one length (:mod:`factcensus.eval.asking.batching`), so
no padding can change a number.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from factcensus.eval.asking.batching import equal_length_batches
from factcensus.unlearn.training.examples import Example

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Scores of the T answer tokens, each given the prompt and the answer before it; arrays of shape (T,).

    Logarithms are natural; V is the size of the vocabulary, p the next-token distribution of the model.

    Attributes:
        token_id: The answer token.
        log_probability: log p(token), nats, at most 0.
        rank: Number of vocabulary entries with a higher probability; 0 is the most probable one.
        entropy: -sum p log p, nats; the negative of the mean in Min-K%++ (Zhang et al. 2025).
        surprisal_deviation: Standard deviation of log p under p; the denominator of Min-K%++.
        vocabulary_mean: Mean of log p over the V entries with equal weights.
        vocabulary_deviation: Standard deviation of log p with equal weights (population form, divisor V).
        top1_id: The most probable token (the first one in case of ties).
        margin: log p(token) minus the highest log p of any other token, nats; above 0 if the token is the first choice.
    """

    token_id: Integers
    log_probability: Floats
    rank: Integers
    entropy: Floats
    surprisal_deviation: Floats
    vocabulary_mean: Floats
    vocabulary_deviation: Floats
    top1_id: Integers
    margin: Floats

    @property
    def total_log_probability(self) -> float:
        """Return log p(answer | prompt), summed over answer tokens, nats; NaN if the model has collapsed to NaN."""
        return float(self.log_probability.astype(np.float64).sum())


@torch.inference_mode()
def score_answers(
    model: PreTrainedModel, examples: Sequence[Example], *, batch_tokens: int = 4096
) -> list[TokenScores]:
    """Return the token record of each example, in order.

    The model runs in evaluation mode, and its mode is restored. The input is the prompt with the answer except its last
    token. Examples with the same input share one forward pass, such as the letters of a multiple choice or one-token
    answers to the same question. Cost: one pass per distinct input. The logits of the answer positions are held in
    float32; ``batch_tokens`` limits the tokens per batch.
    """
    was_training = model.training
    model.train(False)
    by_input: dict[tuple[int, ...], list[int]] = {}
    for index, example in enumerate(examples):
        by_input.setdefault((*example.prompt_ids, *example.answer_ids[:-1]), []).append(index)
    inputs = list(by_input)
    scores: dict[int, TokenScores] = {}
    try:
        for chosen in equal_length_batches([len(ids) for ids in inputs], batch_tokens):
            batch = [inputs[number] for number in chosen]
            owners = [(row, index) for row, ids in enumerate(batch) for index in by_input[ids]]
            answers = [examples[index].answer_ids for _, index in owners]
            found = _score_batch(model, batch, [row for row, _ in owners], answers)
            scores.update(zip([index for _, index in owners], found, strict=True))
    finally:
        model.train(was_training)
    return [scores[index] for index in range(len(examples))]


def _score_batch(
    model: PreTrainedModel, inputs: Sequence[tuple[int, ...]], rows: Sequence[int], answers: Sequence[tuple[int, ...]]
) -> list[TokenScores]:
    """Run one forward pass over B inputs of equal length; score E answers, each with the row of its input."""
    longest = max(map(len, answers))  # K
    input_ids = torch.tensor(inputs, device=model.device)
    options: dict[str, Any] = {"use_cache": False}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        options["logits_to_keep"] = longest  # logits at all prompt positions would waste memory with a large vocabulary
    logits = model(input_ids=input_ids, **options).logits[:, -longest:].float()  # (B, K, V)
    log_p = torch.log_softmax(logits, dim=-1)
    p = log_p.exp()
    weighted = torch.where(p > 0, p * log_p, 0.0)  # a probability that underflows contributes 0 instead of NaN
    entropy = -weighted.sum(-1)
    # The centred square keeps precision; a difference of two large numbers would lose it.
    centred = torch.where(p > 0, p * (log_p + entropy[..., None]).square(), 0.0)
    best = log_p.topk(2, dim=-1)
    of_input = {
        "entropy": entropy,
        "surprisal_deviation": centred.sum(-1).sqrt(),
        "vocabulary_mean": log_p.mean(-1),
        "vocabulary_deviation": log_p.std(-1, correction=0),
        "top1_id": best.indices[..., 0],
    }
    row = torch.tensor(rows, device=model.device)  # (E,)
    padded = [(0,) * (longest - len(answer)) + answer for answer in answers]
    targets = torch.tensor(padded, device=model.device)  # (E, K), right-aligned
    places = torch.arange(longest, device=model.device)
    of_target = log_p[row[:, None], places, targets]  # (E, K)
    rival = torch.where(best.indices[row, :, 0] == targets, best.values[row, :, 1], best.values[row, :, 0])
    columns = {
        "token_id": targets,
        "log_probability": of_target,
        "rank": _ranks(log_p, row, of_target),
        "margin": of_target - rival,
        **{name: column[row] for name, column in of_input.items()},
    }
    arrays = {name: column.cpu().numpy() for name, column in columns.items()}
    return [
        TokenScores(**{name: array[number, longest - len(answer) :] for name, array in arrays.items()})
        for number, answer in enumerate(answers)
    ]


def _ranks(log_p: torch.Tensor, row: torch.Tensor, of_target: torch.Tensor) -> torch.Tensor:
    """Return the ranks, (E, K); processes a few answers at a time, so that no second (B, K, V) tensor is needed."""
    size = max(1, log_p.shape[0])
    parts = [
        (log_p[row[start : start + size]] > of_target[start : start + size, :, None]).sum(-1)
        for start in range(0, len(row), size)
    ]
    return torch.cat(parts)
