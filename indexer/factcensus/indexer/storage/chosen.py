"""Sets of documents of an index."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

#: For each shard number, the sorted numbers of some documents in the shard.
Chosen = Mapping[int, npt.NDArray[np.uint32]]


def join_documents(some: Chosen, others: Chosen) -> dict[int, npt.NDArray[np.uint32]]:
    """Return the union of two sets of documents."""
    nothing = np.zeros(0, np.uint32)
    return {
        number: np.union1d(some.get(number, nothing), others.get(number, nothing)).astype(np.uint32)
        for number in sorted({*some, *others})
    }


def without_documents(some: Chosen, others: Chosen) -> dict[int, npt.NDArray[np.uint32]]:
    """Return the documents in ``some`` that are not in ``others``."""
    left = {number: np.setdiff1d(rows, others.get(number, rows[:0])) for number, rows in some.items()}
    return {number: rows for number, rows in left.items() if len(rows)}
