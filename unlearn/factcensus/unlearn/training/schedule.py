"""How the learning rate moves: up in a line, then constant, in a line to 0, or as a cosine to 0."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "linear", "cosine"]


def rate_at(step: int, steps: int, peak: float, warmup_share: float, schedule: Schedule) -> float:
    """Learning rate of a step.

    Args:
        step: The step, from 0 to ``steps`` - 1.
        steps: Steps in all.
        peak: The highest rate.
        warmup_share: Share of the steps in which the rate rises to the peak; no step has rate 0.
        schedule: What comes after: ``linear`` and ``cosine`` end just above 0.
    """
    warmup = math.ceil(warmup_share * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    rest = (step - warmup) / max(1, steps - warmup)
    return peak * (1 - rest) if schedule == "linear" else peak * 0.5 * (1 + math.cos(math.pi * rest))
