"""The share of parameter updates that rounding discards in each optimiser step.

A bfloat16 number near 0.02 changes in steps of 1e-4. With AdamW at learning rate 5e-6, nine of ten updates are smaller
than half a step and vanish. The run then unlearns too little, and no other log shows the cause. Float32 parameters lose
almost nothing. Every step record therefore has the share of parameter elements that should have changed but did not,
and a run with a share above 1% logs a warning.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence

import torch

from factcensus.unlearn.training.optimizers import RoundedAdamW

#: Number of monitored elements per tensor, evenly spaced; small tensors are monitored completely. A share near 0.1 is
#: then accurate to about 0.1 percentage points per tensor, at 64 KiB each.
WATCHED = 16_384
#: Share of lost updates above which a run logs a warning.
TOLERATED_SHARE = 0.01
_log = logging.getLogger("factcensus.unlearn")


class LostUpdateMeter:
    """Compares monitored elements before and after a step of AdamW or Adam."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._watched = [self._indices(parameter) for parameter in self._parameters]
        self._before: list[torch.Tensor] = []
        self._due: list[torch.Tensor] = []
        self._kept: list[torch.Tensor | None] = []

    @staticmethod
    def _indices(parameter: torch.Tensor) -> torch.Tensor:
        number = min(parameter.numel(), WATCHED)
        stride = parameter.numel() // number
        return torch.arange(number, device=parameter.device) * stride

    @torch.no_grad()
    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Store the monitored elements before a step."""
        pairs = list(zip(self._parameters, self._watched, strict=True))
        self._before = [self._read(parameter, index) for parameter, index in pairs]
        self._due = [
            torch.zeros(len(index), dtype=torch.bool, device=index.device)
            if parameter.grad is None
            else self._read(parameter.grad, index) != 0
            for parameter, index in pairs
        ]
        kept = [optimizer.state.get(parameter, {}).get("compensation") for parameter in self._parameters]
        self._kept = [
            None if tensor is None else self._read(tensor, index)
            for tensor, index in zip(kept, self._watched, strict=True)
        ]

    @torch.no_grad()
    def lost_share(self, optimizer: torch.optim.Optimizer) -> float:
        """Return the share of monitored elements with a nonzero update that did not change; NaN without such updates.

        An element has an update if its gradient or first moment is not 0 (apart from weight decay). With Kahan
        summation, a change of the compensation counts as a change. With stochastic rounding, most elements correctly
        stay unchanged, so the result is the missing share of the *distance*: 1 - sum(distance moved) / sum(update). It
        is 0 on average and fluctuates around it.
        """
        if isinstance(optimizer, RoundedAdamW) and not optimizer.kahan:
            return self._lost_distance(optimizer)
        due, lost = 0, 0
        for place, (parameter, index) in enumerate(zip(self._parameters, self._watched, strict=True)):
            state = optimizer.state.get(parameter, {})
            moving = self._due[place]
            if "exp_avg" in state:
                moving = moving | (self._read(state["exp_avg"], index) != 0)
            still = self._read(parameter, index) == self._before[place]
            if "compensation" in state:
                before = self._kept[place]
                now = self._read(state["compensation"], index)
                still &= (now == 0) if before is None else (now == before)
            due += int(moving.sum())
            lost += int((moving & still).sum())
        return lost / due if due else float("nan")

    def _lost_distance(self, optimizer: RoundedAdamW) -> float:
        group_of = {parameter: group for group in optimizer.param_groups for parameter in group["params"]}
        wanted, moved = 0.0, 0.0
        for place, (parameter, index) in enumerate(zip(self._parameters, self._watched, strict=True)):
            if "exp_avg" not in optimizer.state.get(parameter, {}):
                continue
            update = self._read(optimizer.update_of(parameter, group_of[parameter]), index)
            change = self._read(parameter, index).float() - self._before[place].float()
            wanted += float(update.abs().sum())
            moved += float((change * update.sign()).sum())
        return max(0.0, 1 - moved / wanted) if wanted else float("nan")

    @staticmethod
    def _read(tensor: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return tensor.detach().flatten()[index]


def warn_of_lost_updates(name: str, shares: Sequence[float]) -> None:
    """Log a warning if, on average over its steps, a run lost more than 1% of its updates."""
    known = [share for share in shares if not math.isnan(share)]
    mean = sum(known) / len(known) if known else 0.0
    if mean > TOLERATED_SHARE:
        _log.warning(
            "%s: rounding discarded %.1f %% of the parameter updates, so the model unlearned less than the learning "
            "rate implies; use dtype = 'float32' or 'bfloat16-autocast', or training.optimizer = 'adamw_kahan'",
            name,
            100 * mean,
        )
