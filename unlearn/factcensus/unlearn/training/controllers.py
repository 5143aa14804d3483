"""Controllers, which adjust strata weights, the stopping point and the weight of the retain term during training.

Controllers need no extra evaluation: they use the losses that training computes anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from factcensus.unlearn.config.method_config import RetainConstraint, StrataControl
from factcensus.unlearn.errors import ConfigError

#: One-sided 95% quantile of the normal distribution.
Z95 = 1.6448536269514722


@dataclass(frozen=True, slots=True)
class Strata:
    """The strata of a forget set of n examples, with their reference losses.

    Attributes:
        of: (n,) int64: stratum of each example, from 0.
        never_seen: (n,) mean loss of each example at the never-seen level, nats per token.
        original: (n,) mean loss of each example under the original model, nats per token.
    """

    of: torch.Tensor
    never_seen: torch.Tensor
    original: torch.Tensor


class StrataController:
    """Multiplicative weights over strata, which shift effort to strata with remaining knowledge.

    The remaining knowledge of a fact is max(0, never-seen loss - its loss), in nats per token, with the loss from the
    last time it was trained on. In each step, a stratum's log weight grows by ``rate * passes * (its mean - the mean
    over all facts)``. This is dual ascent on the worst stratum, as in group distributionally robust optimisation
    (Sagawa et al. 2020), with remaining knowledge instead of loss. Weights have mean 1 over facts, so the total weight
    is the same as without them.
    """

    def __init__(self, control: StrataControl, strata: Strata) -> None:
        self._control, self._strata = control, strata
        self._number = int(strata.of.max()) + 1
        self._sizes = torch.bincount(strata.of, minlength=self._number).double()
        if control.goal is not None and self._sizes.min() < 2:
            raise ConfigError(
                f"strata_control.goal needs at least 2 forget examples in every stratum, but stratum "
                f"{int(self._sizes.argmin())} has {int(self._sizes.min())}; use fewer strata, or no goal"
            )
        self.latest = strata.original.double().clone()
        self.log_weights = torch.zeros(self._number, dtype=torch.float64)

    def weights(self) -> torch.Tensor:
        """Return the weight of each stratum, (strata,); their mean over facts is 1."""
        bound = math.log(self._control.limit)
        weights = self.log_weights.clamp(-bound, bound).exp()
        return weights / ((weights * self._sizes).sum() / self._sizes.sum())

    def fact_weights(self, indices: torch.Tensor) -> torch.Tensor:
        """Return the weights of these examples, (B,) float32."""
        return self.weights()[self._strata.of[indices]].float()

    def remaining(self) -> torch.Tensor:
        """Return the mean remaining knowledge of each stratum, (strata,), in nats per token."""
        left = (self._strata.never_seen.double() - self.latest).clamp(min=0)
        return torch.zeros(self._number, dtype=torch.float64).scatter_add_(0, self._strata.of, left) / self._sizes

    def observe(self, indices: Sequence[int], losses: Sequence[float]) -> None:
        """Record the mean losses (nats per token) of a step's examples and update the weights."""
        self.latest[list(indices)] = torch.tensor(losses, dtype=torch.float64)
        left = self.remaining()
        mean = (left * self._sizes).sum() / self._sizes.sum()
        passes = len(indices) / len(self.latest)
        self.log_weights += self._control.rate * passes * (left - mean)
        self.log_weights -= (self.log_weights * self._sizes).sum() / self._sizes.sum()
        bound = math.log(self._control.limit)
        self.log_weights.clamp_(-bound, bound)  # prevent wind-up beyond the limits of the weights

    def upper_bounds(self) -> torch.Tensor:
        """Return the upper 95% bound of each stratum's mean answer probability above the never-seen level, (strata,).

        An answer's probability is exp(-mean loss), the geometric mean over its tokens. The bound is one-sided, by
        Student's t. Losses may be up to one pass old, which makes the bound conservative.
        """
        left = ((-self.latest).exp() - (-self._strata.never_seen.double()).exp()).clamp(min=0)
        bounds = torch.empty(self._number, dtype=torch.float64)
        for stratum in range(self._number):
            values = left[self._strata.of == stratum]
            spread = values.std() / math.sqrt(len(values)) if len(values) > 1 else torch.tensor(math.inf)
            bounds[stratum] = values.mean() + student95(len(values) - 1) * spread
        return bounds

    def is_enough(self) -> bool:
        """Return whether every stratum has reached the goal."""
        goal = self._control.goal
        return goal is not None and bool((self.upper_bounds() < goal).all())

    def record(self) -> dict[str, float]:
        """Return the columns of a step record: remaining knowledge and weight of each stratum."""
        left, weights = self.remaining().tolist(), self.weights().tolist()
        return {f"remaining_nats_stratum_{stratum}": value for stratum, value in enumerate(left)} | {
            f"weight_stratum_{stratum}": value for stratum, value in enumerate(weights)
        }

    def state(self) -> dict[str, Any]:
        """Return the state to save."""
        return {"latest": self.latest, "log_weights": self.log_weights}

    def load(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        self.latest, self.log_weights = state["latest"].cpu(), state["log_weights"].cpu()


class ConstraintController:
    """The weight of the retain term as a dual variable: alpha <- max(0, alpha + eta (retain - epsilon)).

    Source: Entesari et al. (2025), arXiv:2506.05314, where epsilon must be given. Here it may also be measured as the
    original model's retain term plus a tolerance.
    """

    def __init__(self, constraint: RetainConstraint, alpha: float, original_retain: float) -> None:
        self._constraint = constraint
        self.limit = constraint.limit if constraint.limit is not None else original_retain + constraint.tolerance
        self.alpha = alpha

    def observe(self, retain: float, passes: float) -> None:
        """Update alpha from the retain term of a step that ends after ``passes`` passes."""
        if passes > self._constraint.warmup_passes:
            self.alpha = max(0.0, self.alpha + self._constraint.rate * (retain - self.limit))

    def state(self) -> dict[str, Any]:
        """Return the state to save."""
        return {"alpha": self.alpha}

    def load(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        self.alpha = float(state["alpha"])


def student95(freedom: int) -> float:
    """Return the one-sided 95% quantile of Student's t, from its expansion around the normal quantile.

    The error is below 0.5% from 3 degrees of freedom on (Abramowitz and Stegun 26.7.5); 1 and 2 are exact.
    """
    if freedom < 3:
        return (math.inf, 6.313751514675043, 2.919985580353725)[max(freedom, 0)]
    z, n = Z95, float(freedom)
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )
