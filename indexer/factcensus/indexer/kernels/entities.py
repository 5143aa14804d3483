"""Compiled counting of entities in one shard, and of pairs of them; in bounded memory, stoppable.

Everything starts from ranges of the suffix array. What costs time is the way from a row to its document; how that is
kept short is said in :mod:`fact_counts`, which calls these.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.ngrams import STRIDE, find_frequent
from factcensus.indexer.kernels.pairs import near_pairs, overlapping_pairs
from factcensus.indexer.kernels.search import Array, document_of, entry

#: Segments that positions which are sorted together may belong to.
SEGMENTS = 1 << 11
#: A position's sort key: segment 11 bits, position 40 (the largest shards of infini-gram's have 2^38 tokens), length of
#: the mention (the longest first) 13.
_LENGTH_BITS, _SEGMENT_SHIFT = 13, 53
LONGEST_MENTION = (1 << _LENGTH_BITS) - 1
#: Cost of a row of the table (its document is looked up) in tokens of a document that is read through.
TOKENS_PER_ROW = 6


@compiled()
def _can_overlap(tokens: Array, a: int, a_end: int, b: int, b_end: int) -> bool:
    """Whether an occurrence of b can begin on a token of an occurrence of a behind its first one."""
    for shift in range(1, a_end - a):
        same = True
        for i in range(min(a_end - a - shift, b_end - b)):
            if tokens[a + shift + i] != tokens[b + i]:
                same = False
                break
        if same:
            return True
    return False


@compiled()
def _begins(tokens: Array, a: int, a_end: int, b: int, b_end: int) -> bool:
    """Whether one of two forms begins with the other."""
    for i in range(min(a_end - a, b_end - b)):  # noqa: SIM110 - compiled
        if tokens[a + i] != tokens[b + i]:
            return False
    return True


@compiled()
def _entities_overlap(tokens: Array, starts: Array, entities: Array, one: int, other: int) -> bool:
    """Whether a mention of one entity can share a token with a mention of another."""
    for a in range(entities[one], entities[one + 1]):
        for b in range(entities[other], entities[other + 1]):
            if (
                _begins(tokens, starts[a], starts[a + 1], starts[b], starts[b + 1])
                or _can_overlap(tokens, starts[a], starts[a + 1], starts[b], starts[b + 1])
                or _can_overlap(tokens, starts[b], starts[b + 1], starts[a], starts[a + 1])
            ):
                return True
    return False


@compiled()
def find_simple(tokens: Array, starts: Array, entities: Array, simple: Array) -> None:
    for entity in range(simple.size):
        simple[entity] = True
        for a in range(entities[entity], entities[entity + 1]):
            for b in range(entities[entity], entities[entity + 1]):
                if _can_overlap(tokens, starts[a], starts[a + 1], starts[b], starts[b + 1]) or (
                    a != b and _begins(tokens, starts[a], starts[a + 1], starts[b], starts[b + 1])
                ):
                    simple[entity] = False


@compiled()
def find_disjoint(
    tokens: Array, starts: Array, entities: Array, simple: Array, subjects: Array, objects: Array, disjoint: Array
) -> None:
    """Set ``disjoint`` where neither mentions of the two entities nor those of either one can overlap."""
    for i in range(subjects.size):
        disjoint[i] = (
            simple[subjects[i]]
            and simple[objects[i]]
            and not _entities_overlap(tokens, starts, entities, subjects[i], objects[i])
        )


@compiled()
def count_simple_entities(
    table: Array, width: int, token_bytes: int, document_starts: Array, blocks: Array,
    frequent: Array, column: int, counted: Array, groups: Array,
    ranges: Array, entities: Array, chosen: Array, stamps: Array, stamp: Array, stop: Array, counts: Array,
) -> None:  # fmt: skip
    """Add mentions and documents of simple entities to ``counts``, int64 (entities, groups, 2).

    Args:
        ranges: int64 (forms, 2); ``entities`` says which are whose.
        chosen: the entities to count.
        stamps: uint32 (documents,); ``stamp`` the last one given out.
    """
    for entity in chosen:
        first_form, last_form = entities[entity], entities[entity + 1]
        if column >= 0 and groups.size == 0 and last_form - first_form == 1:
            row = find_frequent(frequent, ranges[first_form, 0], ranges[first_form, 1])
            if row >= 0:
                counts[entity, 0, 0] += frequent[row, column]
                counts[entity, 0, 1] += frequent[row, column + 1]
                continue
        stamp[0] += np.uint32(1)
        for form in range(first_form, last_form):
            for row in range(ranges[form, 0], ranges[form, 1]):
                if row % STRIDE == 0 and stop[0]:
                    return
                document = document_of(entry(table, row, width) >> (token_bytes >> 1), document_starts, blocks)
                if counted.size and not counted[document]:
                    continue
                group = groups[document] if groups.size else 0
                counts[entity, group, 0] += 1
                if stamps[document] != stamp[0]:
                    stamps[document] = stamp[0]
                    counts[entity, group, 1] += 1


@compiled()
def _mark_leader(
    table: Array, width: int, token_bytes: int, document_starts: Array, blocks: Array, counted: Array,
    ranges: Array, first_form: int, last_form: int, low_document: int, high_document: int,
    stamps: Array, stamp: Any, counts: Array, stop: Array, work: Array,
) -> None:  # fmt: skip
    """Stamp the documents of an entity, and count its occurrences in each."""
    for form in range(first_form, last_form):
        work[0] += ranges[form, 1] - ranges[form, 0]
        for row in range(ranges[form, 0], ranges[form, 1]):
            if row % STRIDE == 0 and stop[0]:
                return
            document = document_of(entry(table, row, width) >> (token_bytes >> 1), document_starts, blocks)
            if document < low_document or document >= high_document or (counted.size and not counted[document]):
                continue
            if stamps[document] != stamp:
                stamps[document] = stamp
                counts[document] = 0
            counts[document] += 1


@compiled()
def _reading_is_cheaper(
    table: Array, width: int, token_bytes: int, size: int, document_starts: Array, blocks: Array,
    ranges: Array, entities: Array, leader: int, partners: Array, stamps: Array, stamp: Array, stop: Array,
) -> bool:  # fmt: skip
    """Whether the documents of all partners have fewer tokens, times the leader's forms, than the leader has rows.

    A row counts as ``TOKENS_PER_ROW`` tokens. Exact numbers are only looked at as long as they can still be smaller.
    """
    budget = np.int64(0)
    for form in range(entities[leader], entities[leader + 1]):
        budget += (ranges[form, 1] - ranges[form, 0]) * TOKENS_PER_ROW
    forms = entities[leader + 1] - entities[leader]
    stamp[0] += np.uint32(1)  # a document is read once for all partners
    for partner in partners:
        for form in range(entities[partner], entities[partner + 1]):
            for row in range(ranges[form, 0], ranges[form, 1]):
                if row % STRIDE == 0 and stop[0]:
                    return False
                document = document_of(entry(table, row, width) >> (token_bytes >> 1), document_starts, blocks)
                budget -= 1
                if stamps[document] != stamp[0]:
                    stamps[document] = stamp[0]
                    end = document_starts[document + 1] if document + 1 < document_starts.size else size
                    budget -= (end - document_starts[document]) * forms
                if budget <= 0:
                    return False
    return True


@compiled(inline="always")
def _stands_at(ids: Any, position: Any, end: Any, tokens: Any, first: Any, last: Any) -> Any:
    """Whether the form ``tokens[first:last]`` stands at a position, before ``end``."""
    if position + last - first > end:
        return False
    for i in range(last - first):  # noqa: SIM110 - compiled
        if ids[position + i] != tokens[first + i]:
            return False
    return True


@compiled()
def _count_in_document(
    ids: Array, begin: Any, end: Any, tokens: Array, starts: Array, first_form: int, last_form: int
) -> int:
    """Occurrences of some forms in a document, which is read through."""
    found = 0
    for position in range(begin, end):
        for form in range(first_form, last_form):
            if _stands_at(ids, position, end, tokens, starts[form], starts[form + 1]):
                found += 1
    return found


@compiled()
def _count_disjoint_group(
    ids: Array, table: Array, width: int, token_bytes: int, document_starts: Array, blocks: Array,
    counted: Array, groups: Array, tokens: Array, starts: Array, entities: Array, ranges: Array,
    leader: int, partners: Array, facts: Array, reading: int,
    leader_stamps: Array, leader_counts: Array, fact_stamps: Array, stamp: Array, stop: Array, work: Array,
    together: Array,
) -> None:  # fmt: skip
    """Documents and pairs of one leader with several partners, no mention of which can overlap another.

    Adds to ``together``, int64 (facts, groups, 1 + windows, 2), in its first column of windows. ``reading`` is 1 or 0
    to force a plan, -1 to choose.
    """
    size = table.size // width
    if reading < 0:
        reading = _reading_is_cheaper(
            table, width, token_bytes, size, document_starts, blocks, ranges, entities, leader, partners,
            fact_stamps, stamp, stop,
        )  # fmt: skip
    stamp[0] += np.uint32(1)
    leading = stamp[0]
    if not reading:
        _mark_leader(
            table, width, token_bytes, document_starts, blocks, counted, ranges, entities[leader], entities[leader + 1],
            0, document_starts.size, leader_stamps, leading, leader_counts, stop, work,
        )  # fmt: skip
    for k in range(partners.size):
        stamp[0] += np.uint32(1)
        for form in range(entities[partners[k]], entities[partners[k] + 1]):
            work[0] += ranges[form, 1] - ranges[form, 0]
            for row in range(ranges[form, 0], ranges[form, 1]):
                if row % STRIDE == 0 and stop[0]:
                    return
                document = document_of(entry(table, row, width) >> (token_bytes >> 1), document_starts, blocks)
                if counted.size and not counted[document]:
                    continue
                if reading and leader_stamps[document] != leading:
                    leader_stamps[document] = leading
                    begin = document_starts[document] + 1
                    end = document_starts[document + 1] if document + 1 < document_starts.size else size
                    leader_counts[document] = _count_in_document(
                        ids, begin, end, tokens, starts, entities[leader], entities[leader + 1]
                    )
                    work[1] += end - begin
                if leader_stamps[document] == leading and leader_counts[document] > 0:
                    group = groups[document] if groups.size else 0
                    together[facts[k], group, 0, 1] += leader_counts[document]
                    if fact_stamps[document] != stamp[0]:
                        fact_stamps[document] = stamp[0]
                        together[facts[k], group, 0, 0] += 1


@compiled()
def count_disjoint_groups(
    ids: Array, table: Array, width: int, token_bytes: int, document_starts: Array, blocks: Array,
    counted: Array, groups: Array, tokens: Array, starts: Array, entities: Array, ranges: Array,
    leaders: Array, cuts: Array, partners: Array, facts: Array, reading: int,
    leader_stamps: Array, leader_counts: Array, fact_stamps: Array, stamp: Array, stop: Array, work: Array,
    together: Array,
) -> None:  # fmt: skip
    """:func:`_count_disjoint_group` of each leader; ``cuts`` says which ``partners`` and ``facts`` are whose."""
    for group in range(leaders.size):
        if stop[0]:
            return
        _count_disjoint_group(
            ids, table, width, token_bytes, document_starts, blocks, counted, groups, tokens, starts, entities, ranges,
            leaders[group], partners[cuts[group] : cuts[group + 1]], facts[cuts[group] : cuts[group + 1]], reading,
            leader_stamps, leader_counts, fact_stamps, stamp, stop, work, together,
        )  # fmt: skip


@compiled(inline="always")
def _key(segment: Any, position: Any, length: Any) -> Any:
    return (
        np.uint64(segment) << np.uint64(_SEGMENT_SHIFT)
        | np.uint64(position) << np.uint64(_LENGTH_BITS)
        | np.uint64(LONGEST_MENTION - length)
    )


@compiled()
def _collect_group(
    ids: Array, table: Array, width: int, token_bytes: int, document_starts: Array, blocks: Array,
    counted: Array, tokens: Array, starts: Array, entities: Array, ranges: Array,
    leader: int, partners: Array, reading: int, low_document: int, high_document: int,
    leader_stamps: Array, leader_counts: Array, fact_stamps: Array, stamp: Array, stop: Array, work: Array,
    keys: Array, count: int, segment: int, sizes: Array,
) -> int:  # fmt: skip
    """Positions of a leader (segment ``segment``) and its partners (the ones behind) in documents that have both.

    Only documents [low_document, high_document). ``sizes`` gets the positions of each segment.

    Returns:
        The number of keys, from ``count`` on; -1 when they do not fit.
    """
    size = table.size // width
    if reading < 0:
        reading = _reading_is_cheaper(
            table, width, token_bytes, size, document_starts, blocks, ranges, entities, leader, partners,
            fact_stamps, stamp, stop,
        )  # fmt: skip
    stamp[0] += np.uint32(2)
    leading, wanted = stamp[0] - np.uint32(1), stamp[0]
    sizes[segment] = 0
    if not reading:
        _mark_leader(
            table, width, token_bytes, document_starts, blocks, counted, ranges, entities[leader], entities[leader + 1],
            low_document, high_document, leader_stamps, leading, leader_counts, stop, work,
        )  # fmt: skip
    for k in range(partners.size):
        before = count
        for form in range(entities[partners[k]], entities[partners[k] + 1]):
            work[0] += ranges[form, 1] - ranges[form, 0]
            length = starts[form + 1] - starts[form]
            for row in range(ranges[form, 0], ranges[form, 1]):
                if row % STRIDE == 0 and stop[0]:
                    return count
                position = entry(table, row, width) >> (token_bytes >> 1)
                document = document_of(position, document_starts, blocks)
                if document < low_document or document >= high_document or (counted.size and not counted[document]):
                    continue
                if reading and leader_stamps[document] != leading:
                    leader_stamps[document] = leading
                    leader_counts[document] = 0
                    begin = document_starts[document] + 1
                    end = document_starts[document + 1] if document + 1 < document_starts.size else size
                    work[1] += end - begin
                    for at in range(begin, end):
                        for other in range(entities[leader], entities[leader + 1]):
                            if _stands_at(ids, at, end, tokens, starts[other], starts[other + 1]):
                                if count == keys.size:
                                    return -1
                                keys[count] = _key(segment, at, starts[other + 1] - starts[other])
                                count += 1
                                before += 1  # the leader's, not this partner's
                                sizes[segment] += 1
                                leader_counts[document] += 1
                if leader_stamps[document] == leading and leader_counts[document] > 0:
                    if count == keys.size:
                        return -1
                    keys[count] = _key(segment + 1 + k, position, length)
                    count += 1
                    fact_stamps[document] = wanted
        sizes[segment + 1 + k] = count - before
    if not reading:
        for form in range(entities[leader], entities[leader + 1]):
            length = starts[form + 1] - starts[form]
            for row in range(ranges[form, 0], ranges[form, 1]):
                if row % STRIDE == 0 and stop[0]:
                    return count
                position = entry(table, row, width) >> (token_bytes >> 1)
                if fact_stamps[document_of(position, document_starts, blocks)] == wanted:
                    if count == keys.size:
                        return -1
                    keys[count] = _key(segment, position, length)
                    count += 1
                    sizes[segment] += 1
        work[0] += sizes[segment]
    return count


@compiled()
def collect_groups(
    ids: Array, table: Array, width: int, token_bytes: int, document_starts: Array, blocks: Array,
    counted: Array, tokens: Array, starts: Array, entities: Array, ranges: Array,
    leaders: Array, cuts: Array, partners: Array, reading: int, first: int, last: int,
    low_document: int, high_document: int,
    leader_stamps: Array, leader_counts: Array, fact_stamps: Array, stamp: Array, stop: Array, work: Array,
    keys: Array, sizes: Array,
) -> tuple[int, int, int]:  # fmt: skip
    """:func:`_collect_group` of the groups [first, last), as many as fit.

    Args:
        leaders: int64 (groups,); ``cuts``, int64 (groups + 1,), says which ``partners`` are whose.

    Returns:
        The group behind the last one that fits, the number of keys, and of segments.
    """
    count, segment = 0, 0
    for group in range(first, last):
        needed = 1 + cuts[group + 1] - cuts[group]
        if segment + needed > sizes.size or stop[0]:
            return group, count, segment
        found = _collect_group(
            ids, table, width, token_bytes, document_starts, blocks, counted, tokens, starts, entities, ranges,
            leaders[group], partners[cuts[group] : cuts[group + 1]], reading, low_document, high_document,
            leader_stamps, leader_counts, fact_stamps, stamp, stop, work, keys, count, segment, sizes,
        )  # fmt: skip
        if found < 0:
            return group, count, segment
        count = found
        segment += needed
    return last, count, segment


@compiled()
def collect_entities(
    table: Array, width: int, token_bytes: int, document_starts: Array, blocks: Array, counted: Array,
    starts: Array, entities: Array, ranges: Array, chosen: Array, first: int, last: int,
    low_document: int, high_document: int, stop: Array, keys: Array, sizes: Array,
) -> tuple[int, int, int]:  # fmt: skip
    """All positions of the entities ``chosen[first:last]``, one a segment; see :func:`collect_groups`."""
    count = 0
    for number in range(first, last):
        if number - first == sizes.size or stop[0]:
            return number, count, number - first
        before = count
        for form in range(entities[chosen[number]], entities[chosen[number] + 1]):
            length = starts[form + 1] - starts[form]
            for row in range(ranges[form, 0], ranges[form, 1]):
                if row % STRIDE == 0 and stop[0]:
                    break
                position = entry(table, row, width) >> (token_bytes >> 1)
                document = document_of(position, document_starts, blocks)
                if document < low_document or document >= high_document or (counted.size and not counted[document]):
                    continue
                if count == keys.size:
                    return number, before, number - first
                keys[count] = _key(number - first, position, length)
                count += 1
        sizes[number - first] = count - before
    return last, count, last - first


@compiled()
def select_segments(keys: Array, sizes: Array, segments: int, starts: Array, ends: Array) -> None:
    """Leftmost-longest, non-overlapping mentions of each segment of the sorted keys; ``sizes`` gets their numbers."""
    position_mask = (np.uint64(1) << np.uint64(_SEGMENT_SHIFT - _LENGTH_BITS)) - np.uint64(1)
    source, target = 0, 0
    for segment in range(segments):
        last = source + sizes[segment]
        free = np.int64(-1)
        first = target
        while source < last:
            start = np.int64((keys[source] >> np.uint64(_LENGTH_BITS)) & position_mask)
            if start >= free:
                free = start + LONGEST_MENTION - np.int64(keys[source] & np.uint64(LONGEST_MENTION))
                starts[target] = start
                ends[target] = free
                target += 1
            source += 1
        sizes[segment] = target - first


@compiled()
def count_segments(
    document_starts: Array, blocks: Array, groups: Array, sizes: Array, starts: Array, entities: Array, counts: Array
) -> None:
    """Add mentions and documents of ``entities``, one a segment, to ``counts``, int64 (entities, groups, 2)."""
    at = 0
    for segment in range(entities.size):
        last_document = np.int64(-1)
        for i in range(at, at + sizes[segment]):
            document = document_of(starts[i], document_starts, blocks)
            group = groups[document] if groups.size else 0
            counts[entities[segment], group, 0] += 1
            if document != last_document:
                last_document = document
                counts[entities[segment], group, 1] += 1
        at += sizes[segment]


@compiled()
def pair_segments(
    size: int, document_starts: Array, blocks: Array, groups: Array, sizes: Array, segments: int, starts: Array,
    ends: Array, leaders: Array, facts: Array, windows: Array, together: Array,
) -> None:  # fmt: skip
    """Add the pairs of each segment that is a partner's (``facts[segment] >= 0``) with those of its leader's."""
    first = np.zeros(segments + 1, np.int64)
    for segment in range(segments):
        first[segment + 1] = first[segment] + sizes[segment]
    for segment in range(segments):
        fact = facts[segment]
        if fact < 0:
            continue
        i, i_last = first[segment], first[segment + 1]
        j, j_last = first[leaders[segment]], first[leaders[segment] + 1]
        while i < i_last and j < j_last:
            document = document_of(starts[i], document_starts, blocks)
            begin = document_starts[document]
            end = document_starts[document + 1] if document + 1 < document_starts.size else size
            i_end = i + 1
            while i_end < i_last and starts[i_end] < end:
                i_end += 1
            j = _first_from(starts, j, j_last, begin)
            j_end = _first_from(starts, j, j_last, end)
            if j < j_end:
                group = groups[document] if groups.size else 0
                pairs = (i_end - i) * (j_end - j) - overlapping_pairs(starts, ends, i, i_end, starts, ends, j, j_end)
                together[fact, group, 0, 0] += pairs > 0
                together[fact, group, 0, 1] += pairs
                for w in range(windows.size):
                    pairs = near_pairs(starts, ends, i, i_end, starts, ends, j, j_end, windows[w])
                    together[fact, group, 1 + w, 0] += pairs > 0
                    together[fact, group, 1 + w, 1] += pairs
            i, j = i_end, j_end


@compiled()
def _first_from(values: Array, low: Any, high: Any, wanted: Any) -> Any:
    """The first place in [low, high) whose value is at least ``wanted``, near ``low`` more likely than not."""
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
