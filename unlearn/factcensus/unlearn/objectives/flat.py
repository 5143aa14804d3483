"""An f-divergence between a template answer and the forget answer, without retain set or reference model."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from factcensus.unlearn.errors import unknown_name
from factcensus.unlearn.objectives.registry import objective, one_of

if TYPE_CHECKING:
    from factcensus.unlearn.objectives.scores import AnswerScores


_Function = Callable[[torch.Tensor], torch.Tensor]

DIVERGENCES: dict[str, tuple[_Function, _Function]] = {
    "kl": (lambda v: v, lambda u: torch.exp(u - 1)),
    "total_variation": (lambda v: torch.tanh(v) / 2, lambda u: u),
    "pearson": (lambda v: v, lambda u: u.square() / 4 + u),
    "jensen_shannon": (
        lambda v: math.log(2) + torch.nn.functional.logsigmoid(v),
        lambda u: -torch.log(2 - torch.exp(u)),
    ),
}


@objective(
    "flat",
    source="Wang et al. (2025), arXiv:2410.11143 (FLAT)",
    needs=["preferred"],
    accepted={"divergence": one_of(DIVERGENCES)},
)
def flat(scores: AnswerScores, *, divergence: str = "kl") -> torch.Tensor:
    """-[g(P(template)) - f*(g(P(answer)))]: P is an answer's mean token probability; the divergence defines g and f*.

    This is the variational form of an f-divergence: g is the output activation of the optimal critic, and f* is the
    conjugate of f (Nowozin et al. 2016). Minimising it makes the template more likely and the answer less likely. The
    loss is bounded because P is.

    Args:
        scores: The forget answers, and ``scores.preferred``, the template answer (here the refusal).
        divergence: ``kl``: g(v) = v, f*(u) = e^(u-1). ``total_variation``: g(v) = tanh(v)/2, f*(u) = u.
            ``pearson``: g(v) = v, f*(u) = u^2/4 + u. ``jensen_shannon``: g(v) = ln 2 - ln(1 + e^-v),
            f*(u) = -ln(2 - e^u).

    Reduction: P is a mean over tokens; the loss is then a mean over facts.
    """
    if divergence not in DIVERGENCES:
        raise unknown_name("divergence", divergence, DIVERGENCES)
    assert scores.preferred is not None
    activation, conjugate = DIVERGENCES[divergence]
    template = scores.preferred.mean_over_tokens(scores.preferred.token_log_probabilities.exp())
    answer = scores.mean_over_tokens(scores.token_log_probabilities.exp())
    return -(activation(template) - conjugate(activation(answer)))
