"""Flatten the logits: the loss of primal-dual unlearning, whose controller keeps the retain loss below a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factcensus.unlearn.objectives.registry import objective

if TYPE_CHECKING:
    import torch

    from factcensus.unlearn.objectives.scores import AnswerScores


@objective("flatten", source="Entesari et al. (2025), arXiv:2506.05314 (PDU)", needs=["logits"], token_mean=True)
def flatten(scores: AnswerScores) -> torch.Tensor:
    """(max_v z_v - mean_v z_v)^2: 0 if all tokens are equally likely.

    PDU minimises this loss while the controller `constraint` keeps the retain loss below a limit. The gradient with
    respect to the highest logit is 2 (max - mean) (1 - 1/V), whichever token has that logit.

    Reduction: mean over the answer's tokens, then over facts.
    """
    assert scores.logits is not None
    gap = scores.logits.amax(dim=-1) - scores.logits.mean(dim=-1)  # (B, T)
    return scores.mean_over_tokens(gap.square())
