"""What holds the rest of the model in place while it forgets. All terms are taken at the answers' positions only.

``nll`` needs nothing but the answers. The others compare with the original model, which is never kept as a second
model: its activations are cached, or its adapter is switched off (:mod:`factcensus.unlearn.training.references`).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch

RetainKind = Literal["nll", "kl", "jsd", "embedding", "none"]
RETAIN_KINDS: tuple[RetainKind, ...] = get_args(RetainKind)

#: What each is, for `factcensus unlearn list`.
RETAIN_FORMULAS: dict[str, str] = {
    "nll": "l of the retain answers",
    "kl": "KL(p0 || p) at their positions",
    "jsd": "JSD(p0, p) at their positions",
    "embedding": "|| h - h0 ||^2 / D at their positions, at the method's layer",
    "none": "nothing",
}


def _mean(values: torch.Tensor, mask: torch.Tensor, by_token: bool) -> torch.Tensor:
    """Return the mean of (B, T) values over an answer's tokens, then over facts; or over all tokens at once."""
    values = values.masked_fill(~mask, 0.0)
    if by_token:
        return values.sum() / mask.sum()
    return (values.sum(dim=1) / mask.sum(dim=1)).mean()


def retain_nll(token_log_probabilities: torch.Tensor, mask: torch.Tensor, by_token: bool = False) -> torch.Tensor:
    """Mean loss of the retain answers, nats per token: over the answer's tokens, then over facts.

    Args:
        token_log_probabilities: (B, T).
        mask: (B, T) bool: where an answer has a token. Prompts carry no loss.
        by_token: Take the mean over all tokens of the batch instead; likewise below.
    """
    return _mean(-token_log_probabilities, mask, by_token)


def retain_kl(
    logits: torch.Tensor, original_logits: torch.Tensor, mask: torch.Tensor, by_token: bool = False
) -> torch.Tensor:
    """KL(original || model) at the retain answers' positions, nats: mean over an answer's tokens, then over facts.

    Unlike the loss above it wants the whole distribution kept, also where the original was wrong or unsure.

    Args:
        logits, original_logits: (B, T, V); no gradient flows into the second.
        mask: (B, T) bool.
    """
    original = original_logits.detach().log_softmax(dim=-1)
    return _mean((original.exp() * (original - logits.log_softmax(dim=-1))).sum(dim=-1), mask, by_token)


def retain_jsd(
    logits: torch.Tensor, original_logits: torch.Tensor, mask: torch.Tensor, by_token: bool = False
) -> torch.Tensor:
    """Jensen-Shannon divergence of model and original, nats, at most ln 2; shapes and reduction as above."""
    original, now = original_logits.detach().log_softmax(dim=-1), logits.log_softmax(dim=-1)
    middle = torch.logaddexp(original, now) - torch.log(torch.tensor(2.0))
    each = (original.exp() * (original - middle) + now.exp() * (now - middle)).sum(dim=-1) / 2
    return _mean(each, mask, by_token)


def retain_embedding(
    hidden: torch.Tensor, original_hidden: torch.Tensor, mask: torch.Tensor, by_token: bool = False
) -> torch.Tensor:
    """Squared distance of activations, mean over dimensions, over an answer's positions, then over facts.

    Args:
        hidden, original_hidden: (B, T, D); no gradient flows into the second.
        mask: (B, T) bool.
    """
    return _mean((hidden.float() - original_hidden.detach().float()).square().mean(dim=-1), mask, by_token)
