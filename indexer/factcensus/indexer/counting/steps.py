"""Groups of training steps.

``step:1000`` groups documents by thousands of the steps in which training first saw them. A group is named after the
checkpoint that follows it: the counts of ``2000`` are those of all documents that steps 0 to 1,999 have read, so they
grow from group to group.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from factcensus.indexer.answers.counts import STEPS
from factcensus.indexer.errors import InputError

#: The step of a document that training never saw.
UNSEEN = -1
NO_STEPS = "no document of the corpus is in the order table; compare their ids, or their paths and records"


def steps_of(by: str | None) -> int | None:
    """Return the number of steps per group of ``step:N``; None for any other column.

    Raises:
        InputError: N is not a positive integer.
    """
    if by is None or not by.startswith(STEPS):
        return None
    number = by.removeprefix(STEPS)
    if not re.fullmatch(r"[1-9][0-9]{0,8}", number):
        raise InputError(f"--by {by}: the number of steps must be a positive integer, such as step:1000")
    return int(number)


def label_of(group: int, steps: int) -> str:
    """Return the name of a group of steps: the checkpoint after its last step."""
    return str((group + 1) * steps)


def group_steps(
    steps: Sequence[npt.NDArray[np.int64]], per_group: int
) -> tuple[list[str], list[npt.NDArray[np.int32]]]:
    """Group the documents of several shards by their steps.

    Returns:
        The names of the groups that have documents, in order of steps, then ``""`` for documents that training never
        saw; and for each shard int32 (documents,), the group of each document.

    Raises:
        InputError: No document has a step.
    """
    every = np.unique(np.concatenate([each // per_group for each in steps]))
    seen = every[every >= 0]
    if not len(seen):
        raise InputError(NO_STEPS)
    codes = [
        np.where(each >= 0, np.searchsorted(seen, each // per_group), len(seen)).astype(np.int32) for each in steps
    ]
    return [*(label_of(int(group), per_group) for group in seen), ""], codes


def cumulated(
    by: str | None, names: list[str], counts: npt.NDArray[np.int64], axis: int
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Return the cumulative counts of groups: those of all steps up to each group, without documents never seen."""
    if steps_of(by) is None:
        return names, counts
    seen = np.take(counts, np.arange(len(names) - 1), axis=axis)
    return names[:-1], np.cumsum(seen, axis=axis)
