"""How hard to push on each fact: by its count, and by the two controls a count has to beat.

All kinds but ``uniform`` use the same set of numbers, exp(strength * z(log10(1 + count))) scaled to mean 1, and deal
it to the facts in another order. So a difference between them is a difference of *who* gets which weight, never of
how uneven the weights are.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from factcensus.unlearn.errors import ConfigError, unknown_name

WeightKind = Literal["uniform", "count", "loss_rank", "shuffled_count"]
WEIGHT_KINDS: tuple[WeightKind, ...] = get_args(WeightKind)
Floats = npt.NDArray[np.float64]


def count_weights(counts: npt.ArrayLike, strength: float) -> Floats:
    """w_i proportional to exp(strength * z_i), mean 1; z_i is the standardised log10(1 + count_i).

    Standardised with the mean and population standard deviation over these facts; equal counts give weights of 1.
    """
    logarithms = np.log10(1 + np.asarray(counts, dtype=np.float64))
    deviation = logarithms.std()
    z = (logarithms - logarithms.mean()) / deviation if deviation > 0 else np.zeros_like(logarithms)
    weights: Floats = np.exp(strength * z)
    weights /= weights.mean()
    return weights


def fact_weights(
    kind: str,
    *,
    facts: int,
    counts: npt.ArrayLike | None = None,
    original_loss: npt.ArrayLike | None = None,
    strength: float = 0.0,
    seed: int = 0,
) -> Floats:
    """(n,) weight of each forget fact, mean 1.

    Args:
        kind: ``uniform``: 1. ``count``: :func:`count_weights`, so at strength > 0 frequent facts are pushed harder.
            ``loss_rank``: the same numbers, the largest to the fact that the original model is surest of, and so on
            down: the control for "counts only stand for confidence". ``shuffled_count``: the same numbers in a random
            order: the control for "uneven weights help whatever they follow".
        facts: n, the number of facts.
        counts: (n,) exact counts; for all kinds but ``uniform``.
        original_loss: (n,) mean loss of each answer under the original model, nats per token; for ``loss_rank``.
        strength: 0 is uniform.
        seed: Of the shuffle, and of the order among equal losses.
    """
    if kind == "uniform":
        return np.ones(facts)
    if kind not in WEIGHT_KINDS:
        raise unknown_name("fact weights", kind, WEIGHT_KINDS)
    if counts is None:
        raise ConfigError(f"fact weights {kind!r} need counts, and the fact table has none: see count_column")
    weights = count_weights(counts, strength)
    random = np.random.default_rng([seed, 5])
    if kind == "shuffled_count":
        return random.permutation(weights)
    if kind == "loss_rank":
        if original_loss is None:
            raise ConfigError("fact weights 'loss_rank' need the original model's losses")
        surest_first = np.lexsort((random.random(facts), np.asarray(original_loss)))
        dealt = np.empty(facts)
        dealt[surest_first] = np.sort(weights)[::-1]
        return dealt
    return weights
