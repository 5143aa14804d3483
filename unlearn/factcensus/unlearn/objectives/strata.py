"""Assignment of facts to strata: by count, and by two controls that strata of counts must beat.

The controls have strata of exactly the same sizes but assign facts by the original model's confidence, or at random.
Differences in results therefore come only from *which* facts share a stratum.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from factcensus.unlearn.errors import ConfigError

Integers = npt.NDArray[np.int64]


def count_strata(strata: int, counts: Sequence[int] | None, given: Sequence[int] | None) -> Integers | None:
    """Return the table's strata, or quantiles of the counts, (m,), from 0 = rarest; None if both are missing."""
    if given is not None:
        found = np.unique(np.asarray(given), return_inverse=True)[1]
    elif counts is not None:
        values = np.asarray(counts)
        edges = np.quantile(values, np.arange(1, strata) / strata, method="inverted_cdf")
        below = values[values < values.max()]  # keep the rest as a stratum if most facts have the largest count
        edges = np.unique(np.minimum(edges, below.max())) if len(below) else edges[:0]
        found = np.unique(np.searchsorted(edges, values, side="left"), return_inverse=True)[1]
    else:
        return None
    return found.astype(np.int64)


def fact_strata(
    by: str,
    *,
    strata: int,
    counts: Sequence[int] | None,
    given: Sequence[int] | None = None,
    original_loss: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Integers:
    """Return the stratum of each forget fact, (m,), numbered from 0 = rarest without gaps.

    Args:
        by: ``count``: the table's strata, or quantiles of the counts. ``loss_rank``: facts ordered by the original
            model's confidence; the surest ones go to the stratum of the most frequent facts. ``shuffled_count``: at
            random.
        strata: Number of quantiles. The result may have fewer, because facts with equal counts share a stratum.
        counts: (m,) exact counts.
        given: (m,) strata of the fact table.
        original_loss: (m,) mean loss of each answer under the original model; for ``loss_rank``.
        seed: Seed of the shuffle, and of the order among equal losses.

    Raises:
        ConfigError: there are no counts, or all facts are in one stratum.
    """
    base = count_strata(strata, counts, given)
    if base is None:
        raise ConfigError("strata_control needs counts or strata, but the fact table has none; see count_column")
    if base.max() == 0:
        raise ConfigError("strata_control needs at least two strata, but all facts to forget are in one stratum")
    random = np.random.default_rng([seed, 6])
    if by == "count":
        return base
    if by == "shuffled_count":
        return random.permutation(base)
    if original_loss is None:
        raise ConfigError("strata by 'loss_rank' need the losses of the original model")
    surest_first = np.lexsort((random.random(len(base)), np.asarray(original_loss)))
    dealt = np.empty(len(base), dtype=np.int64)
    dealt[surest_first] = np.sort(base)[::-1]
    return dealt
