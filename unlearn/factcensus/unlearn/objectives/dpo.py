"""Preference optimisation with the fact's answer as the rejected one: refusals, given or self-made alternatives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from factcensus.unlearn.objectives.registry import objective

if TYPE_CHECKING:
    from factcensus.unlearn.objectives.scores import AnswerScores


@objective(
    "dpo",
    source="Rafailov et al. (2023), arXiv:2305.18290; for unlearning Maini et al. (2024), arXiv:2401.06121",
    needs=("reference_nll", "preferred"),
)
def dpo(scores: AnswerScores, *, beta: float = 0.1) -> torch.Tensor:
    """-(2/beta) log sigmoid(beta [(S0 - S)(preferred) - (S0 - S)(answer)]): prefer another answer.

    S is the summed loss of an answer and S0 the original model's, one cached number for each. The factor 2/beta is
    that of NPO, which is this loss without the preferred answer; TRL's DPO loss is this one times beta/2.
    With d the bracket, the gradient with respect to S(answer) is -2 sigmoid(-beta d), and to S(preferred) its opposite.

    Args:
        scores: The forget answers, and ``scores.preferred``: a refusal (IdkDPO), an answer of the table (DPO), or
            one that the original model made up itself (AltPO).
        beta: Inverse temperature per nat; 0.1 as in TOFU.

    Reduction: sums over tokens, as published; mean over facts outside.
    """
    assert scores.preferred is not None
    preferred = scores.preferred.reference_nll - scores.preferred.nll
    rejected = scores.reference_nll - scores.nll
    return -(2 / beta) * torch.nn.functional.logsigmoid(beta * (preferred - rejected))
