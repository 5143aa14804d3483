"""Simple NPO: length-normalised, with a margin, without a reference model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from factcensus.unlearn.objectives.registry import ABOVE_ZERO, objective

if TYPE_CHECKING:
    from factcensus.unlearn.objectives.scores import AnswerScores


@objective("simnpo", source="Fan et al. (2024), arXiv:2410.07163", uses_margin=True, accepted={"beta": ABOVE_ZERO})
def simnpo(scores: AnswerScores, *, beta: float = 2.5) -> torch.Tensor:
    """-(2/beta) log sigmoid(beta (l - d)): l is the answer's mean loss, d the margin.

    This equals (2/beta) softplus(beta (d - l)). The gradient with respect to l is -2 sigmoid(-beta (l - d)). At margin
    0 and beta 2.5, its weight is 1 for a certain answer and 0.15 at one nat per token. With beta 0.1 it is still 0.95
    there, so the loss behaves like gradient ascent.

    Args:
        scores: The forget answers; ``margin`` is d in nats per token: a number, or each fact's never-seen level.
        beta: Inverse temperature per nat; the authors use 2.5 to 4.5.

    Reduction: mean over the answer's tokens, then over facts.
    """
    return -(2 / beta) * torch.nn.functional.logsigmoid(beta * (scores.mean_nll - scores.margin))
