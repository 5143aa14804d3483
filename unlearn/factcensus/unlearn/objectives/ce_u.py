"""Cross-entropy unlearning: towards the model's own prediction without the answer's token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from factcensus.unlearn.objectives.registry import objective

if TYPE_CHECKING:
    from factcensus.unlearn.objectives.scores import AnswerScores


@objective("ce_u", source="Yang (2025), arXiv:2503.01224", needs=["logits"], token_mean=True)
def ce_u(scores: AnswerScores, *, skip: float = 0) -> torch.Tensor:
    """CE(softmax(z without y), p): the model's own distribution, the answer's token taken out, as the teacher.

    The gradient with respect to the logit of y is p(y): strongest where the fact is surest, and gone with it. So it
    is bounded, and needs neither a reference nor, as published, a retain term.

    Args:
        scores: The forget answers with their logits.
        skip: First tokens of an answer that carry no loss. Published code skips 1, which leaves nothing of a
            one-token answer; a shorter answer than this is scored whole.

    Reduction: mean over the answer's tokens that count; mean over facts outside.
    """
    assert scores.logits is not None
    assert scores.answer_ids is not None
    teacher = scores.logits.detach().scatter(-1, scores.answer_ids.unsqueeze(-1), float("-inf")).softmax(dim=-1)
    losses = -(teacher * scores.logits.log_softmax(dim=-1)).sum(dim=-1)  # (B, T)
    place = torch.arange(losses.shape[1], device=losses.device)
    long_enough = scores.mask.sum(dim=1, keepdim=True) > skip
    counted = scores.mask & ((place >= skip) | ~long_enough)
    return losses.masked_fill(~counted, 0.0).sum(dim=1) / counted.sum(dim=1)
