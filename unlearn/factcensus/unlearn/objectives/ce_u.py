"""Cross-entropy unlearning: move towards the model's own prediction without the answer token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from factcensus.unlearn.objectives.registry import WHOLE, objective

if TYPE_CHECKING:
    from factcensus.unlearn.objectives.scores import AnswerScores


@objective("ce_u", source="Yang (2025), arXiv:2503.01224", needs=["logits"], token_mean=True, accepted={"skip": WHOLE})
def ce_u(scores: AnswerScores, *, skip: float = 0) -> torch.Tensor:
    """CE(softmax(z without y), p): the teacher is the model's own distribution without the answer token.

    The gradient with respect to the logit of y is p(y): strongest for the facts the model is surest of, and 0 once
    they are forgotten. The gradient is therefore bounded. The loss needs no reference model and, as published, no
    retain term.

    Args:
        scores: The forget answers with their logits.
        skip: Number of tokens at the start of an answer that are excluded from the loss. Published code skips 1, which
            would exclude one-token answers entirely; answers with at most ``skip`` tokens are therefore scored whole.

    Reduction: mean over the answer's included tokens, then over facts.
    """
    assert scores.logits is not None
    assert scores.answer_ids is not None
    teacher = scores.logits.detach().scatter(-1, scores.answer_ids.unsqueeze(-1), float("-inf")).softmax(dim=-1)
    losses = -(teacher * scores.logits.log_softmax(dim=-1)).sum(dim=-1)  # (B, T)
    place = torch.arange(losses.shape[1], device=losses.device)
    long_enough = scores.mask.sum(dim=1, keepdim=True) > skip
    counted = scores.mask & ((place >= skip) | ~long_enough)
    return losses.masked_fill(~counted, 0.0).sum(dim=1) / counted.sum(dim=1)
