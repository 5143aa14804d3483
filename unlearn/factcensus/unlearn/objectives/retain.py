"""Retain terms, which preserve other knowledge during unlearning. They use only the positions of answers.

``nll`` needs only the answers. The other terms compare with the original model, which is never loaded as a second
model: either its activations are cached or the adapter is switched off (:mod:`factcensus.unlearn.training.references`).
"""

from __future__ import annotations

from typing import Literal

import torch

RetainKind = Literal["nll", "kl", "jsd", "embedding", "none"]

#: The formula of each term, for `factcensus unlearn list`.
RETAIN_FORMULAS: dict[str, str] = {
    "nll": "l of the retain answers",
    "kl": "KL(p0 || p) at the retain answers",
    "jsd": "JSD(p0, p) at the retain answers",
    "embedding": "|| h - h0 ||^2 / D at the retain answers, at the method's layer",
    "none": "no retain term",
}


def _mean(values: torch.Tensor, mask: torch.Tensor, by_token: bool) -> torch.Tensor:
    """Return the mean of (B, T) values over an answer's tokens, then over facts; or over all tokens at once."""
    values = values.masked_fill(~mask, 0.0)
    if by_token:
        return values.sum() / mask.sum()
    return (values.sum(dim=1) / mask.sum(dim=1)).mean()


def retain_nll(token_log_probabilities: torch.Tensor, mask: torch.Tensor, by_token: bool = False) -> torch.Tensor:
    """Return the mean loss of the retain answers in nats per token: over the answer's tokens, then over facts.

    Args:
        token_log_probabilities: (B, T).
        mask: (B, T) bool: true at the answers' tokens. Prompts are not part of the loss.
        by_token: Average over all tokens of the batch instead, here and in the functions below.
    """
    return _mean(-token_log_probabilities, mask, by_token)


def retain_kl(
    logits: torch.Tensor, original_logits: torch.Tensor, mask: torch.Tensor, by_token: bool = False
) -> torch.Tensor:
    """Return KL(original || model) at the retain answers, nats: mean over the answer's tokens, then over facts.

    Unlike the loss above, it preserves the whole distribution, even if the original model was wrong or unsure.

    Args:
        logits, original_logits: (B, T, V); no gradient flows into ``original_logits``.
        mask: (B, T) bool.
    """
    original = original_logits.detach().log_softmax(dim=-1)
    return _mean((original.exp() * (original - logits.log_softmax(dim=-1))).sum(dim=-1), mask, by_token)


def retain_jsd(
    logits: torch.Tensor, original_logits: torch.Tensor, mask: torch.Tensor, by_token: bool = False
) -> torch.Tensor:
    """Return the Jensen-Shannon divergence of model and original, nats, at most ln 2; else as :func:`retain_kl`."""
    original, now = original_logits.detach().log_softmax(dim=-1), logits.log_softmax(dim=-1)
    middle = torch.logaddexp(original, now) - torch.log(torch.tensor(2.0))
    each = (original.exp() * (original - middle) + now.exp() * (now - middle)).sum(dim=-1) / 2
    return _mean(each, mask, by_token)


def retain_embedding(
    hidden: torch.Tensor, original_hidden: torch.Tensor, mask: torch.Tensor, by_token: bool = False
) -> torch.Tensor:
    """Return the squared distance of activations: mean over dimensions, the answer's positions, then facts.

    Args:
        hidden, original_hidden: (B, T, D); no gradient flows into ``original_hidden``.
        mask: (B, T) bool.
    """
    return _mean((hidden.float() - original_hidden.detach().float()).square().mean(dim=-1), mask, by_token)
