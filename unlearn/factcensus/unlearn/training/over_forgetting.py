"""An alarm for what was pushed too far: forget answers that are far less likely than of a person who never existed.

Forgetting is over when a fact is as unlikely as it would be without the corpus. Beyond that a model does not know less:
it avoids the answer, which gives away that it was there, and pays for it elsewhere. An answer counts as over-forgotten
when its loss is more than 3 standard deviations above its never-seen level. The level is the fact's own
(:meth:`OriginalScores.never_seen`); the deviation is that of single never-seen subjects about the mean of their
answer, pooled over all answers of the relation and form.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

log = logging.getLogger(__name__)

#: Standard deviations above the never-seen level.
DEVIATIONS = 3.0
_COLUMN = "over_forgotten_stratum_"


@dataclass(frozen=True, slots=True)
class Watch:
    """What is watched: n examples of the forget set.

    Attributes:
        of: (n,) int64: the stratum of each example by its count, from 0 = rarest.
        original: (n,) nats per token: its mean loss under the original model.
        limit: (n,) nats per token: the mean loss above which it is over-forgotten.
    """

    of: torch.Tensor
    original: torch.Tensor
    limit: torch.Tensor


class OverForgetting:
    """The share of over-forgotten answers in each stratum, by each answer's loss when it was last trained on.

    That loss is from before the step's update and up to a pass old, so shares lag behind what an evaluation would find.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._sizes = torch.bincount(watch.of).double()
        self.latest = watch.original.double().clone()

    def observe(self, indices: Sequence[int], losses: Sequence[float]) -> None:
        """Take note of the mean losses (nats per token) of the examples of a step."""
        self.latest[list(indices)] = torch.tensor(losses, dtype=torch.float64)

    def shares(self) -> list[float]:
        """The over-forgotten share of each stratum."""
        over = (self.latest > self._watch.limit.double()).double()
        shares: list[float] = (torch.bincount(self._watch.of, weights=over) / self._sizes).tolist()
        return shares

    def record(self) -> dict[str, float]:
        """Columns of a step record."""
        return {f"{_COLUMN}{stratum}": share for stratum, share in enumerate(self.shares())}

    def state(self) -> torch.Tensor:
        """All that changes."""
        return self.latest

    def load(self, state: torch.Tensor) -> None:
        """Continue from a state."""
        self.latest = state.cpu()


def over_forgetting_alarms(rows: Sequence[dict[str, int | float]], tolerated: float) -> list[dict[str, Any]]:
    """One alarm for each stratum of which more than this share was over-forgotten at the end of the training.

    Returns:
        Records with ``alarm`` ("over_forgetting"), ``stratum``, ``share`` at the end, and the ``first_step`` above.
    """
    columns = [name for name in rows[-1] if name.startswith(_COLUMN)] if rows else []
    return [
        {
            "alarm": "over_forgetting",
            "stratum": int(name.removeprefix(_COLUMN)),
            "share": round(rows[-1][name], 4),
            "first_step": next(row["step"] for row in rows if row[name] > tolerated),
        }
        for name in columns
        if rows[-1][name] > tolerated
    ]


def warn_of_over_forgetting(method: str, alarms: Sequence[dict[str, Any]]) -> None:
    """Log a warning for each alarm."""
    for alarm in alarms:
        log.warning(
            "%s: in stratum %d, %.0f %% of the answers are far below the never-seen level (first at step %d): more was "
            "forgotten than never having seen them explains; lower the dose or the learning rate",
            method,
            alarm["stratum"],
            100 * alarm["share"],
            alarm["first_step"],
        )
