"""What holds the rest of the model in place while it forgets."""

from __future__ import annotations

from typing import Literal, get_args

import torch

RetainKind = Literal["nll", "kl", "none"]
RETAIN_KINDS: tuple[RetainKind, ...] = get_args(RetainKind)


def retain_nll(token_log_probabilities: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean loss of the retain answers, nats per token: over the answer's tokens, then over facts.

    Args:
        token_log_probabilities: (B, T).
        mask: (B, T) bool: where an answer has a token. Prompts carry no loss.
    """
    return (-(token_log_probabilities * mask).sum(dim=1) / mask.sum(dim=1)).mean()


def retain_kl(logits: torch.Tensor, original_logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """KL(original || model) at the retain answers' positions, nats: mean over an answer's tokens, then over facts.

    Unlike the loss above it wants the whole distribution kept, also where the original was wrong or unsure.

    Args:
        logits, original_logits: (B, T, V); no gradient flows into the second.
        mask: (B, T) bool.
    """
    original = original_logits.detach().log_softmax(dim=-1)
    divergence = (original.exp() * (original - logits.log_softmax(dim=-1))).sum(dim=-1)  # (B, T)
    return ((divergence * mask).sum(dim=1) / mask.sum(dim=1)).mean()
