"""Log-probabilities of answer tokens under a model, with or without gradients.

Answer positions are gathered *before* the LM head, so logits are (B, T, V) instead of (B, L, V). The latter would fill
a GPU if prompts are long and the vocabulary is large. Logits are always float32.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.stopping import check_stop
from factcensus.unlearn.training.examples import Batch, Example, collate

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class AnswerOutput(NamedTuple):
    """Model output where answers are predicted: logits (B, T, V) float32, and the input of the LM head (B, T, D)."""

    logits: torch.Tensor
    hidden: torch.Tensor


def forward_answers(model: PreTrainedModel, batch: Batch) -> AnswerOutput:
    """Run the model and apply its LM head only where answers are predicted. Gradients flow if enabled.

    Raises:
        ConfigError: the model has no LM head.
    """
    head: Any = cast("Any", model).get_output_embeddings()
    if head is None:
        raise ConfigError(f"{type(model).__name__} has no LM head; a causal language model is needed")
    seen: list[torch.Tensor] = []

    def gather(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = arguments[0]  # (B, L, D)
        index = batch.answer_positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
        seen.append(hidden.gather(1, index))
        return (seen[0], *arguments[1:])

    hook = head.register_forward_pre_hook(gather)
    try:
        logits: torch.Tensor = model(**model_arguments(model, batch)).logits  # (B, T, V)
    finally:
        hook.remove()
    return AnswerOutput(logits.float(), seen[0])


def model_arguments(model: PreTrainedModel, batch: Batch) -> dict[str, Any]:
    """Return the keyword arguments of a forward pass over a batch."""
    arguments: dict[str, Any] = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if batch.padded_left:
        arguments["position_ids"] = batch.position_ids
    if "use_cache" in inspect.signature(model.forward).parameters:
        arguments["use_cache"] = False
    return arguments


def answer_logits(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Return the logits (B, T, V), float32, that predict the answers' tokens. Gradients flow if enabled."""
    return forward_answers(model, batch).logits


def token_log_probabilities(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Return log p of the answers' tokens in nats, (B, T), 0 after the end of an answer; ``logits`` is (B, T, V)."""
    chosen = logits.log_softmax(dim=-1).gather(-1, batch.answer_ids.unsqueeze(-1)).squeeze(-1)
    return chosen.masked_fill(~batch.answer_mask, 0.0)


def by_length(examples: Sequence[Example]) -> list[int]:
    """Return the indices of the examples, shortest first, which reduces padding in batches."""
    return sorted(range(len(examples)), key=lambda index: len(examples[index]))


@torch.no_grad()
def token_log_probabilities_of(
    model: PreTrainedModel, examples: Sequence[Example], pad_id: int, batch_size: int, device: torch.device
) -> list[torch.Tensor]:
    """Return log p of each answer token under the model, n tensors (T_i,), nats, float32 on the CPU."""
    order = by_length(examples)
    result: list[torch.Tensor] = [torch.empty(0)] * len(examples)
    for start in range(0, len(order), batch_size):
        check_stop()
        chosen = order[start : start + batch_size]
        batch = collate([examples[index] for index in chosen], pad_id).to(device)
        scores = token_log_probabilities(answer_logits(model, batch), batch).cpu()
        for row, index in enumerate(chosen):
            result[index] = scores[row, : len(examples[index].answer_ids)].clone()
    return result


def mean_nll_of(
    model: PreTrainedModel, examples: Sequence[Example], pad_id: int, batch_size: int, device: torch.device
) -> torch.Tensor:
    """Return the mean negative log-likelihood of each answer, (n,), nats per token, float32 on the CPU."""
    scored = token_log_probabilities_of(model, examples, pad_id, batch_size, device)
    return torch.stack([-scores.mean() for scores in scored]) if scored else torch.empty(0)
