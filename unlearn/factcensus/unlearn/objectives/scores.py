"""What a forget loss sees of a batch of answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """B answers of at most T tokens, as a forget loss sees them. V is the vocabulary, D the model's width.

    Only the first four are always there; the others where the objective's ``needs`` (or the method) asks for them.

    Attributes:
        token_log_probabilities: (B, T) float32, nats; 0 where the answer is over. Carries the gradient.
        mask: (B, T) bool: where the answer has a token.
        reference_nll: (B,) float32, nats: the original model's *sum* over the answer's tokens; NaN unless the
            objective asks for it. No gradient.
        margin: (B,) float32, nats per token: the loss at which an objective with a margin is content. No gradient.
        token_weights: (B, T) weight of each token's loss in ``nll`` and ``mean_nll``, no gradient; None is 1.
        answer_ids: (B, T) the answer's tokens.
        logits: (B, T, V) float32 that predict them. Carries the gradient.
        hidden: (B, T, D) at the method's layer, where the answer's tokens are predicted. Carries the gradient.
        reference_logits: (B, T, V) of the original model, no gradient.
        target: (B, T) nats: the never-seen log-probability of each token, no gradient.
        replacement_ids: (B, T) the refusal's tokens, over and over until the answer is over.
        preferred: Another answer to the same prompts, scored likewise.
    """

    token_log_probabilities: torch.Tensor
    mask: torch.Tensor
    reference_nll: torch.Tensor
    margin: torch.Tensor
    token_weights: torch.Tensor | None = None
    answer_ids: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden: torch.Tensor | None = None
    reference_logits: torch.Tensor | None = None
    target: torch.Tensor | None = None
    replacement_ids: torch.Tensor | None = None
    preferred: AnswerScores | None = None

    @property
    def nll(self) -> torch.Tensor:
        """(B,) S = -sum over the answer's tokens of (w) log p, nats."""
        weighted = self.token_log_probabilities * self.mask
        return -(weighted if self.token_weights is None else weighted * self.token_weights).sum(dim=1)

    @property
    def mean_nll(self) -> torch.Tensor:
        """(B,) l = S / T, nats per token."""
        return self.nll / self.mask.sum(dim=1)

    def mean_over_tokens(self, values: torch.Tensor) -> torch.Tensor:
        """(B,) mean of (B, T) values over each answer's tokens; what stands in the padding is not looked at."""
        return values.masked_fill(~self.mask, 0.0).sum(dim=1) / self.mask.sum(dim=1)
