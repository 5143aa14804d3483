"""Representation misdirection: push activations at one layer to a fixed random direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from factcensus.unlearn.objectives.registry import objective

if TYPE_CHECKING:
    from factcensus.unlearn.objectives.scores import AnswerScores


@objective("rmu", source="Li et al. (2024), arXiv:2403.03218 (WMDP)", needs=["hidden"], token_mean=True)
def rmu(scores: AnswerScores, *, steering: float = 20.0, direction_seed: int = 0) -> torch.Tensor:
    """|| h - c u ||^2 / D: h the activation at the method's layer, u one random unit vector, c the steering.

    u is uniform in [0, 1]^D before it is scaled to length 1, as published. Taken where the answer's tokens are
    predicted: an activation *at* a one-token answer would decide nothing. The forward pass ends at the layer
    (:func:`factcensus.unlearn.training.layers.hidden_at`), so what lies behind it costs nothing and gets no gradient.

    Args:
        scores: The forget answers; ``hidden`` is (B, T, D).
        steering: c; the size of an activation in the model is what to compare it with (20 is the authors' for 7B).
        direction_seed: Of u.

    Reduction: mean over dimensions, then over the answer's positions; mean over facts outside. The gradient with
    respect to h is 2 (h - c u) / (D T): towards c u, weaker the nearer, bounded below by 0.
    """
    assert scores.hidden is not None
    generator = torch.Generator().manual_seed(int(direction_seed))
    uniform = torch.rand(scores.hidden.shape[-1], generator=generator)
    goal = (steering * uniform / uniform.norm()).to(scores.hidden.device)
    return scores.mean_over_tokens((scores.hidden.float() - goal).square().mean(dim=-1))
