"""Wrappers of the forget gradient: SAM computes it at the worst point near the weights, GRU protects the retain term.

Both use only gradients, so they work with every objective. SAM keeps nothing between steps; GRU keeps a moving average.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch

Parameters = Sequence[torch.nn.Parameter]
#: Turns a sum over the elements of this process into a sum over all elements.
Total = Callable[[float], float]


@contextmanager
def worst_neighbour(parameters: Parameters, rho: float, total: Total = float) -> Iterator[None]:
    """Inside the block, set the weights to W + rho g / |g|, where g are the current gradients, and clear the gradients.

    Afterwards the weights have their old bytes again; gradients computed inside the block remain.
    Source: Foret et al. (2021), arXiv:2010.01412; for unlearning Fan et al. (2025), arXiv:2502.05374.
    """
    norm = _norm(parameters, total)
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
    """Return the current gradients (zeros for missing ones) and clear them."""
    taken = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
    for parameter in parameters:
        parameter.grad = None
    return taken


class Rectifier:
    """GRU: adds a forget gradient to the current retain gradients, without the component that opposes retaining.

    The added gradient is g_f - min(0, <g_f, m>) / |m|^2 m, with inner products over all parameters. m is a moving
    average of the retain gradient: m <- gamma g_r + (1 - gamma) m, starting at 0. To first order, the forget step never
    increases the retain term of this batch (gamma = 1, which keeps no copy) or of recent batches. Only the direction of
    m matters. Source: Wang et al. (2025), arXiv:2503.09117; gamma = 0.8 as in their open-unlearning implementation.
    """

    def __init__(self, parameters: Parameters, gamma: float, total: Total = float) -> None:
        self._parameters, self._gamma, self._total = parameters, gamma, total
        self._average = [torch.zeros_like(each) for each in parameters] if gamma < 1 else []

    @torch.no_grad()
    def add(self, forget: Sequence[torch.Tensor]) -> bool:
        """Add the forget gradient; return whether it opposed the retain gradient."""
        for average, parameter in zip(self._average, self._parameters, strict=False):
            average.mul_(1 - self._gamma)
            if parameter.grad is not None:
                average.add_(parameter.grad, alpha=self._gamma)
        retain = self._average or [
            torch.zeros_like(each) if each.grad is None else each.grad for each in self._parameters
        ]
        inner = self._total(sum(float((f.double() * r.double()).sum()) for f, r in zip(forget, retain, strict=True)))
        square = self._total(sum(float(each.double().square().sum()) for each in retain))
        opposed = inner < 0 and square > 0
        for parameter, gradient, direction in zip(self._parameters, forget, retain, strict=True):
            if opposed:
                gradient.sub_(direction, alpha=inner / square)
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
        return opposed

    def state(self) -> list[torch.Tensor]:
        """Return the complete state between two steps."""
        return self._average

    @torch.no_grad()
    def load(self, state: Sequence[torch.Tensor]) -> None:
        """Restore a saved state."""
        for average, value in zip(self._average, state, strict=True):
            average.copy_(value)


def _norm(parameters: Parameters, total: Total) -> float:
    squares = [parameter.grad.double().square().sum() for parameter in parameters if parameter.grad is not None]
    return math.sqrt(total(float(torch.stack(squares).sum()) if squares else 0.0))
