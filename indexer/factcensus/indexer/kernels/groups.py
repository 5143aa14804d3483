"""Compiled counting of pairs of entities whose mentions cannot overlap, grouped by the more frequent entity.

No positions are needed: a document with both has as many pairs as the product of its mentions.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.entities import Control, FormRanges, Stamps
from factcensus.indexer.kernels.ngrams import Selection
from factcensus.indexer.kernels.reading import (
    count_mentions,
)
from factcensus.indexer.kernels.search import (
    CHUNK,
    Rows,
    document_end,
    document_start,
    documents_of_rows,
)

#: The cost of visiting a row and looking up its document, in tokens of a document that is read through.
TOKENS_PER_ROW = 6


class Groups(NamedTuple):
    """Pairs of entities grouped by the more frequent one, the leader.

    Attributes:
        leaders: int64 (groups,).
        cuts: int64 (groups + 1,): the first partner of each leader.
        partners: int64 (facts,).
        facts: int64 (facts,): the fact of each partner.
        reading: int8 (groups,): 1 or 0 forces or forbids reading documents through; -1 chooses the cheaper plan.
    """

    leaders: Array
    cuts: Array
    partners: Array
    facts: Array
    reading: Array


@compiled()
def mark_leader(
    rows: Rows,
    counted: Array,
    forms: FormRanges,
    leader: int,
    low_document: int,
    high_document: int,
    stamps: Stamps,
    stamp: Any,
    control: Control,
    documents: Array,
) -> None:
    """Stamp the documents of an entity, and count its occurrences in each; ``documents`` is scratch."""
    ranges = forms.ranges
    for form in range(forms.entities[leader], forms.entities[leader + 1]):
        control.work[0] += ranges[form, 1] - ranges[form, 0]
        for first in range(ranges[form, 0], ranges[form, 1], CHUNK):
            if control.stop[0]:
                return
            last = min(first + CHUNK, ranges[form, 1])
            documents_of_rows(rows, first, last, documents)
            for document in documents[: last - first]:
                if document < low_document or document >= high_document or (counted.size and not counted[document]):
                    continue
                before = stamps.leader_mentions[document] if stamps.leader[document] == stamp else 0
                stamps.leader[document] = stamp
                stamps.leader_mentions[document] = before + 1


@compiled()
def reading_is_cheaper(
    rows: Rows, forms: FormRanges, leader: int, partners: Array, stamps: Stamps, stop: Array, documents: Array
) -> bool:
    """Return whether reading the documents of all partners is cheaper than visiting the rows of the leader.

    A row costs ``TOKENS_PER_ROW`` tokens. The summation stops once reading cannot be cheaper. ``documents`` is scratch.
    """
    budget = np.int64(0)
    for form in range(forms.entities[leader], forms.entities[leader + 1]):
        budget += (forms.ranges[form, 1] - forms.ranges[form, 0]) * TOKENS_PER_ROW
    leader_forms = forms.entities[leader + 1] - forms.entities[leader]
    stamps.last[0] += np.uint32(1)  # a document is read once for all partners
    for partner in partners:
        for form in range(forms.entities[partner], forms.entities[partner + 1]):
            for first in range(forms.ranges[form, 0], forms.ranges[form, 1], CHUNK):
                if stop[0]:
                    return False
                last = min(first + CHUNK, forms.ranges[form, 1])
                if budget <= last - first:
                    return False
                documents_of_rows(rows, first, last, documents)
                for document in documents[: last - first]:
                    budget -= 1
                    if stamps.fact[document] != stamps.last[0]:
                        stamps.fact[document] = stamps.last[0]
                        budget -= (document_end(rows, document) - document_start(rows, document)) * leader_forms
                    if budget <= 0:
                        return False
    return True


@compiled()
def _count_disjoint_group(
    text: Any,
    rows: Rows,
    selection: Selection,
    forms: FormRanges,
    leader: int,
    partners: Array,
    facts: Array,
    reading: int,
    stamps: Stamps,
    control: Control,
    documents: Array,
    together: Array,
) -> None:
    """Count documents and pairs of a leader with its partners if none of their mentions can overlap.

    Adds to ``together``, int64 (facts, groups, 1 + windows, 2), in the column for whole documents. ``documents`` is
    scratch.
    """
    counted, last = selection.documents, stamps.last
    if reading < 0:
        reading = reading_is_cheaper(rows, forms, leader, partners, stamps, control.stop, documents)
    last[0] += np.uint32(1)
    leading = last[0]
    if not reading:
        mark_leader(rows, counted, forms, leader, 0, rows.document_starts.size, stamps, leading, control, documents)
    for k in range(partners.size):
        last[0] += np.uint32(1)
        for form in range(forms.entities[partners[k]], forms.entities[partners[k] + 1]):
            control.work[0] += forms.ranges[form, 1] - forms.ranges[form, 0]
            for row in range(forms.ranges[form, 0], forms.ranges[form, 1], CHUNK):
                if control.stop[0]:
                    return
                row_end = min(row + CHUNK, forms.ranges[form, 1])
                documents_of_rows(rows, row, row_end, documents)
                for document in documents[: row_end - row]:
                    if counted.size and not counted[document]:
                        continue
                    if reading and stamps.leader[document] != leading:
                        stamps.leader[document] = leading
                        begin, end = document_start(rows, document) + 1, document_end(rows, document)
                        stamps.leader_mentions[document] = count_mentions(text, begin, end, forms, leader)
                        control.work[1] += end - begin
                    if stamps.leader[document] == leading and stamps.leader_mentions[document] > 0:
                        group = selection.groups[document] if selection.groups.size else 0
                        together[facts[k], group, 0, 1] += stamps.leader_mentions[document]
                        if stamps.fact[document] != last[0]:
                            stamps.fact[document] = last[0]
                            together[facts[k], group, 0, 0] += 1


@compiled()
def count_disjoint_groups(
    text: Any,
    rows: Rows,
    selection: Selection,
    forms: FormRanges,
    groups: Groups,
    stamps: Stamps,
    control: Control,
    together: Array,
) -> None:
    """Run :func:`_count_disjoint_group` for every group."""
    documents = np.empty(CHUNK, np.int64)
    for group in range(groups.leaders.size):
        if control.stop[0]:
            return
        low, high = groups.cuts[group], groups.cuts[group + 1]
        _count_disjoint_group(
            text,
            rows,
            selection,
            forms,
            groups.leaders[group],
            groups.partners[low:high],
            groups.facts[low:high],
            groups.reading[group],
            stamps,
            control,
            documents,
            together,
        )
