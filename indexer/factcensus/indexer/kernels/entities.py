"""Compiled counting of entities and of pairs of entities in one shard, in bounded memory and with a stop flag.

All kernels start from ranges of the suffix array. The expensive step is finding the document of a row.
:mod:`factcensus.indexer.counting.fact_counts`, which calls these kernels, explains how this step is avoided.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.ngrams import STRIDE, Selection, find_frequent
from factcensus.indexer.kernels.pairs import gallop, near_pairs, overlapping_pairs
from factcensus.indexer.kernels.reading import (
    LENGTH_BITS,
    LONGEST_MENTION,
    SEGMENT_SHIFT,
    append_mentions,
    count_mentions,
    mention_key,
)
from factcensus.indexer.kernels.search import (
    CHUNK,
    Rows,
    document_end,
    document_of,
    document_start,
    documents_of_rows,
    position_of,
)

#: Maximum number of segments that are sorted together.
SEGMENTS = 1 << 11
#: The cost of visiting a row and looking up its document, in tokens of a document that is read through.
TOKENS_PER_ROW = 6


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
def _can_overlap(tokens: Array, a: int, a_end: int, b: int, b_end: int) -> bool:
    """Return whether an occurrence of b can begin inside an occurrence of a, after its first token."""
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
    """Return whether one of two forms is a prefix of the other."""
    for i in range(min(a_end - a, b_end - b)):  # noqa: SIM110 - compiled
        if tokens[a + i] != tokens[b + i]:
            return False
    return True


@compiled()
def _entities_overlap(tokens: Array, starts: Array, entities: Array, one: int, other: int) -> bool:
    """Return whether mentions of the two entities can share a token."""
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
    """Set ``simple`` for entities whose mentions can never overlap."""
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
    """Set ``disjoint`` for pairs of entities whose mentions can never overlap, within one entity or between both."""
    for i in range(subjects.size):
        disjoint[i] = (
            simple[subjects[i]]
            and simple[objects[i]]
            and not _entities_overlap(tokens, starts, entities, subjects[i], objects[i])
        )


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


@compiled()
def _mark_leader(
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
def _reading_is_cheaper(
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
        reading = _reading_is_cheaper(rows, forms, leader, partners, stamps, control.stop, documents)
    last[0] += np.uint32(1)
    leading = last[0]
    if not reading:
        _mark_leader(rows, counted, forms, leader, 0, rows.document_starts.size, stamps, leading, control, documents)
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


@compiled()
def _collect_leader(
    rows: Rows,
    forms: FormRanges,
    leader: int,
    stamps: Stamps,
    wanted: Any,
    stop: Array,
    segment: int,
    keys: Array,
    count: int,
) -> int:
    """Append the leader's positions in documents with the fact stamp ``wanted`` to ``keys``.

    Returns:
        The number of keys; -1 if they do not fit.
    """
    for form in range(forms.entities[leader], forms.entities[leader + 1]):
        length = forms.starts[form + 1] - forms.starts[form]
        for row in range(forms.ranges[form, 0], forms.ranges[form, 1]):
            if row % STRIDE == 0 and stop[0]:
                return count
            position = position_of(rows, row)
            if stamps.fact[document_of(rows, position)] == wanted:
                if count == keys.size:
                    return -1
                keys[count] = mention_key(segment, position, length)
                count += 1
    return count


@compiled()
def _collect_group(
    text: Any,
    rows: Rows,
    counted: Array,
    forms: FormRanges,
    leader: int,
    partners: Array,
    reading: int,
    low_document: int,
    high_document: int,
    stamps: Stamps,
    control: Control,
    documents: Array,
    keys: Array,
    count: int,
    segment: int,
    sizes: Array,
) -> int:
    """Append the positions of a leader (segment ``segment``) and its partners (the next segments) to ``keys``.

    Uses only documents [low_document, high_document) that contain the leader and a partner. ``sizes`` receives the
    number of positions of each segment. ``documents`` is scratch.

    Returns:
        The number of keys; -1 if they do not fit.
    """
    if reading < 0:
        reading = _reading_is_cheaper(rows, forms, leader, partners, stamps, control.stop, documents)
    stamps.last[0] += np.uint32(2)
    leading, wanted = stamps.last[0] - np.uint32(1), stamps.last[0]
    sizes[segment] = 0
    if not reading:
        _mark_leader(rows, counted, forms, leader, low_document, high_document, stamps, leading, control, documents)
    for k in range(partners.size):
        sizes[segment + 1 + k] = 0
        for form in range(forms.entities[partners[k]], forms.entities[partners[k] + 1]):
            control.work[0] += forms.ranges[form, 1] - forms.ranges[form, 0]
            length = forms.starts[form + 1] - forms.starts[form]
            for row in range(forms.ranges[form, 0], forms.ranges[form, 1]):
                if row % STRIDE == 0 and control.stop[0]:
                    return count
                position = position_of(rows, row)
                document = document_of(rows, position)
                if document < low_document or document >= high_document or (counted.size and not counted[document]):
                    continue
                if reading and stamps.leader[document] != leading:
                    begin, end = document_start(rows, document) + 1, document_end(rows, document)
                    read = append_mentions(text, begin, end, forms, leader, segment, keys, count)
                    if read < 0:
                        return -1
                    control.work[1] += end - begin
                    stamps.leader[document] = leading
                    stamps.leader_mentions[document] = read - count
                    sizes[segment] += read - count
                    count = read
                if stamps.leader[document] == leading and stamps.leader_mentions[document] > 0:
                    if count == keys.size:
                        return -1
                    keys[count] = mention_key(segment + 1 + k, position, length)
                    count += 1
                    sizes[segment + 1 + k] += 1
                    stamps.fact[document] = wanted
    if not reading:
        found = _collect_leader(rows, forms, leader, stamps, wanted, control.stop, segment, keys, count)
        if found < 0:
            return -1
        sizes[segment] = found - count
        control.work[0] += found - count
        count = found
    return count


@compiled()
def collect_groups(
    text: Any,
    rows: Rows,
    counted: Array,
    forms: FormRanges,
    groups: Groups,
    first: int,
    last: int,
    low_document: int,
    high_document: int,
    stamps: Stamps,
    control: Control,
    keys: Array,
    sizes: Array,
) -> tuple[int, int, int]:
    """Run :func:`_collect_group` for as many of the groups [first, last) as fit.

    Returns:
        The group after the last one that fits, the number of keys, and the number of segments.
    """
    count, segment = 0, 0
    documents = np.empty(CHUNK, np.int64)
    for group in range(first, last):
        low, high = groups.cuts[group], groups.cuts[group + 1]
        needed = 1 + high - low
        if segment + needed > sizes.size or control.stop[0]:
            return group, count, segment
        found = _collect_group(
            text,
            rows,
            counted,
            forms,
            groups.leaders[group],
            groups.partners[low:high],
            groups.reading[group],
            low_document,
            high_document,
            stamps,
            control,
            documents,
            keys,
            count,
            segment,
            sizes,
        )
        if found < 0:
            return group, count, segment
        count = found
        segment += needed
    return last, count, segment


@compiled()
def collect_entities(
    rows: Rows,
    counted: Array,
    forms: FormRanges,
    chosen: Array,
    first: int,
    last: int,
    low_document: int,
    high_document: int,
    stop: Array,
    keys: Array,
    sizes: Array,
) -> tuple[int, int, int]:
    """Collect all positions of the entities ``chosen[first:last]``, one segment each; see :func:`collect_groups`."""
    count = 0
    for number in range(first, last):
        if number - first == sizes.size or stop[0]:
            return number, count, number - first
        before = count
        for form in range(forms.entities[chosen[number]], forms.entities[chosen[number] + 1]):
            length = forms.starts[form + 1] - forms.starts[form]
            for row in range(forms.ranges[form, 0], forms.ranges[form, 1]):
                if row % STRIDE == 0 and stop[0]:
                    break
                position = position_of(rows, row)
                document = document_of(rows, position)
                if document < low_document or document >= high_document or (counted.size and not counted[document]):
                    continue
                if count == keys.size:
                    return number, before, number - first
                keys[count] = mention_key(number - first, position, length)
                count += 1
        sizes[number - first] = count - before
    return last, count, last - first


@compiled()
def select_segments(keys: Array, sizes: Array, segments: int, starts: Array, ends: Array) -> None:
    """Select leftmost-longest, non-overlapping mentions of each segment of the sorted keys.

    Fills ``starts`` and ``ends``; ``sizes`` receives the number of mentions of each segment.
    """
    position_mask = (np.uint64(1) << np.uint64(SEGMENT_SHIFT - LENGTH_BITS)) - np.uint64(1)
    source, target = 0, 0
    for segment in range(segments):
        last = source + sizes[segment]
        free = np.int64(-1)
        first = target
        while source < last:
            start = np.int64((keys[source] >> np.uint64(LENGTH_BITS)) & position_mask)
            if start >= free:
                free = start + LONGEST_MENTION - np.int64(keys[source] & np.uint64(LONGEST_MENTION))
                starts[target] = start
                ends[target] = free
                target += 1
            source += 1
        sizes[segment] = target - first


@compiled()
def count_segments(rows: Rows, groups: Array, sizes: Array, starts: Array, entities: Array, counts: Array) -> None:
    """Add mentions and documents of ``entities``, one segment each, to ``counts``, int64 (entities, groups, 2)."""
    at = 0
    for segment in range(entities.size):
        last_document = np.int64(-1)
        for i in range(at, at + sizes[segment]):
            document = document_of(rows, starts[i])
            group = groups[document] if groups.size else 0
            counts[entities[segment], group, 0] += 1
            if document != last_document:
                last_document = document
                counts[entities[segment], group, 1] += 1
        at += sizes[segment]


@compiled()
def pair_segments(
    rows: Rows,
    groups: Array,
    sizes: Array,
    starts: Array,
    ends: Array,
    leaders: Array,
    facts: Array,
    windows: Array,
    together: Array,
) -> None:
    """Add the pairs of each partner's segment (``facts[segment] >= 0``) with its leader's segment to ``together``."""
    segments = facts.size
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
            document = document_of(rows, starts[i])
            end = document_end(rows, document)
            i_end = i + 1
            while i_end < i_last and starts[i_end] < end:
                i_end += 1
            j = gallop(starts, j, j_last, document_start(rows, document))
            j_end = gallop(starts, j, j_last, end)
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
