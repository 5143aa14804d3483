"""Gradient ascent on the answer, without a term that preserves other knowledge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factcensus.unlearn.objectives.registry import objective

if TYPE_CHECKING:
    import torch

    from factcensus.unlearn.objectives.scores import AnswerScores


@objective("grad_ascent", source="Jang et al. (2022), arXiv:2210.01504", token_mean=True)
def grad_ascent(scores: AnswerScores) -> torch.Tensor:
    """-l: the negative of the answer's mean loss.

    The gradient has weight -1 at every loss, so training never settles: use a low learning rate and few passes.

    Reduction: mean over the answer's tokens, then over facts, so long and short answers weigh the same.
    """
    return -scores.mean_nll
