"""Wrappers of the forget gradient: SAM takes it at the worst neighbour of the weights, GRU spares the retain term.

Both look at gradients only, so they go with every objective and keep nothing between steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

Parameters = Sequence[torch.nn.Parameter]


@contextmanager
def worst_neighbour(parameters: Parameters, rho: float) -> Iterator[None]:
    """Inside, the weights are W + rho g / |g|, g the gradients at hand; these are then dropped.

    Afterwards the weights have their old bytes again, and the gradients that were computed inside.
    Source: Foret et al. (2021), arXiv:2010.01412; for unlearning Fan et al. (2025), arXiv:2502.05374.
    """
    norm = _norm(parameters)
    before = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        for parameter in parameters:
            if parameter.grad is not None and norm > 0:
                parameter.add_(parameter.grad, alpha=rho / norm)
            parameter.grad = None
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)


@torch.no_grad()
def take_gradients(parameters: Parameters) -> list[torch.Tensor]:
    """The gradients at hand, zeros where there is none; they are taken away from the parameters."""
    taken = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
    for parameter in parameters:
        parameter.grad = None
    return taken


@torch.no_grad()
def add_rectified(parameters: Parameters, forget: Sequence[torch.Tensor]) -> bool:
    """Add a forget gradient to the retain gradients at hand, without the part that opposes them.

    g_f - min(0, <g_f, g_r>) / |g_r|^2 g_r, inner products over all parameters: to first order the forget step then
    never raises the retain term. Returns whether there was such a part.
    Source: Wang et al. (2025), arXiv:2503.09117, without their moving average of g_r.
    """
    inner, square = 0.0, 0.0
    for parameter, gradient in zip(parameters, forget, strict=True):
        if parameter.grad is not None:
            inner += float((gradient.double() * parameter.grad.double()).sum())
            square += float(parameter.grad.double().square().sum())
    opposed = inner < 0 and square > 0
    for parameter, gradient in zip(parameters, forget, strict=True):
        if parameter.grad is None:
            parameter.grad = gradient
        else:
            parameter.grad.mul_(1 - inner / square if opposed else 1.0).add_(gradient)
    return opposed


def _norm(parameters: Parameters) -> float:
    squares = [parameter.grad.double().square().sum() for parameter in parameters if parameter.grad is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
