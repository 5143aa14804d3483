"""The gradients of one step: forget and retain terms of a batch, split into micro-batches and over processes.

Every loss is divided by the size of the whole batch, so the update is the same for every split. Micro-batches are
formed in order of length to reduce padding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch

from factcensus.unlearn.config.method_config import MethodConfig
from factcensus.unlearn.objectives import get_objective
from factcensus.unlearn.objectives.retain import retain_embedding, retain_jsd, retain_kl, retain_nll
from factcensus.unlearn.objectives.scores import AnswerScores
from factcensus.unlearn.training.controllers import StrataController
from factcensus.unlearn.training.examples import Batch, Example, collate
from factcensus.unlearn.training.forget_set import ForgetSet
from factcensus.unlearn.training.layers import hidden_at
from factcensus.unlearn.training.ranks import ALONE, Ranks
from factcensus.unlearn.training.references import Reference
from factcensus.unlearn.training.scoring import answer_logits, token_log_probabilities

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def arithmetic(device: torch.device, autocast: bool) -> AbstractContextManager[Any]:
    """Return a context that computes in bfloat16 over float32 parameters, or in the type of the parameters."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if autocast else nullcontext()


def batch_share(mask: torch.Tensor, examples: Sequence[Example], draws: Sequence[Draw]) -> torch.Tensor:
    """Return each answer's share of the tokens of the whole batch, (B,).

    Args:
        mask: (B, T) bool: true at the tokens of these answers.
        examples: The forget set.
        draws: The whole batch, across processes and micro-batches.
    """
    return mask.sum(dim=1) / sum(len(examples[draw.index].answer_ids) for draw in draws)


@dataclass(frozen=True, slots=True)
class Draw:
    """One position of a forget batch: an example, and the pass over the set that it belongs to."""

    index: int
    epoch: int


@dataclass
class Gradients:
    """Adds gradients to a model's parameters. Returned losses are this process's share of the batch mean.

    Attributes:
        model: The model, in evaluation mode.
        forget, retain: The two sets.
        method: The terms to compute.
        pad_id: Any token id.
        micro_batch: Examples per forward pass; None means all.
        autocast: Whether to compute in bfloat16.
        layer: The layer for objectives and terms that use activations.
        forget_reference, retain_reference: The original model, if the method compares with it.
        ranks: The processes that share a batch.
        even: Whether every process must run the same number of passes, as sharded weights require. A process without
            another part then repeats an example with weight 0.
    """

    model: PreTrainedModel
    forget: ForgetSet
    retain: Sequence[Example]
    method: MethodConfig
    pad_id: int
    micro_batch: int | None = None
    autocast: bool = False
    layer: int | None = None
    forget_reference: Reference | None = None
    retain_reference: Reference | None = None
    ranks: Ranks = ALONE
    even: bool = False
    device: torch.device = field(init=False)

    def __post_init__(self) -> None:
        self.device = next(self.model.parameters()).device

    def add_forget(self, draws: Sequence[Draw], strata: StrataController | None) -> tuple[float, list[float]]:
        """Add the gradient of gamma * mean_i(w_i * forget_i).

        Returns:
            The mean, without gamma, and the mean answer loss of each draw in nats per token (0 for draws of other
            processes).
        """
        objective, parameters = get_objective(self.method.objective), self.method.loss_parameters()
        total, observed = 0.0, [0.0] * len(draws)
        places = self.ranks.share(range(len(draws)))
        for part in self._even_parts(places, [self.forget.examples[draw.index] for draw in draws], len(draws)):
            chosen = [draws[place] for place in part] or [draws[0]]
            scores = self._scores(chosen)
            indices = torch.tensor([draw.index for draw in chosen])
            weights = self.forget.weights[indices]
            if strata is not None:
                weights = weights * strata.fact_weights(indices)
            losses = weights.to(self.device) * objective(scores, parameters)
            if self.method.reduction == "token" and objective.token_mean:
                loss = (losses * batch_share(scores.mask, self.forget.examples, draws)).sum()
            else:
                loss = losses.sum() / len(draws)
            cast("Any", self.method.gamma * loss if part else 0.0 * loss).backward()
            if not part:
                continue
            total += float(loss.detach())
            answer_losses = scores.mean_over_tokens(-scores.token_log_probabilities.detach()).tolist()
            for place, value in zip(part, answer_losses, strict=True):
                observed[place] = value
        return total, observed

    def add_retain(self, indices: Sequence[int], alpha: float) -> float:
        """Add the gradient of alpha * retain, and return the retain term without alpha."""
        total = 0.0
        mine = self.ranks.share(indices)
        for part in self._even_parts(range(len(mine)), [self.retain[index] for index in mine], len(indices)):
            chosen = [mine[place] for place in part] or [indices[0]]
            batch = self._batch([self.retain[index] for index in chosen])
            part_size, size = self._retain_size(chosen), self._retain_size(indices)
            loss = self._retain_loss(chosen, batch) * part_size / size
            if alpha > 0:
                cast("Any", alpha * loss if part else 0.0 * loss).backward()
            total += float(loss.detach()) if part else 0.0
        return total

    @torch.no_grad()
    def retain_term(self, indices: Sequence[int]) -> float:
        """Return the retain term of these examples without gradient; equal in every process."""
        total = 0.0
        for part in self._parts(range(len(indices)), [self.retain[index] for index in indices]):
            chosen = [indices[place] for place in part]
            batch = self._batch([self.retain[index] for index in chosen])
            total += float(self._retain_loss(chosen, batch)) * self._retain_size(chosen) / self._retain_size(indices)
        return total

    def _retain_size(self, indices: Sequence[int]) -> int:
        """Return the number of items that the retain term averages: facts, or tokens of their answers."""
        if self.method.reduction == "fact":
            return len(indices)
        return sum(len(self.retain[index].answer_ids) for index in indices)

    def _retain_loss(self, indices: Sequence[int], batch: Batch) -> torch.Tensor:
        kind, by_token = self.method.retain, self.method.reduction == "token"
        if kind == "embedding":
            assert self.layer is not None
            assert self.retain_reference is not None
            with arithmetic(self.device, self.autocast):
                hidden = hidden_at(self.model, batch, self.layer)
            return retain_embedding(hidden, self.retain_reference(indices, batch), batch.answer_mask, by_token)
        logits = self._logits(batch)
        if kind == "nll":
            return retain_nll(token_log_probabilities(logits, batch), batch.answer_mask, by_token)
        assert self.retain_reference is not None
        term = retain_kl if kind == "kl" else retain_jsd
        return term(logits, self.retain_reference(indices, batch), batch.answer_mask, by_token)

    def _scores(self, draws: Sequence[Draw]) -> AnswerScores:
        """Return the scores of these draws, with all fields that the objective needs."""
        needs = get_objective(self.method.objective).needs
        forget, indices = self.forget, [draw.index for draw in draws]
        batch = self._batch([forget.examples[index] for index in indices])
        hidden = logits = None
        tokens = torch.zeros(batch.answer_ids.shape, device=self.device)
        if "hidden" in needs:
            assert self.layer is not None
            with arithmetic(self.device, self.autocast):
                hidden = hidden_at(self.model, batch, self.layer)
        else:
            logits = self._logits(batch)
            tokens = token_log_probabilities(logits, batch)
        return AnswerScores(
            token_log_probabilities=tokens,
            mask=batch.answer_mask,
            reference_nll=forget.reference_nll[indices].to(self.device),
            margin=forget.margin[indices].to(self.device),
            token_weights=self._token_weights(tokens),
            answer_ids=batch.answer_ids,
            logits=logits if "logits" in needs else None,
            hidden=hidden,
            reference_logits=self._reference_logits(indices, batch) if "reference_logits" in needs else None,
            target=self._padded([forget.targets[index] for index in indices]) if "target" in needs else None,
            replacement_ids=self._replacement_ids(indices, batch) if "replacement_ids" in needs else None,
            preferred=self._preferred(draws) if "preferred" in needs else None,
        )

    def _token_weights(self, tokens: torch.Tensor) -> torch.Tensor | None:
        """Return p^a (1 - p)^b for each token, without gradient."""
        a, b = self.method.token_confidence, self.method.token_doubt
        if a == 0 and b == 0:
            return None
        p = tokens.detach().exp()
        return p**a * (1 - p) ** b

    def _reference_logits(self, indices: Sequence[int], batch: Batch) -> torch.Tensor:
        assert self.forget_reference is not None
        return self.forget_reference(indices, batch)

    def _replacement_ids(self, indices: Sequence[int], batch: Batch) -> torch.Tensor:
        """Return the refusal's tokens, repeated to the length of the batch, (B, T)."""
        length = batch.answer_ids.shape[1]
        repeated = [
            [tokens[place % len(tokens)] for place in range(length)]
            for tokens in (self.forget.replacements[index] for index in indices)
        ]
        return torch.tensor(repeated, device=self.device)

    def _preferred(self, draws: Sequence[Draw]) -> AnswerScores:
        """Return the scores of another answer for each draw; each pass uses the next one."""
        choices = [(draw.index, draw.epoch % len(self.forget.preferred[draw.index])) for draw in draws]
        batch = self._batch([self.forget.preferred[index][choice] for index, choice in choices])
        nan = float("nan")
        known = [
            float(self.forget.preferred_nll[index][choice]) if self.forget.preferred_nll else nan
            for index, choice in choices
        ]
        reference = torch.tensor(known, device=self.device)
        tokens = token_log_probabilities(self._logits(batch), batch)
        return AnswerScores(tokens, batch.answer_mask, reference, torch.zeros_like(reference))

    def _logits(self, batch: Batch) -> torch.Tensor:
        with arithmetic(self.device, self.autocast):
            return answer_logits(self.model, batch)

    def _padded(self, values: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(values), batch_first=True).to(self.device)

    def _batch(self, examples: Sequence[Example]) -> Batch:
        return collate(examples, self.pad_id).to(self.device)

    def _even_parts(self, places: Sequence[int], examples: Sequence[Example], size: int) -> Iterator[list[int]]:
        """Yield the micro-batches of this process; with ``even``, empty ones up to the number of the first process.

        Args:
            size: The size of the whole batch. The first process has the largest share.
        """
        parts = list(self._parts(places, examples))
        if self.even:
            largest = math.ceil(size / self.ranks.count)
            parts += [[]] * (math.ceil(largest / (self.micro_batch or largest)) - len(parts))
        yield from parts

    def _parts(self, places: Sequence[int], examples: Sequence[Example]) -> Iterator[list[int]]:
        """Yield micro-batches of positions with similar lengths; ``examples`` holds the example at each position."""
        width = self.micro_batch or max(1, len(places))
        ordered = sorted(places, key=lambda place: len(examples[place])) if width < len(places) else list(places)
        for start in range(0, len(ordered), width):
            yield ordered[start : start + width]
