"""Counting one pair of entities with one compiled call per shard, much faster than as a table of one fact."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Mask, TokenIds
from factcensus.indexer.counting.spans import number_of_spans
from factcensus.indexer.counting.workspace import lend_workspace
from factcensus.indexer.kernels.forms import check_length
from factcensus.indexer.storage.shard import Shard
from factcensus.indexer.storage.suffix_shard import SuffixArrayShard


def count_quickly(
    shards: Sequence[tuple[Shard, Mask]],
    one: Sequence[TokenIds],
    other: Sequence[TokenIds],
    column: int,
    stop: npt.NDArray[np.uint8],
) -> npt.NDArray[np.int64] | None:
    """Count two entities in whole documents.

    Args:
        shards: The shards, and the documents to count in each.
        one: The forms of one entity; ``other`` those of the other one.
        column: The column of stored counts for these documents; -1 if there is none.
        stop: The stop flag of the count, which the caller checks.

    Returns:
        int64 (1, 6): mentions and documents of each entity; documents and pairs of both. None if their mentions could
        overlap and are many, or a shard is too large or has another layout.

    Raises:
        InputError: A form is too long.
    """
    forms = [*one, *other]
    check_length(max(map(len, forms), default=0))
    starts = np.array([0, *accumulate(map(len, forms))], np.int64)
    entities = np.array([0, len(one), len(forms)], np.int64)
    counts = np.zeros((1, 6), np.int64)
    for shard, counted in shards:
        if not isinstance(shard, SuffixArrayShard) or number_of_spans(shard) > 1:
            return None
        tokens = np.array([*chain.from_iterable(forms)], shard.token_dtype)
        with lend_workspace(shard.documents) as space:
            space.renew(2)
            if not shard.count_pair(
                *shard.count_arrays,
                shard.ids,
                tokens,
                starts,
                entities,
                counted,
                column,
                *space.stamps,
                stop,
                space.work,
                space.keys,
                space.starts,
                space.ends,
                counts[0],
            ):
                return None
    return counts
