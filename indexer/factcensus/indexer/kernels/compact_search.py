"""Compiled search in one shard of the layout ``compact``: from token sequences to sorted positions.

An *anchor* of a phrase is one of its tokens, or a pair of adjacent tokens that has a list. A search reads the blocks of
the rarest anchor, keeps those that are near a block of the next rarest one, finds the anchor inside them, and compares
the other tokens with the text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.bits import (
    PADDING,
    bits_at,
    decode_set,
    keep_in_padded,
    keep_near,
    lowest_bit,
    next_in_set,
    popcount,
    prefetch,
    seek_elias_fano,
    seek_set,
    set_size,
)
from factcensus.indexer.kernels.compact_lists import Lists, counts_of, list_of, run_of
from factcensus.indexer.kernels.compact_text import BLOCK, POINTED, Text, class_mask, class_of, is_code, payload_of
from factcensus.indexer.kernels.compiled import compiled

#: A second anchor is used if it occurs in fewer than one in this many blocks; otherwise it excludes too little.
SELECTIVE = 3
#: N-grams that can occur at most this often are not looked up among the frequent ones.
RARE = 16
#: Blocks by which the planes and the payload are loaded in advance.
_PLANES_AHEAD, _PAYLOAD_AHEAD = 16, 8


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


class Reader(NamedTuple):
    """A text and a plan, with which the occurrences of forms inside one document are found."""

    text: Text
    lists: Lists
    plan: Plan


@compiled()
def plan_search(text: Text, lists: Lists, plan: Plan) -> None:
    """Fill ``classes``, ``anchors`` and ``most`` of a plan whose codes are known."""
    for i in range(plan.codes.size):
        plan.classes[i] = class_of(text, plan.codes[i])
    for form in range(plan.starts.size - 1):
        first, last = plan.starts[form], plan.starts[form + 1]
        plan.anchors[form] = 0
        plan.most[form] = 0
        occurs = last > first
        for i in range(first, last):
            occurs = occurs and 0 <= plan.codes[i] < lists.alphabet
        if not occurs:
            continue
        most, best, second = np.int64(1) << 62, np.int64(-1), np.int64(-1)
        for i in range(first, last):
            code = plan.codes[i]
            most = min(most, np.int64(lists.values[run_of(lists, code)]))
            for pair in range(2):
                number = code
                if pair:
                    if i + 1 == last or code >= lists.frequent or plan.codes[i + 1] >= lists.frequent:
                        continue
                    number = lists.alphabet + code * lists.frequent + plan.codes[i + 1]
                at, blocks = list_of(lists, number)
                if best < 0 or blocks < best:
                    if number != plan.anchors[form, 0] or best < 0:
                        plan.anchors[form, 4:8] = plan.anchors[form, 0:4]
                        second = best
                    best = blocks
                    _set_anchor(plan.anchors, form, 0, number, at, blocks, i - first)
                elif number != plan.anchors[form, 0] and (second < 0 or blocks < second):
                    second = blocks
                    _set_anchor(plan.anchors, form, 4, number, at, blocks, i - first)
        plan.most[form] = most if best > 0 else 0
        if second < 0 or second >= lists.blocks // SELECTIVE:
            plan.anchors[form, 6] = 0


@compiled(inline="always")
def _set_anchor(anchors: Any, form: Any, first: Any, number: Any, at: Any, blocks: Any, place: Any) -> None:
    anchors[form, first], anchors[form, first + 1] = number, at
    anchors[form, first + 2], anchors[form, first + 3] = blocks, place


@compiled(inline="always")
def match_block(text: Text, plan: Plan, form: Any, block: Any, begin: Any, end: Any) -> Any:
    """Return the places in a block where the anchor of an occurrence of a form is, as a bit mask (uint64).

    Args:
        text: The text.
        plan: The plan of the search.
        form: The number of the form.
        block: The number of the block.
        begin: The first position at which an occurrence may start.
        end: The position at which it must end at the latest.
    """
    first, length = plan.starts[form], plan.starts[form + 1] - plan.starts[form]
    place = plan.anchors[form, 3]
    k = plan.classes[first + place]
    value, width = plan.codes[first + place] - text.bases[k], text.widths[k]
    low, middle, high = text.planes[3 * block], text.planes[3 * block + 1], text.planes[3 * block + 2]
    mask = class_mask(low, middle, high, k)
    at = payload_of(text, block, low, middle, high, k)
    matched = np.uint64(0)
    while mask != 0:
        if bits_at(text.payload, at, width) == value:
            start = (block << 6) + lowest_bit(mask) - place
            same = start >= begin and start + length <= end
            i = 0
            while same and i < length:
                same = i == place or is_code(text, start + i, plan.codes[first + i], plan.classes[first + i])
                i += 1
            if same:
                matched |= mask & ~(mask - np.uint64(1))
        at += width
        mask &= mask - np.uint64(1)
    return matched


@compiled(inline="always")
def add_matches(matched: Any, first: Any, found: Any, count: Any) -> Any:
    """Write the positions of the set bits, counted from ``first``, to ``found[count:]``; return the new count."""
    while matched != 0:
        found[count] = first + lowest_bit(matched)
        matched &= matched - np.uint64(1)
        count += 1
    return count


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


@compiled()
def locate(
    text: Text, lists: Lists, plan: Plan, chosen: Array, bitmaps: Array, bitmap_of: Array, ranges: Array, stop: Array
) -> Array:
    """Find the occurrences of forms.

    Args:
        text: The text.
        lists: The lists of blocks.
        plan: The plan of the search.
        chosen: int64: the numbers of the forms; those with the same rarest anchor should follow each other, because
            its list is then decoded once.
        bitmaps: Lists of second anchors as bitmaps.
        bitmap_of: int64: the number of the bitmap of each chosen form, or -1.
        ranges: int64 (forms, 2): receives the range of each chosen form in the result.
        stop: uint8 (1,): the search is abandoned when ``stop[0]`` is set.

    Returns:
        uint32: the positions of all chosen forms, in order for each form.
    """
    most = np.int64(0)
    for form in chosen:
        most = max(most, plan.anchors[form, 2])
    decoded, narrowed = np.empty(most, np.uint32), np.empty(most, np.uint32)
    found = np.empty(4096, np.uint32)
    count, of_list, size = 0, np.int64(-1), 0
    for number in range(chosen.size):
        form = chosen[number]
        ranges[form, 0], ranges[form, 1] = count, count
        blocks = plan.anchors[form, 2]
        if blocks == 0 or stop[0]:
            continue
        if plan.anchors[form, 0] != of_list:
            of_list = plan.anchors[form, 0]
            size = decode_set(lists.words, plan.anchors[form, 1], blocks, lists.blocks, decoded)
        candidates, left = decoded, size
        if plan.anchors[form, 6]:
            candidates, left = (
                narrowed,
                _narrow(lists, plan.anchors[form], bitmaps, bitmap_of[number], decoded, size, narrowed),
            )
        for i in range(left):
            if count + BLOCK > found.size:
                larger = np.empty(2 * found.size, np.uint32)
                larger[:count] = found[:count]
                found = larger
            if i + _PLANES_AHEAD < left:
                ahead = np.int64(candidates[i + _PLANES_AHEAD])
                prefetch(text.planes, 3 * ahead)
                prefetch(text.offsets, ahead)
            if i + _PAYLOAD_AHEAD < left:
                ahead = np.int64(candidates[i + _PAYLOAD_AHEAD])
                at = np.int64(text.pointers[ahead // POINTED]) + np.int64(text.offsets[ahead])
                prefetch(text.payload, at >> 6)
            block = np.int64(candidates[i])
            matched = match_block(text, plan, form, block, 0, text.size)
            count = add_matches(matched, (block << 6) - plan.anchors[form, 3], found, count)
        ranges[form, 1] = count
    return found[:count].copy()


@compiled(inline="always")
def _narrow(lists: Any, anchors: Any, bitmaps: Any, bitmap: Any, decoded: Any, size: Any, narrowed: Any) -> Any:
    """Copy the blocks that are near a block of a form's second anchor; return their number."""
    apart = anchors[7] - anchors[3]
    before, after = apart >> 6, (63 + apart) >> 6
    if bitmap >= 0 and after - before < 64 and before >= -PADDING and after <= PADDING:
        return keep_in_padded(bitmaps[bitmap], decoded, size, before, after, narrowed)
    for i in range(size):
        narrowed[i] = decoded[i]
    return keep_near(lists.words, anchors[5], anchors[6], lists.blocks, narrowed, size, before, after)


@compiled(inline="always")
def _first_block(lists: Any, anchors: Any, begin: Any) -> Any:
    """Return the number and value of the first block of an anchor, for an occurrence from ``begin`` on."""
    wanted = (begin + anchors[3]) >> 6
    if set_size(anchors[2], lists.blocks) < lists.blocks:
        return seek_elias_fano(lists.words, anchors[1], anchors[2], lists.blocks, wanted)
    return np.int64(-1), seek_set(lists.words, anchors[1], anchors[2], lists.blocks, wanted)


@compiled(inline="always")
def _next_block(lists: Any, anchors: Any, number: Any, block: Any) -> Any:
    """Return the block of an anchor after this one; the number is -1 if the list is a bitmap."""
    if number >= 0:
        return next_in_set(lists.words, anchors[1], anchors[2], lists.blocks, number, block)
    return seek_set(lists.words, anchors[1], anchors[2], lists.blocks, block + 1)


@compiled()
def find_in_document(reader: Reader, form: Any, begin: Any, end: Any, found: Array) -> Any:
    """Write the positions at which a form occurs within [begin, end) to ``found``, and return their number.

    ``found`` has an element per position in this range.
    """
    anchors, count = reader.plan.anchors[form], 0
    if anchors[2] == 0 or begin == end:
        return 0
    number, block = _first_block(reader.lists, anchors, begin)
    while block <= (end - 1) >> 6:
        matched = match_block(reader.text, reader.plan, form, block, begin, end)
        count = add_matches(matched, (block << 6) - anchors[3], found, count)
        block = _next_block(reader.lists, anchors, number, block)
        number += number >= 0
    return count


@compiled()
def count_in_document(reader: Reader, form: Any, begin: Any, end: Any) -> Any:
    """Return how often a form occurs within [begin, end)."""
    anchors, count = reader.plan.anchors[form], np.int64(0)
    if anchors[2] == 0 or begin == end:
        return count
    number, block = _first_block(reader.lists, anchors, begin)
    while block <= (end - 1) >> 6:
        count += popcount(match_block(reader.text, reader.plan, form, block, begin, end))
        block = _next_block(reader.lists, anchors, number, block)
        number += number >= 0
    return count
