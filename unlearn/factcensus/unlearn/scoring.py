"""What a model says of answers: log-probabilities of the answer's tokens, with gradients or without.

Logits are taken at answer positions only, in float32: (B, T, V) instead of (B, L, V), which is what fills a GPU when
prompts are long and the vocabulary is large.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from factcensus.unlearn.examples import Batch, Example, collate

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """Log-probabilities of B answers of at most T tokens, as a forget loss sees them.

    Attributes:
        token_log_probabilities: (B, T) float32, nats; 0 where the answer is over. Carries the gradient.
        mask: (B, T) bool: where the answer has a token.
        reference_nll: (B,) float32, nats: the original model's *sum* over the answer's tokens; NaN unless the
            objective asks for it. No gradient.
        margin: (B,) float32, nats per token: the loss at which an objective with a margin is content. No gradient.
    """

    token_log_probabilities: torch.Tensor
    mask: torch.Tensor
    reference_nll: torch.Tensor
    margin: torch.Tensor

    @property
    def nll(self) -> torch.Tensor:
        """(B,) S = -sum over the answer's tokens of log p, nats."""
        return -(self.token_log_probabilities * self.mask).sum(dim=1)

    @property
    def mean_nll(self) -> torch.Tensor:
        """(B,) l = S / T, nats per token."""
        return self.nll / self.mask.sum(dim=1)


def answer_logits(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Logits (B, T, V), float32, that predict the answers' tokens. Gradients flow if they are on."""
    arguments: dict[str, Any] = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if batch.padded_left:
        arguments["position_ids"] = batch.position_ids
    first = int(batch.answer_positions[batch.answer_mask].min())
    parameters = inspect.signature(model.forward).parameters
    if "logits_to_keep" in parameters:
        arguments["logits_to_keep"] = batch.input_ids.shape[1] - first
    else:
        first = 0
    if "use_cache" in parameters:
        arguments["use_cache"] = False
    logits: torch.Tensor = model(**arguments).logits  # (B, L - first, V)
    index = (batch.answer_positions - first).clamp(min=0).unsqueeze(-1).expand(-1, -1, logits.shape[-1])
    return logits.gather(1, index).float()  # (B, T, V)


def token_log_probabilities(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """(B, T) log p of the answers' tokens in nats, 0 where an answer is over; ``logits`` is (B, T, V)."""
    chosen = logits.log_softmax(dim=-1).gather(-1, batch.answer_ids.unsqueeze(-1)).squeeze(-1)
    return chosen.masked_fill(~batch.answer_mask, 0.0)


@torch.no_grad()
def mean_nll_of(
    model: PreTrainedModel, examples: Sequence[Example], pad_id: int, batch_size: int, device: torch.device
) -> torch.Tensor:
    """(n,) mean negative log-likelihood of each answer under the model, nats per token, on the CPU, float32.

    Examples are batched by length, so little is padded; the order of the result is that of ``examples``.
    """
    order = sorted(range(len(examples)), key=lambda index: len(examples[index]))
    result = torch.empty(len(examples))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = collate([examples[index] for index in chosen], pad_id).to(device)
        scores = token_log_probabilities(answer_logits(model, batch), batch)
        result[chosen] = (-scores.sum(dim=1) / batch.answer_mask.sum(dim=1)).cpu()
    return result
