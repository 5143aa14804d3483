"""Gradient descent on the forget answers: the first half of task arithmetic, which then moves the opposite way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factcensus.unlearn.objectives.registry import objective

if TYPE_CHECKING:
    import torch

    from factcensus.unlearn.objectives.scores import AnswerScores


@objective(
    "learn", source="Ilharco et al. (2023), arXiv:2212.04089 (the fine-tuning half of task arithmetic)", token_mean=True
)
def learn(scores: AnswerScores) -> torch.Tensor:
    """+l: the answer's mean loss; with `negate` the model then becomes W0 - negate (W - W0).

    Without ``negate``, this loss *teaches* the forget set and is not an unlearning method.

    Reduction: mean over the answer's tokens, then over facts.
    """
    return scores.mean_nll
