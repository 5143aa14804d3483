"""Compiled counting of one pair of entities in one call."""

from __future__ import annotations

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.entities import Control, FormRanges, Stamps, count_simple_entities, stored_counts
from factcensus.indexer.kernels.groups import Groups, count_disjoint_groups
from factcensus.indexer.kernels.ngrams import NO_GROUPS, Selection
from factcensus.indexer.kernels.overlap import find_disjoint, find_simple
from factcensus.indexer.kernels.search import Rows, SuffixArray, find
from factcensus.indexer.kernels.segments import (
    collect_entities,
    collect_groups,
    count_segments,
    pair_segments,
    select_segments,
)

#: Maximum number of positions that are sorted here. NumPy sorts many positions faster than compiled code.
MOST_SORTED = 1 << 14


@compiled()
def count_pair(  # noqa: PLR0913 - compiled: arrays of several records
    stream: Array,
    table: Array,
    width: int,
    token_bytes: int,
    first: Array,
    types: int,
    document_starts: Array,
    blocks: Array,
    size: int,
    block_bits: int,
    frequent: Array,
    text: Array,
    tokens: Array,
    starts: Array,
    entities: Array,
    counted: Array,
    column: int,
    leader_stamps: Array,
    leader_mentions: Array,
    fact_stamps: Array,
    last_stamp: Array,
    stop: Array,
    work: Array,
    keys: Array,
    mention_starts: Array,
    mention_ends: Array,
    counts: Array,
) -> bool:
    """Add the counts of two entities to ``counts``, and return True; False if too many positions had to be sorted.

    The arguments are the fields of :class:`SuffixArray`, :class:`Rows`, :class:`FormRanges`, :class:`Selection`,
    :class:`Stamps`, :class:`Control` and :class:`Workspace`. Passing these tuples from Python, and calling the kernels
    of a table of facts one by one, would take most of the time of a count.

    Args:
        tokens: The concatenated ids of all forms, of the type of ``text``.
        entities: int64 (3,): the first forms of both, and the number of forms.
        counts: int64 (6,): mentions and documents of the first, of the second; documents and pairs of both.
    """
    simple, disjoint = np.empty(2, np.bool_), np.empty(1, np.bool_)
    one, other = np.zeros(1, np.int64), np.ones(1, np.int64)
    find_simple(tokens, starts, entities, simple)
    find_disjoint(tokens, starts, entities, simple, one, other, disjoint)
    suffixes = SuffixArray(stream, table, width, token_bytes, first, types)
    rows = Rows(table, width, token_bytes, document_starts, blocks, size, block_bits)
    query = tokens.view(np.uint8)
    ranges = np.empty((starts.size - 1, 2), np.int64)
    hits = np.zeros(2, np.int64)
    for form in range(starts.size - 1):
        low, high = find(suffixes, query[starts[form] * token_bytes : starts[form + 1] * token_bytes])
        ranges[form, 0], ranges[form, 1] = low, high
        hits[np.int64(form >= entities[1])] += high - low
    if not disjoint[0] and hits[0] + hits[1] > min(MOST_SORTED, keys.size):
        return False
    selection = Selection(counted, NO_GROUPS, frequent, column)
    forms = FormRanges(tokens, starts, entities, ranges, stored_counts(frequent, column, ranges))
    stamps = Stamps(leader_stamps, leader_mentions, fact_stamps, last_stamp)
    found, together = np.zeros((2, 1, 2), np.int64), np.zeros((1, 1, 1, 2), np.int64)
    count_simple_entities(rows, selection, forms, np.flatnonzero(simple), stamps, stop, found)
    others, sizes = np.flatnonzero(~simple), np.zeros(2, np.int64)
    if others.size:
        _, size, segments = collect_entities(
            rows, counted, forms, others, 0, others.size, 0, document_starts.size, stop, keys, sizes
        )
        keys[:size].sort()
        select_segments(keys, sizes, segments, mention_starts, mention_ends)
        count_segments(rows, NO_GROUPS, sizes, mention_starts, others[:segments], found)
    if hits[0] > 0 and hits[1] > 0 and not stop[0]:
        leader, partner = (one, other) if hits[0] >= hits[1] else (other, one)
        groups = Groups(leader, np.arange(2), partner, np.zeros(1, np.int64), np.full(1, -1, np.int8))
        control = Control(stop, work)
        if disjoint[0]:
            count_disjoint_groups(text, rows, selection, forms, groups, stamps, control, together)
        else:
            _, size, segments = collect_groups(
                text, rows, counted, forms, groups, 0, 1, 0, document_starts.size, stamps, control, keys, sizes
            )
            keys[:size].sort()
            select_segments(keys, sizes, segments, mention_starts, mention_ends)
            facts, leaders = np.arange(-1, segments - 1), np.zeros(segments, np.int64)
            pair_segments(
                rows, NO_GROUPS, sizes, mention_starts, mention_ends, leaders, facts, np.zeros(0, np.int64), together
            )
    for i in range(2):
        counts[i] += found[0, 0, i]
        counts[2 + i] += found[1, 0, i]
        counts[4 + i] += together[0, 0, 0, i]
    return True
