"""Gradient difference: gradient ascent on the forget answers, descent on the retain answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from factcensus.unlearn.objectives.registry import AT_LEAST_ZERO, objective, or_none

if TYPE_CHECKING:
    import torch

    from factcensus.unlearn.objectives.scores import AnswerScores


@objective(
    "grad_diff",
    source="Liu et al. (2022), arXiv:2203.12817; Maini et al. (2024), arXiv:2401.06121",
    token_mean=True,
    accepted={"ceiling_nats": or_none(AT_LEAST_ZERO)},
)
def grad_diff(scores: AnswerScores, *, ceiling_nats: float | None = None) -> torch.Tensor:
    """-l: the forget term of gradient difference; the retain term is the other half.

    Args:
        scores: The forget answers.
        ceiling_nats: Clip a fact's mean loss at this value, so that its gradient is 0 above it. None: no limit, as
            published.

    Reduction: mean over the answer's tokens, then over facts.
    """
    loss = -scores.mean_nll
    return loss if ceiling_nats is None else loss.clamp(min=-ceiling_nats)
