"""An alarm for over-forgetting: forget answers far less likely than for a person who never existed.

A fact is forgotten when its answer is as unlikely as without the corpus. If the answer becomes even less likely, the
model does not know less. It avoids the answer, which reveals that the fact was there, and other knowledge suffers. An
answer counts as over-forgotten if its loss is more than 3 standard deviations above its never-seen level. Each fact has
its own level (:meth:`OriginalScores.never_seen`). The deviation is that of single never-seen subjects around the mean
for their answer, pooled over all answers of the relation and form.
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
    """The n monitored examples of a forget set.

    Attributes:
        of: (n,) int64: count stratum of each example, from 0 = rarest.
        original: (n,) mean loss under the original model, nats per token.
        limit: (n,) mean loss above which an example is over-forgotten, nats per token.
    """

    of: torch.Tensor
    original: torch.Tensor
    limit: torch.Tensor


class OverForgetting:
    """Tracks the share of over-forgotten answers per stratum, from the last training loss of each answer.

    This loss is from before the step's update and up to one pass old, so the shares lag behind an evaluation.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._sizes = torch.bincount(watch.of).double()
        self.latest = watch.original.double().clone()

    def observe(self, indices: Sequence[int], losses: Sequence[float]) -> None:
        """Record the mean losses (nats per token) of a step's examples."""
        self.latest[list(indices)] = torch.tensor(losses, dtype=torch.float64)

    def shares(self) -> list[float]:
        """Return the over-forgotten share of each stratum."""
        over = (self.latest > self._watch.limit.double()).double()
        shares: list[float] = (torch.bincount(self._watch.of, weights=over) / self._sizes).tolist()
        return shares

    def record(self) -> dict[str, float]:
        """Return the columns of a step record."""
        return {f"{_COLUMN}{stratum}": share for stratum, share in enumerate(self.shares())}

    def state(self) -> torch.Tensor:
        """Return the state to save."""
        return self.latest

    def load(self, state: torch.Tensor) -> None:
        """Restore a saved state."""
        self.latest = state.cpu()


def over_forgetting_alarms(rows: Sequence[dict[str, int | float]], tolerated: float) -> list[dict[str, Any]]:
    """Return one alarm per stratum whose over-forgotten share at the end of training exceeds ``tolerated``.

    Returns:
        Records with ``alarm`` ("over_forgetting"), ``stratum``, ``share`` at the end, and the ``first_step`` above the
        threshold.
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
            "%s: in stratum %d, %.0f %% of the answers are far below the never-seen level (first at step %d), so they "
            "are avoided rather than forgotten; lower the dose or the learning rate",
            method,
            alarm["stratum"],
            100 * alarm["share"],
            alarm["first_step"],
        )
