"""Compiled counting of entities in one shard, and the records of all kernels for entities.

All kernels start from ranges of the suffix array. The expensive step is finding the document of a row.
:mod:`factcensus.indexer.counting.fact_counts`, which calls these kernels, explains how this step is avoided. Pairs of
entities are counted in ``groups.py`` and ``segments.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.ngrams import Selection, find_frequent
from factcensus.indexer.kernels.search import (
    CHUNK,
    Rows,
    documents_of_rows,
)


class FormRanges(NamedTuple):
    """The surface forms of many entities, and where each form occurs in one shard.

    Attributes:
        tokens: uint32: the concatenated ids of all forms.
        starts: int64 (forms + 1,): the start of each form in ``tokens``.
        entities: int64 (entities + 1,): the first form of each entity.
        ranges: int64 (forms, 2): the rows of each form.
        stored: int64 (forms, 2): stored occurrences and documents of each form; -1 if they must be counted.
    """

    tokens: Array
    starts: Array
    entities: Array
    ranges: Array
    stored: Array


class Stamps(NamedTuple):
    """Marks on documents; a document is marked if its stamp equals the current one, so nothing is ever cleared.

    Attributes:
        leader: uint32 (documents,): documents of the current leader.
        leader_mentions: int32 (documents,): mentions of the leader in documents with its stamp.
        fact: uint32 (documents,): documents of the current fact.
        last: uint32 (1,): the last stamp that was assigned.
    """

    leader: Array
    leader_mentions: Array
    fact: Array
    last: Array


class Control(NamedTuple):
    """Settings and measurements shared by a kernel and its caller.

    Attributes:
        stop: uint8 (1,): the kernel returns early once it is set.
        work: int64 (2,): rows and tokens visited so far.
    """

    stop: Array
    work: Array


@compiled()
def stored_counts(frequent: Array, column: int, ranges: Array) -> Array:
    """Return the counts of ranges stored in a column of ``frequent.N.G``, int64 (ranges, 2); -1 if there are none."""
    stored = np.full(ranges.shape, -1, np.int64)
    for form in range(ranges.shape[0] if column >= 0 else 0):
        row = find_frequent(frequent, ranges[form, 0], ranges[form, 1])
        if row >= 0:
            stored[form, 0], stored[form, 1] = frequent[row, column], frequent[row, column + 1]
    return stored


@compiled()
def count_simple_entities(
    rows: Rows, selection: Selection, forms: FormRanges, chosen: Array, stamps: Stamps, stop: Array, counts: Array
) -> None:
    """Add mentions and documents of the simple entities ``chosen`` to ``counts``, int64 (entities, groups, 2)."""
    ranges, groups, stored = forms.ranges, selection.groups, forms.stored
    documents = np.empty(CHUNK, np.int64)
    for entity in chosen:
        first_form, last_form = forms.entities[entity], forms.entities[entity + 1]
        if groups.size == 0 and last_form - first_form == 1 and stored[first_form, 0] >= 0:
            counts[entity, 0, 0] += stored[first_form, 0]
            counts[entity, 0, 1] += stored[first_form, 1]
            continue
        stamps.last[0] += np.uint32(1)
        stamp = stamps.last[0]
        for form in range(first_form, last_form):
            for first in range(ranges[form, 0], ranges[form, 1], CHUNK):
                if stop[0]:
                    return
                last = min(first + CHUNK, ranges[form, 1])
                documents_of_rows(rows, first, last, documents)
                for document in documents[: last - first]:
                    if selection.documents.size and not selection.documents[document]:
                        continue
                    group = groups[document] if groups.size else 0
                    counts[entity, group, 0] += 1
                    counts[entity, group, 1] += stamps.fact[document] != stamp  # not a branch: half of them are new
                    stamps.fact[document] = stamp
