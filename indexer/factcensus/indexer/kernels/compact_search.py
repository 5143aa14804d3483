"""Compiled search in one shard of the layout ``compact``: from token sequences to sorted positions.

A search reads the blocks of a form's rarest anchor (``compact_plan.py``), keeps those that are near a block of the next
rarest one, finds the anchor inside them, and compares the other tokens with the text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.bits import (
    PADDING,
    address_of,
    bitmap_words,
    bits_from,
    decode_set,
    fill_bitmap,
    keep_in_padded,
    keep_near,
    load_32,
    load_64,
    lowest_bit,
    next_in_set,
    popcount,
    seek_elias_fano,
    seek_set,
    set_size,
)
from factcensus.indexer.kernels.compact_lists import Lists
from factcensus.indexer.kernels.compact_plan import Plan
from factcensus.indexer.kernels.compact_text import (
    BLOCK,
    Text,
    addresses_of,
    class_mask,
    is_code,
    payload_of,
    planes_of,
    prefetch_payload,
    prefetch_planes,
)
from factcensus.indexer.kernels.compiled import compiled

#: Blocks by which the planes and the payload are loaded in advance.
_PLANES_AHEAD, _PAYLOAD_AHEAD = 16, 8
#: Blocks that are searched before the space for their matches is checked again.
_TOGETHER = 32
#: Cost of a block of a second anchor that becomes a bitmap, and of looking for a block without one, in steps of 2 ns.
_BITMAP_COST, _SEEK_COST = 1, 8


class Reader(NamedTuple):
    """A text and a plan, with which the occurrences of forms inside one document are found."""

    text: Text
    lists: Lists
    plan: Plan


class Sought(NamedTuple):
    """A form for inner loops.

    Attributes:
        codes: Address of its first code, int64; ``classes`` of the class of its first code.
        length: Number of tokens.
        place: The place of its rarest anchor.
        k: The class of the code there.
        value: This code, counted from the first code of its class.
        width: Width of the codes of this class.
    """

    codes: int
    classes: int
    length: int
    place: int
    k: int
    value: int
    width: int


@compiled(inline="always")
def sought(text: Any, plan: Any, form: Any) -> Any:
    """Return the record of a form that inner loops use."""
    first, place = plan.starts[form], plan.anchors[form, 3]
    k = plan.classes[first + place]
    return Sought(
        address_of(plan.codes) + 8 * first,
        address_of(plan.classes) + 8 * first,
        plan.starts[form + 1] - first,
        place,
        k,
        plan.codes[first + place] - text.bases[k],
        text.widths[k],
    )


@compiled(inline="always")
def match_token(at: Any, form: Any, block: Any, size: Any) -> Any:
    """Return the places of a form of one token in a block of a text of this size, as a bit mask (uint64)."""
    planes = planes_of(at, block)
    mask = class_mask(planes, form.k)
    bit = payload_of(at, block, planes, form.k)
    matched, one = np.uint64(0), np.uint64(1)
    if (block + 1) << 6 > size:  # the rest of the last block is no text
        mask &= ~np.uint64(0) >> np.uint64(((block + 1) << 6) - size)
    while mask != 0:
        if bits_from(at.payload, bit, form.width) == form.value:
            matched |= mask & ~(mask - one)
        bit += form.width
        mask &= mask - one
    return matched


@compiled(inline="always")
def match_block(at: Any, form: Any, block: Any, begin: Any, end: Any) -> Any:
    """Return the places in a block where the anchor of an occurrence of a form is, as a bit mask (uint64).

    Args:
        at: The addresses of the text.
        form: The form.
        block: The number of the block.
        begin: The first position at which an occurrence may start.
        end: The position at which it must end at the latest.
    """
    planes = planes_of(at, block)
    members = class_mask(planes, form.k)
    mask = members
    # Not a loop, because the compiler would use vectors, which take longer for the few tokens of most names.
    mask = _near(planes, form, -1, _near(planes, form, 1, mask))
    mask = _near(planes, form, -2, _near(planes, form, 2, mask))
    mask = _near(planes, form, -3, _near(planes, form, 3, mask))
    matched, one = np.uint64(0), np.uint64(1)
    if mask != 0:
        first = payload_of(at, block, planes, form.k)
        while mask != 0:
            bit = mask & ~(mask - one)
            rank = popcount(members & (bit - one))
            if bits_from(at.payload, first + rank * form.width, form.width) == form.value:
                start = (block << 6) + lowest_bit(mask) - form.place
                same = start >= begin and start + form.length <= end
                i = 0
                while same and i < form.length:
                    if i != form.place:
                        code, k = np.int64(load_64(form.codes + 8 * i)), np.int64(load_64(form.classes + 8 * i))
                        same = is_code(at, start + i, code, k)
                    i += 1
                if same:
                    matched |= bit
            mask ^= bit
    return matched


@compiled(inline="always")
def _near(planes: Any, form: Any, distance: Any, mask: Any) -> Any:
    """Return the places in ``mask`` at this distance from which the class of a code of the form is, or the block ends.

    All are returned if the form has no token at this distance from its anchor.
    """
    i = form.place + distance
    if 0 <= i < form.length:
        mask &= _moved(class_mask(planes, np.int64(load_64(form.classes + 8 * i))), distance)
    return mask


@compiled(inline="always")
def _moved(mask: Any, distance: Any) -> Any:
    """Return the places of a block that are this far before a place in ``mask``, or before one outside the block."""
    everything, later, earlier = ~np.uint64(0), np.uint64(max(distance, 0)), np.uint64(max(-distance, 0))
    return mask >> later << earlier | ~(everything >> later << earlier)


@compiled(inline="always")
def add_matches(matched: Any, first: Any, found: Any, count: Any) -> Any:
    """Write the positions of the set bits, counted from ``first``, to ``found[count:]``; return the new count."""
    while matched != 0:
        found[count] = first + lowest_bit(matched)
        matched &= matched - np.uint64(1)
        count += 1
    return count


@compiled()
def locate(
    text: Text, lists: Lists, plan: Plan, by_first: Array, by_second: Array, ranges: Array, stop: Array
) -> Array:
    """Find the occurrences of forms.

    The list of each rarest anchor is decoded once for all its forms. Then the forms with the same second anchor are
    found together, so that its bitmap is made once and stays in the cache.

    Args:
        text: The text.
        lists: The lists of blocks.
        plan: The plan of the search.
        by_first: int64: the numbers of the forms, sorted by their rarest anchor.
        by_second: The same forms, sorted by their second anchor.
        ranges: int64 (forms, 2): receives the range of each of these forms in the result.
        stop: uint8 (1,): the search is abandoned when ``stop[0]`` is set.

    Returns:
        uint32: the positions of all these forms, in order for each form.
    """
    decoded, begins, most = _decode_anchors(lists, plan.anchors, by_first)
    narrowed, bitmap = np.empty(most, np.uint32), np.empty(0, np.uint64)
    found, count, address = np.empty(4096, np.uint32), 0, addresses_of(text)
    second, use_bitmap = np.int64(-1), False
    for number in range(by_second.size):
        form = by_second[number]
        anchors = plan.anchors[form]
        ranges[form, 0], ranges[form, 1] = count, count
        if anchors[2] == 0 or stop[0]:
            continue
        candidates, left = decoded[begins[form] : begins[form] + anchors[2]], anchors[2]
        if anchors[6]:
            if anchors[4] != second:
                second = anchors[4]
                use_bitmap = _pays_as_bitmap(lists, plan.anchors, by_second[number:])
                if use_bitmap:
                    if bitmap.size == 0:
                        bitmap = np.empty(bitmap_words(lists.blocks), np.uint64)
                    fill_bitmap(lists.words, anchors[5], anchors[6], lists.blocks, bitmap)
            left = _narrow(lists, anchors, bitmap, use_bitmap, candidates, narrowed)
            candidates = narrowed
        known, blocks = sought(text, plan, form), address_of(candidates)
        _prefetch_first(address, blocks, left)
        for first in range(0, left, _TOGETHER):
            last = min(left, first + _TOGETHER)
            if count + (last - first) * BLOCK > found.size:
                found = _larger(found, count)
            count = _match_blocks(address, known, text.size, blocks, first, last, left, found, count)
        ranges[form, 1] = count
    return found[:count].copy()


@compiled()
def _match_blocks(
    at: Any, form: Any, size: Any, blocks: Any, first: Any, last: Any, left: Any, found: Array, count: Any
) -> Any:
    """Write the positions of a form in some blocks to ``found[count:]``, and return the new count.

    It is not part of :func:`locate`, which replaces ``found``: there, every block would cost two atomic instructions
    that count references to it.

    Args:
        at: The addresses of the text; ``size`` is its number of tokens.
        form: The form.
        blocks: Address of uint32 (left,), all blocks of the form; [first, last) are searched.
    """
    for i in range(first, last):
        if i + _PLANES_AHEAD < left:
            prefetch_planes(at, load_32(blocks + 4 * (i + _PLANES_AHEAD)))
        if i + _PAYLOAD_AHEAD < left:
            prefetch_payload(at, load_32(blocks + 4 * (i + _PAYLOAD_AHEAD)))
        block = load_32(blocks + 4 * i)
        if form.length == 1:  # noqa: SIM108 - long lines
            matched = match_token(at, form, block, size)
        else:
            matched = match_block(at, form, block, 0, size)
        count = add_matches(matched, (block << 6) - form.place, found, count)
    return count


@compiled()
def _larger(found: Array, count: Any) -> Array:
    """Return an array of twice the size with the same first elements."""
    larger = np.empty(2 * found.size, np.uint32)
    larger[:count] = found[:count]
    return larger


@compiled(inline="always")
def _prefetch_first(address: Any, blocks: Any, count: Any) -> None:
    """Load the first blocks of a list in advance; many lists have no more."""
    for i in range(min(count, _PLANES_AHEAD)):
        prefetch_planes(address, load_32(blocks + 4 * i))
    for i in range(min(count, _PAYLOAD_AHEAD)):
        prefetch_payload(address, load_32(blocks + 4 * i))


@compiled()
def _decode_anchors(lists: Lists, anchors: Array, by_first: Array) -> tuple[Array, Array, Any]:
    """Decode the list of the rarest anchor of each form.

    Returns:
        uint32: the blocks of all lists; int64 (forms,): the place of the first block of each form; the size of the
        largest list.
    """
    total, most, last = np.int64(0), np.int64(0), np.int64(-1)
    for form in by_first:
        if anchors[form, 0] != last and anchors[form, 2]:
            last = anchors[form, 0]
            total += anchors[form, 2]
            most = max(most, anchors[form, 2])
    decoded, begins = np.empty(total, np.uint32), np.empty(anchors.shape[0], np.int64)
    at, begin, last = np.int64(0), np.int64(0), np.int64(-1)
    for form in by_first:
        blocks = anchors[form, 2]
        if anchors[form, 0] != last and blocks:
            last = anchors[form, 0]
            begin = at
            at += blocks
            out = decoded[begin:at]
            out[decode_set(lists.words, anchors[form, 1], blocks, lists.blocks, out) :] = 0  # if it is damaged
        begins[form] = begin
    return decoded, begins, most


@compiled()
def _pays_as_bitmap(lists: Lists, anchors: Array, forms: Array) -> Any:
    """Return whether to make a bitmap of the second anchor of the first of these forms for all forms that share it."""
    second, size = anchors[forms[0], 4], anchors[forms[0], 6]
    if set_size(size, lists.blocks) == lists.blocks:
        return False  # it is stored as a bitmap
    candidates = np.int64(0)
    for form in forms:
        if anchors[form, 4] != second or anchors[form, 6] == 0:
            break
        candidates += anchors[form, 2]
    return _SEEK_COST * candidates > _BITMAP_COST * size + lists.blocks // 512


@compiled(inline="always")
def _narrow(lists: Any, anchors: Any, bitmap: Any, use_bitmap: Any, candidates: Any, narrowed: Any) -> Any:
    """Copy the blocks that are near a block of a form's second anchor; return their number."""
    apart = anchors[7] - anchors[3]
    before, after = apart >> 6, (63 + apart) >> 6
    if use_bitmap and after - before < 64 and before >= -PADDING and after <= PADDING:
        return keep_in_padded(bitmap, candidates, candidates.size, before, after, narrowed)
    for i in range(candidates.size):
        narrowed[i] = candidates[i]
    return keep_near(lists.words, anchors[5], anchors[6], lists.blocks, narrowed, candidates.size, before, after)


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
    at, known = addresses_of(reader.text), sought(reader.text, reader.plan, form)
    number, block = _first_block(reader.lists, anchors, begin)
    while block <= (end - 1) >> 6:
        matched = match_block(at, known, block, begin, end)
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
    at, known = addresses_of(reader.text), sought(reader.text, reader.plan, form)
    number, block = _first_block(reader.lists, anchors, begin)
    while block <= (end - 1) >> 6:
        count += popcount(match_block(at, known, block, begin, end))
        block = _next_block(reader.lists, anchors, number, block)
        number += number >= 0
    return count
