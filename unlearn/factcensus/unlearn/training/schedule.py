"""The learning-rate schedule: linear warm-up, then constant, linear to 0, or cosine to 0."""

from __future__ import annotations

import math

from factcensus.unlearn.config.choices import Schedule


def rate_at(step: int, steps: int, peak: float, warmup_share: float, schedule: Schedule) -> float:
    """Return the learning rate of a step.

    Args:
        step: The step, from 0 to ``steps`` - 1.
        steps: Total number of steps.
        peak: The highest rate.
        warmup_share: Share of the steps in which the rate rises to the peak; no step has rate 0.
        schedule: The schedule after the warm-up; ``linear`` and ``cosine`` end just above 0.
    """
    warmup = math.ceil(warmup_share * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    rest = (step - warmup) / max(1, steps - warmup)
    return peak * (1 - rest) if schedule == "linear" else peak * 0.5 * (1 + math.cos(math.pi * rest))
