"""Negative preference optimisation: ascent that stops by itself once the answer is less likely than it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from factcensus.unlearn.objectives.registry import objective

if TYPE_CHECKING:
    from factcensus.unlearn.objectives.scores import AnswerScores


@objective("npo", source="Zhang et al. (2024), arXiv:2404.05868", needs=["reference_nll"])
def npo(scores: AnswerScores, *, beta: float = 0.1) -> torch.Tensor:
    """-(2/beta) log sigmoid(beta (S - S0)): S is the answer's summed loss, S0 the original model's.

    The gradient with respect to S is -2 sigmoid(-beta (S - S0)): -1 at the start, like gradient ascent, then falling.
    As beta goes to 0 it stays -1: up to the constant -(2/beta) log(1/2), the loss becomes -(S - S0).

    Args:
        scores: The forget answers; ``reference_nll`` is S0, one cached number a fact.
        beta: Inverse temperature per nat; 0.1 as published.

    Reduction: sum over the answer's tokens, as published (so a long answer pushes harder); mean over facts outside.
    """
    return -(2 / beta) * torch.nn.functional.logsigmoid(beta * (scores.nll - scores.reference_nll))
