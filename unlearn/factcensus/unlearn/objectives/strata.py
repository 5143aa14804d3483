"""Which stratum a fact is in: by its count, and by the two controls that strata of counts have to beat.

The controls have strata of exactly the same sizes, dealt to the facts in another order: by how sure the original model
is of a fact, or at random. So a difference between them is a difference of *who* is in a stratum with whom.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from factcensus.unlearn.errors import ConfigError

Integers = npt.NDArray[np.int64]


def count_strata(strata: int, counts: Sequence[int] | None, given: Sequence[int] | None) -> Integers | None:
    """(m,) the table's own strata, or quantiles of the counts, from 0 = rarest without gaps; None without either."""
    if given is not None:
        found = np.unique(np.asarray(given), return_inverse=True)[1]
    elif counts is not None:
        values = np.asarray(counts)
        edges = np.quantile(values, np.arange(1, strata) / strata, method="inverted_cdf")
        below = values[values < values.max()]  # where most facts have the largest count, the others are a stratum still
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
    """(m,) stratum of each forget fact, from 0 = rarest, without gaps.

    Args:
        by: ``count``: ``given``, or quantiles of the counts. ``loss_rank``: the fact that the original model is surest
            of in the stratum of the most frequent, and so on down. ``shuffled_count``: at random.
        strata: How many quantiles; fewer come out where counts are equal, which are never parted.
        counts: (m,) exact counts.
        given: (m,) the fact table's own strata.
        original_loss: (m,) mean loss of each answer under the original model; for ``loss_rank``.
        seed: Of the shuffle, and of the order among equal losses.

    Raises:
        ConfigError: no counts, or all facts are in one stratum.
    """
    base = count_strata(strata, counts, given)
    if base is None:
        raise ConfigError("strata_control needs counts or strata, and the fact table has none: see count_column")
    if base.max() == 0:
        raise ConfigError("strata_control: all facts to forget are in one stratum, so there is nothing to control")
    random = np.random.default_rng([seed, 6])
    if by == "count":
        return base
    if by == "shuffled_count":
        return random.permutation(base)
    if original_loss is None:
        raise ConfigError("strata by 'loss_rank' need the original model's losses")
    surest_first = np.lexsort((random.random(len(base)), np.asarray(original_loss)))
    dealt = np.empty(len(base), dtype=np.int64)
    dealt[surest_first] = np.sort(base)[::-1]
    return dealt
