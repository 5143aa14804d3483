"""Mentions of an entity and pairs of mentions of two entities, which define every co-occurrence count.

Mentions are leftmost-longest, non-overlapping matches of any surface form. Two mentions form a pair if they are in the
same document and share no token. A pair is within a window of w if at most w tokens are strictly between the mentions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.records import windows_of


def check_windows(windows: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the windows as an array.

    Raises:
        TypeError: The windows are not a list.
        InputError: A window is negative or not an integer.
    """
    return np.array(windows_of(windows), np.int64)


@dataclass(frozen=True, slots=True)
class Mentions:
    """The mentions of one entity in one shard, in order.

    Attributes:
        starts: int64 (mentions,): position of the first token.
        ends: int64 (mentions,): position after the last token.
        documents: int64 (mentions,): number of the document within the shard.
    """

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)


def select_mentions(positions: list[Array], lengths: list[int]) -> tuple[Array, Array]:
    """Select leftmost-longest, non-overlapping mentions from all occurrences of the surface forms of an entity.

    Args:
        positions: Occurrences of each form, in any order.
        lengths: Number of tokens of each form.

    Returns:
        Starts and ends, in order.
    """
    longest = max(lengths, default=1)
    # One integer per candidate; sorting puts the leftmost first, and the longest first among those.
    keys = [found * (longest + 1) + (longest - length) for found, length in zip(positions, lengths, strict=True)]
    candidates = np.sort(np.concatenate(keys)) if keys else np.zeros(0, np.int64)
    starts = candidates // (longest + 1)
    ends = starts + (longest - candidates % (longest + 1))
    if longest > 1 and len(starts) > 1 and bool((starts[1:] < ends[:-1]).any()):
        kept = _greedy(starts, ends)
        return starts[kept], ends[kept]
    return starts, ends


@compiled()
def _greedy(starts: Array, ends: Array) -> Array:
    kept = np.zeros(starts.size, np.bool_)
    free = np.int64(-1)
    for i in range(starts.size):
        if starts[i] >= free:
            kept[i] = True
            free = ends[i]
    return kept


def count_pairs(subject: Mentions, object: Mentions, windows: npt.NDArray[np.int64]) -> tuple[Array, Array]:
    """Count pairs of mentions per document.

    Args:
        subject: Mentions of one entity.
        object: Mentions of another entity in the same shard.
        windows: int64 (windows,): the windows to count in addition to the whole document.

    Returns:
        int64 (documents,), the documents that contain both, in order, and int64 (documents, 1 + windows), the pairs in
        the whole document and in each window; 0 if all mentions overlap or none are close enough.
    """
    if len(subject) > len(object):  # the counts are symmetric; iterate over the rarer entity
        subject, object = object, subject
    return _pairs(
        subject.starts, subject.ends, subject.documents, object.starts, object.ends, object.documents, windows
    )


@compiled()
def gallop(values: Array, low: Any, high: Any, wanted: Any) -> Any:
    """Return the first index in [low, high) whose value is at least ``wanted``; fast if it is near ``low``."""
    step = 1
    last = low
    while last < high and values[last] < wanted:
        low = last + 1
        last += step
        step *= 2
    last = min(last, high)
    while low < last:
        middle = (low + last) // 2
        if values[middle] < wanted:
            low = middle + 1
        else:
            last = middle
    return low


@compiled()
def _pairs(
    starts: Array,
    ends: Array,
    documents: Array,
    other_starts: Array,
    other_ends: Array,
    other_documents: Array,
    windows: Array,
) -> tuple[Array, Array]:
    found = np.empty(starts.size, np.int64)
    pairs = np.empty((starts.size, 1 + windows.size), np.int64)
    count = 0
    i = 0
    other = 0
    while i < starts.size:
        document = documents[i]
        i_end = i + 1
        while i_end < starts.size and documents[i_end] == document:
            i_end += 1
        other = gallop(other_documents, other, other_documents.size, document)
        if other == other_documents.size:
            break
        if other_documents[other] == document:
            other_end = gallop(other_documents, other, other_documents.size, document + 1)
            found[count] = document
            overlapping = overlapping_pairs(starts, ends, i, i_end, other_starts, other_ends, other, other_end)
            pairs[count, 0] = (i_end - i) * (other_end - other) - overlapping
            for w in range(windows.size):
                pairs[count, 1 + w] = near_pairs(
                    starts, ends, i, i_end, other_starts, other_ends, other, other_end, windows[w]
                )
            count += 1
            other = other_end
        i = i_end
    return found[:count].copy(), pairs[:count].copy()


@compiled()
def overlapping_pairs(
    starts: Array, ends: Array, i: int, i_end: int, other_starts: Array, other_ends: Array, j: int, j_end: int
) -> int:
    """Return the number of pairs that share a token; the mentions of each side are sorted and do not overlap."""
    total = 0
    while i < i_end and j < j_end:
        if ends[i] <= other_starts[j]:
            i += 1
        elif other_ends[j] <= starts[i]:
            j += 1
        else:
            total += 1
            if ends[i] < other_ends[j]:
                i += 1
            else:
                j += 1
    return total


@compiled()
def near_pairs(  # noqa: PLR0913 - compiled: arrays of several records
    starts: Array,
    ends: Array,
    i: int,
    i_end: int,
    other_starts: Array,
    other_ends: Array,
    j: int,
    j_end: int,
    window: int,
) -> int:
    """Return the number of pairs with at most ``window`` tokens between, by four indexes that only move forward."""
    total = 0
    before_low = before_high = after_low = after_high = j
    for k in range(i, i_end):
        # Other mentions that end at or before this start, within the window.
        while before_high < j_end and other_ends[before_high] <= starts[k]:
            before_high += 1
        while before_low < before_high and other_ends[before_low] < starts[k] - window:
            before_low += 1
        total += before_high - before_low
        # Other mentions that start at or after this end, within the window.
        while after_low < j_end and other_starts[after_low] < ends[k]:
            after_low += 1
        after_high = max(after_high, after_low)
        while after_high < j_end and other_starts[after_high] <= ends[k] + window:
            after_high += 1
        total += after_high - after_low
    return total
