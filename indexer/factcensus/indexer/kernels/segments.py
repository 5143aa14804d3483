"""Compiled counting of entities and pairs whose mentions can overlap, or within windows.

The positions of many entities, one segment each, are collected in one buffer and sorted together. The mentions of each
segment are then selected and paired.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.entities import Control, FormRanges, Stamps
from factcensus.indexer.kernels.groups import Groups, mark_leader, reading_is_cheaper
from factcensus.indexer.kernels.ngrams import STRIDE
from factcensus.indexer.kernels.pairs import gallop, near_pairs, overlapping_pairs
from factcensus.indexer.kernels.reading import (
    LENGTH_BITS,
    LONGEST_MENTION,
    SEGMENT_SHIFT,
    append_mentions,
    mention_key,
)
from factcensus.indexer.kernels.search import (
    CHUNK,
    Rows,
    document_end,
    document_of,
    document_start,
    position_of,
)

#: Maximum number of segments that are sorted together.
SEGMENTS = 1 << 11


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
        reading = reading_is_cheaper(rows, forms, leader, partners, stamps, control.stop, documents)
    stamps.last[0] += np.uint32(2)
    leading, wanted = stamps.last[0] - np.uint32(1), stamps.last[0]
    sizes[segment] = 0
    if not reading:
        mark_leader(rows, counted, forms, leader, low_document, high_document, stamps, leading, control, documents)
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
