"""Controllers: numbers outside the gradient that steer it. Which strata are pushed, when to stop, how hard to retain.

Nothing here takes an evaluation of its own: what a controller follows are the losses that training computes anyway.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from factcensus.unlearn.config.method_config import RetainConstraint, StrataControl
from factcensus.unlearn.errors import ConfigError

#: One-sided 95 % quantile of the normal distribution.
Z95 = 1.6448536269514722


@dataclass(frozen=True, slots=True)
class Strata:
    """What a stratum controller needs of the forget set: n examples.

    Attributes:
        of: (n,) int64: the stratum of each example, from 0.
        never_seen: (n,) nats per token: its mean loss at the never-seen level.
        original: (n,) nats per token: its mean loss under the original model.
    """

    of: torch.Tensor
    never_seen: torch.Tensor
    original: torch.Tensor


class StrataController:
    """Multiplicative weights over strata: effort goes where knowledge is left.

    What a fact still remembers is max(0, never-seen loss - its loss), nats per token, by its loss when it was last
    trained on. A stratum's log weight grows by ``rate * passes * (its mean - the mean over all facts)`` a step: dual
    ascent on the worst stratum, as in group distributionally robust optimisation (Sagawa et al. 2020), with remaining
    knowledge in place of loss. Weights have mean 1 over facts, so the whole push stays as large as without them.
    """

    def __init__(self, control: StrataControl, strata: Strata) -> None:
        self._control, self._strata = control, strata
        self._number = int(strata.of.max()) + 1
        self._sizes = torch.bincount(strata.of, minlength=self._number).double()
        if control.goal is not None and self._sizes.min() < 2:
            raise ConfigError(
                f"strata_control.goal needs at least 2 forget examples in every stratum, and stratum "
                f"{int(self._sizes.argmin())} has {int(self._sizes.min())}; use fewer strata, or no goal"
            )
        self.latest = strata.original.double().clone()
        self.log_weights = torch.zeros(self._number, dtype=torch.float64)

    def weights(self) -> torch.Tensor:
        """(strata,) weight of each stratum; their mean over facts is 1."""
        bound = math.log(self._control.limit)
        weights = self.log_weights.clamp(-bound, bound).exp()
        return weights / ((weights * self._sizes).sum() / self._sizes.sum())

    def fact_weights(self, indices: torch.Tensor) -> torch.Tensor:
        """(B,) float32 weights of these examples."""
        return self.weights()[self._strata.of[indices]].float()

    def remaining(self) -> torch.Tensor:
        """(strata,) nats per token above the never-seen level, mean over a stratum's examples."""
        left = (self._strata.never_seen.double() - self.latest).clamp(min=0)
        return torch.zeros(self._number, dtype=torch.float64).scatter_add_(0, self._strata.of, left) / self._sizes

    def observe(self, indices: Sequence[int], losses: Sequence[float]) -> None:
        """Take note of the mean losses (nats per token) of the examples of a step, and move the weights."""
        self.latest[list(indices)] = torch.tensor(losses, dtype=torch.float64)
        left = self.remaining()
        mean = (left * self._sizes).sum() / self._sizes.sum()
        passes = len(indices) / len(self.latest)
        self.log_weights += self._control.rate * passes * (left - mean)
        self.log_weights -= (self.log_weights * self._sizes).sum() / self._sizes.sum()
        bound = math.log(self._control.limit)
        self.log_weights.clamp_(-bound, bound)  # no wind-up beyond what the weights can follow

    def upper_bounds(self) -> torch.Tensor:
        """(strata,) upper 95 % bound of the mean answer probability left above the never-seen level.

        An answer's probability is exp(-mean loss), the geometric mean over its tokens. The bound is one-sided, by
        Student's t; a loss from earlier in the pass counts as it was, which is the cautious side.
        """
        left = ((-self.latest).exp() - (-self._strata.never_seen.double()).exp()).clamp(min=0)
        bounds = torch.empty(self._number, dtype=torch.float64)
        for stratum in range(self._number):
            values = left[self._strata.of == stratum]
            spread = values.std() / math.sqrt(len(values)) if len(values) > 1 else torch.tensor(math.inf)
            bounds[stratum] = values.mean() + student95(len(values) - 1) * spread
        return bounds

    def is_enough(self) -> bool:
        """Whether the goal is reached in every stratum."""
        goal = self._control.goal
        return goal is not None and bool((self.upper_bounds() < goal).all())

    def record(self) -> dict[str, float]:
        """Columns of a step record: what is left in each stratum, and its weight."""
        left, weights = self.remaining().tolist(), self.weights().tolist()
        return {f"remaining_nats_stratum_{stratum}": value for stratum, value in enumerate(left)} | {
            f"weight_stratum_{stratum}": value for stratum, value in enumerate(weights)
        }

    def state(self) -> dict[str, Any]:
        """All that changes."""
        return {"latest": self.latest, "log_weights": self.log_weights}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.latest, self.log_weights = state["latest"].cpu(), state["log_weights"].cpu()


class ConstraintController:
    """The factor of the retain term as a dual variable: alpha <- max(0, alpha + eta (retain - epsilon)).

    Source: Entesari et al. (2025), arXiv:2506.05314, where epsilon must be given. Here it may be measured: the
    original model's own retain term and a tolerance.
    """

    def __init__(self, constraint: RetainConstraint, alpha: float, original_retain: float) -> None:
        self._constraint = constraint
        self.limit = constraint.limit if constraint.limit is not None else original_retain + constraint.tolerance
        self.alpha = alpha

    def observe(self, retain: float, passes: float) -> None:
        """Move alpha by the retain term of a step, which ends after so many passes."""
        if passes > self._constraint.warmup_passes:
            self.alpha = max(0.0, self.alpha + self._constraint.rate * (retain - self.limit))

    def state(self) -> dict[str, Any]:
        """All that changes."""
        return {"alpha": self.alpha}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.alpha = float(state["alpha"])


def student95(freedom: int) -> float:
    """One-sided 95 % quantile of Student's t, from the expansion about the normal one.

    Within 0.5 % from 3 degrees of freedom on (Abramowitz and Stegun 26.7.5); 1 and 2 are exact.
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
