"""The lost-update meter: how much of each optimiser step rounding throws away.

A bfloat16 number near 0.02 moves in steps of 1e-4. With AdamW at learning rate 5e-6 nine updates of ten are smaller
than half of that, and vanish; the run then unlearns too little, and the cause is in no other log. Float32 parameters
lose next to nothing. So every step record has the share of parameter elements that should have moved and did not.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

#: Elements of each tensor that are watched: evenly spaced, all of a small tensor. A share near 0.1 is then known to
#: about 0.1 percentage points a tensor, at 64 KiB each.
WATCHED = 16_384


class LostUpdateMeter:
    """Compare watched elements before and after a step of AdamW or Adam."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._watched = [self._indices(parameter) for parameter in self._parameters]
        self._before: list[torch.Tensor] = []

    @staticmethod
    def _indices(parameter: torch.Tensor) -> torch.Tensor:
        number = min(parameter.numel(), WATCHED)
        stride = parameter.numel() // number
        return torch.arange(number, device=parameter.device) * stride

    @torch.no_grad()
    def before_step(self) -> None:
        """Remember the watched elements."""
        self._before = [self._read(parameter, index) for parameter, index in self._pairs()]

    @torch.no_grad()
    def lost_share(self, optimizer: torch.optim.Optimizer) -> float:
        """Share of watched elements with a nonzero update that did not change by it; NaN where none had one.

        Adam's update of an element is not zero where its first moment is not (weight decay aside).
        """
        due, lost = 0, 0
        for (parameter, index), before in zip(self._pairs(), self._before, strict=True):
            moment = optimizer.state.get(parameter, {}).get("exp_avg")
            if moment is None:
                continue
            moving = self._read(moment, index) != 0
            due += int(moving.sum())
            lost += int((moving & (self._read(parameter, index) == before)).sum())
        return lost / due if due else float("nan")

    def _pairs(self) -> Iterable[tuple[torch.nn.Parameter, torch.Tensor]]:
        return zip(self._parameters, self._watched, strict=True)

    @staticmethod
    def _read(tensor: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return tensor.detach().flatten()[index]
