"""The plan of a search in one shard of the layout ``compact``: the anchors of each form, and its stored counts.

An *anchor* of a form is one of its tokens, or a pair of adjacent tokens that has a list. A search reads the blocks of
the rarest anchor, and excludes those that are far from every block of the next rarest one (``compact_search.py``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.compact_lists import Lists, counts_of, list_of, run_of
from factcensus.indexer.kernels.compact_text import Text, class_of
from factcensus.indexer.kernels.compiled import compiled

#: A second anchor is used if it occurs in fewer than one in this many blocks; otherwise it excludes too little.
SELECTIVE = 3
#: N-grams that can occur at most this often are not looked up among the frequent ones.
RARE = 16
#: Maximum number of lists that a plan keeps looked up.
_MOST_LOOKED_UP = 4096


class Plan(NamedTuple):
    """The search plan of many forms.

    Attributes:
        codes: int64: the codes of all forms; -1 for a token that does not occur.
        classes: int64: the class of each code.
        starts: int64 (forms + 1,): the start of each form in ``codes``.
        anchors: int64 (forms, 8): list, bit offset and number of blocks of the rarest anchor, and its place in the
            form; the same for the second one. The number of blocks is 0 if the form does not occur, and the second one
            0 if it is not used.
        most: int64 (forms,): an upper bound of the occurrences; exact for a single token.
    """

    codes: Array
    classes: Array
    starts: Array
    anchors: Array
    most: Array


@compiled()
def _no_lists(most: Any) -> Array:
    """Return space for the lists looked up last, because many names have the same words.

    Returns:
        int64 (power of two, 3): number, bit offset and number of blocks of a list.
    """
    slots = 1
    while slots < min(most, _MOST_LOOKED_UP):
        slots *= 2
    return np.full((slots, 3), -1, np.int64)


@compiled()
def plan_search(text: Text, lists: Lists, plan: Plan) -> None:
    """Fill ``classes``, ``anchors`` and ``most`` of a plan whose codes are known.

    Codes are numbered by frequency, so the two largest codes of a form are its rarest tokens.
    """
    looked_up = _no_lists(plan.codes.size)
    for i in range(plan.codes.size):
        plan.classes[i] = class_of(text, plan.codes[i])
    for form in range(plan.starts.size - 1):
        first, last = plan.starts[form], plan.starts[form + 1]
        anchors = plan.anchors[form]
        anchors[:] = 0
        plan.most[form] = 0
        occurs = last > first
        rarest: Any = np.int64(-1)
        other: Any = np.int64(-1)
        for i in range(first, last):
            code = plan.codes[i]
            occurs = occurs and 0 <= code < lists.alphabet
            if rarest < 0 or code > plan.codes[rarest]:
                rarest, other = i, rarest
            elif code != plan.codes[rarest] and (other < 0 or code > plan.codes[other]):
                other = i
        if not occurs:
            continue
        anchors[2], anchors[6] = -1, -1
        _add_anchor(lists, looked_up, anchors, plan.codes[rarest], rarest - first)
        if other >= 0:
            _add_anchor(lists, looked_up, anchors, plan.codes[other], other - first)
        for i in range(first, last - 1):
            if plan.codes[i] < lists.frequent and plan.codes[i + 1] < lists.frequent:
                number = lists.alphabet + plan.codes[i] * lists.frequent + plan.codes[i + 1]
                _add_anchor(lists, looked_up, anchors, number, i - first)
        if anchors[2] > 0:
            plan.most[form] = np.int64(lists.values[run_of(lists, plan.codes[rarest])])
        if anchors[6] < 0 or anchors[6] >= lists.blocks // SELECTIVE:
            anchors[6] = 0


@compiled()
def _add_anchor(lists: Lists, looked_up: Array, anchors: Array, number: Any, place: Any) -> None:
    """Make a list the first or the second anchor of a form if it is rarer; a number of blocks of -1 means none yet."""
    slot = number & (looked_up.shape[0] - 1)
    if looked_up[slot, 0] != number:
        looked_up[slot, 1], looked_up[slot, 2] = list_of(lists, number)
        looked_up[slot, 0] = number
    at, blocks = looked_up[slot, 1], looked_up[slot, 2]
    into = -1
    if anchors[2] < 0 or blocks < anchors[2]:
        for i in range(4):
            anchors[4 + i] = anchors[i]
        into = 0
    elif number != anchors[0] and (anchors[6] < 0 or blocks < anchors[6]):
        into = 4
    if into >= 0:
        anchors[into], anchors[into + 1] = number, at
        anchors[into + 2], anchors[into + 3] = blocks, place


@compiled()
def find_frequent_codes(frequent: Array, codes: Array, first: Any, last: Any) -> Any:
    """Return the row of ``frequent.N.G`` of the n-gram ``codes[first:last]``; -1 if it is not stored."""
    row = np.int64(-1)
    for i in range(first, last):
        low, high = row + 1, frequent.shape[0]
        while low < high:
            middle = (low + high) // 2
            if frequent[middle, 0] < row + 1 or (frequent[middle, 0] == row + 1 and frequent[middle, 1] < codes[i]):
                low = middle + 1
            else:
                high = middle
        if low == frequent.shape[0] or frequent[low, 0] != row + 1 or frequent[low, 1] != codes[i]:
            return np.int64(-1)
        row = np.int64(low)
    return row


@compiled()
def stored_counts(lists: Lists, frequent: Array, plan: Plan, everything: bool, column: Any, out: Array) -> None:
    """Fill ``out``, int64 (forms, 2), with the occurrences and documents of the forms for which they are stored.

    Args:
        lists: The lists, which store the counts of single tokens in all documents.
        frequent: ``frequent.N.G``.
        plan: The plan of the search.
        everything: All documents are counted.
        column: The column of ``frequent`` for the counted documents; -1 if there is none.
        out: Receives the counts.
    """
    for form in range(plan.most.size):
        first, last = plan.starts[form], plan.starts[form + 1]
        if plan.most[form] == 0:
            continue
        if everything and last - first == 1:
            out[form, 0], out[form, 1] = counts_of(lists, plan.codes[first])
        elif (everything or column >= 0) and plan.most[form] > RARE:
            row = find_frequent_codes(frequent, plan.codes, first, last)
            if row >= 0:
                at = column if column >= 0 else 2
                out[form, 0], out[form, 1] = frequent[row, at], frequent[row, at + 1]
