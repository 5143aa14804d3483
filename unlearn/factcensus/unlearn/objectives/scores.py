"""The input of forget losses: a scored batch of answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """Scores of B answers of at most T tokens, the input of a forget loss. V is the vocabulary, D the model's width.

    The first four fields are always set. The others are set if the objective's ``needs`` or the method requires them.

    Attributes:
        token_log_probabilities: (B, T) float32, nats; 0 after the end of the answer. Has a gradient.
        mask: (B, T) bool: true at the answer's tokens.
        reference_nll: (B,) float32, nats: the *sum* over the answer's tokens under the original model; NaN unless the
            objective needs it. No gradient.
        margin: (B,) float32, nats per token: the target loss of an objective with a margin. No gradient.
        token_weights: (B, T) weight of each token's loss in ``nll`` and ``mean_nll``; None means 1. No gradient.
        answer_ids: (B, T) the answer's tokens.
        logits: (B, T, V) float32: the logits that predict them. Has a gradient.
        hidden: (B, T, D) activations at the method's layer where the answer's tokens are predicted. Has a gradient.
        reference_logits: (B, T, V) logits of the original model. No gradient.
        target: (B, T) nats: the never-seen log-probability of each token. No gradient.
        replacement_ids: (B, T) the refusal's tokens, repeated to the length of the answer.
        preferred: Scores of another answer to the same prompts.
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
        """Summed loss of each answer, (B,): S = -sum over the answer's tokens of (w) log p, nats."""
        weighted = self.token_log_probabilities * self.mask
        return -(weighted if self.token_weights is None else weighted * self.token_weights).sum(dim=1)

    @property
    def mean_nll(self) -> torch.Tensor:
        """Mean loss of each answer, (B,): l = S / T, nats per token."""
        return self.nll / self.mask.sum(dim=1)

    def mean_over_tokens(self, values: torch.Tensor) -> torch.Tensor:
        """Return the mean of (B, T) values over each answer's tokens, (B,); values in the padding are ignored."""
        return values.masked_fill(~self.mask, 0.0).sum(dim=1) / self.mask.sum(dim=1)
