"""Gradient ascent on the answer, without anything that holds the rest in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factcensus.unlearn.objectives.registry import objective

if TYPE_CHECKING:
    import torch

    from factcensus.unlearn.objectives.scores import AnswerScores


@objective("grad_ascent", source="Jang et al. (2022), arXiv:2210.01504", token_mean=True)
def grad_ascent(scores: AnswerScores) -> torch.Tensor:
    """-l: minus the answer's mean loss.

    Reduction: mean over the answer's tokens, so each fact weighs the same however long its answer is; mean over facts
    outside. The gradient has weight -1 at every loss, so it goes on for ever: a small rate, few passes.
    """
    return -scores.mean_nll
