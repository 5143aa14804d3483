"""Representation misdirection: push the activations of one layer in a fixed random direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from factcensus.unlearn.objectives.registry import AT_LEAST_ZERO, WHOLE, objective

if TYPE_CHECKING:
    from factcensus.unlearn.objectives.scores import AnswerScores


@objective(
    "rmu",
    source="Li et al. (2024), arXiv:2403.03218 (WMDP)",
    needs=["hidden"],
    token_mean=True,
    accepted={"steering": AT_LEAST_ZERO, "direction_seed": WHOLE},
)
def rmu(scores: AnswerScores, *, steering: float = 20.0, direction_seed: int = 0) -> torch.Tensor:
    """|| h - c u ||^2 / D: h is the activation at the method's layer, u a random unit vector, c the coefficient.

    u is uniform in [0, 1]^D before it is scaled to length 1, as published. The loss uses the positions that predict
    the answer's tokens; the activation *at* a one-token answer would not affect its prediction. The forward pass ends
    at the layer (:func:`factcensus.unlearn.training.layers.hidden_at`), so later layers cost nothing and get no
    gradient.

    Args:
        scores: The forget answers; ``hidden`` is (B, T, D).
        steering: c; choose it relative to the norm of the model's activations (the authors use 20 for 7B models).
        direction_seed: Seed of u.

    Reduction: mean over dimensions, then over the answer's positions, then over facts. The gradient with respect to h
    is 2 (h - c u) / (D T), which shrinks as h approaches c u.
    """
    assert scores.hidden is not None
    generator = torch.Generator().manual_seed(int(direction_seed))
    uniform = torch.rand(scores.hidden.shape[-1], generator=generator)
    goal = (steering * uniform / uniform.norm()).to(scores.hidden.device)
    return scores.mean_over_tokens((scores.hidden.float() - goal).square().mean(dim=-1))
