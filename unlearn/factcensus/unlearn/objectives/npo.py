"""Negative preference optimisation: gradient ascent that fades once the answer is less likely than before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from factcensus.unlearn.objectives.registry import ABOVE_ZERO, objective

if TYPE_CHECKING:
    from factcensus.unlearn.objectives.scores import AnswerScores


@objective(
    "npo", source="Zhang et al. (2024), arXiv:2404.05868", needs=["reference_nll"], accepted={"beta": ABOVE_ZERO}
)
def npo(scores: AnswerScores, *, beta: float = 0.1) -> torch.Tensor:
    """-(2/beta) log sigmoid(beta (S - S0)): S is the answer's summed loss, S0 the same under the original model.

    The gradient with respect to S is -2 sigmoid(-beta (S - S0)): -1 at the start, as in gradient ascent, then
    approaching 0. As beta goes to 0, the gradient stays -1: apart from the constant -(2/beta) log(1/2), the loss
    becomes -(S - S0).

    Args:
        scores: The forget answers; ``reference_nll`` is S0, one cached number per fact.
        beta: Inverse temperature per nat; 0.1 as published.

    Reduction: sum over the answer's tokens, as published (long answers weigh more), then a mean over facts.
    """
    return -(2 / beta) * torch.nn.functional.logsigmoid(beta * (scores.nll - scores.reference_nll))
