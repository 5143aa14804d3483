"""Weights of facts in the forget loss: by count, and by two controls that counts must beat.

All kinds except ``uniform`` use the same set of weights, exp(strength * z(log10(1 + count))) scaled to mean 1, but
assign them to the facts in different orders. Differences in results therefore come only from *which* fact gets which
weight, not from how uneven the weights are.
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
    """Return weights proportional to exp(strength * z_i) with mean 1; z_i is the standardised log10(1 + count_i).

    Standardisation uses the mean and population standard deviation of these facts. Equal counts give weights of 1.
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
    """Return the weight of each forget fact, (n,), with mean 1.

    Args:
        kind: ``uniform``: 1 for every fact. ``count``: :func:`count_weights`; at strength > 0, frequent facts weigh
            more. ``loss_rank``: the same weights, assigned by the original model's confidence (the surest fact gets the
            largest); tests whether counts merely reflect confidence. ``shuffled_count``: the same weights in a random
            order; tests whether any uneven weights help.
        facts: n, the number of facts.
        counts: (n,) exact counts; for all kinds except ``uniform``.
        original_loss: (n,) mean loss of each answer under the original model, nats per token; for ``loss_rank``.
        strength: 0 gives uniform weights.
        seed: Seed of the shuffle, and of the order among equal losses.
    """
    if kind == "uniform":
        return np.ones(facts)
    if kind not in WEIGHT_KINDS:
        raise unknown_name("fact weights", kind, WEIGHT_KINDS)
    if counts is None:
        raise ConfigError(f"fact weights {kind!r} need counts, but the fact table has none; see count_column")
    weights = count_weights(counts, strength)
    random = np.random.default_rng([seed, 5])
    if kind == "shuffled_count":
        return random.permutation(weights)
    if kind == "loss_rank":
        if original_loss is None:
            raise ConfigError("fact weights 'loss_rank' need the losses of the original model")
        surest_first = np.lexsort((random.random(facts), np.asarray(original_loss)))
        dealt = np.empty(facts)
        dealt[surest_first] = np.sort(weights)[::-1]
        return dealt
    return weights
