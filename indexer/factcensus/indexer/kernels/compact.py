"""Compiled search in one shard of the layout ``compact``: from token sequences to sorted positions.

A token is its *code*, its rank by frequency in the shard. The text is divided into blocks of 64 codes, and for every
code the set of blocks in which it occurs is stored; likewise for pairs of adjacent tokens of the most frequent codes.
An *anchor* of a phrase is one of its tokens or such a pair. A search reads the blocks of the rarest anchor, keeps those
that are near a block of the next rarest one, finds the anchor inside them, and compares the other tokens with the text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.bits import (
    PADDING,
    bits_at,
    decode_elias_fano,
    decode_set,
    fill_bitmap,
    keep_in_padded,
    keep_near,
    lowest_bit,
    next_in_set,
    popcount,
    prefetch,
    seek_elias_fano,
    seek_set,
    select_elias_fano,
    set_size,
)
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.permutation import Permutation, image, preimage

#: Codes per block, classes of codes, and blocks per pointer into the payload.
BLOCK, CLASSES, POINTED = 64, 8, 16
#: Lists per offset into the lists.
GROUPED = 16
#: A second anchor is used if it occurs in fewer than one in this many blocks; otherwise it excludes too little.
SELECTIVE = 3
#: N-grams that can occur at most this often are not looked up among the frequent ones.
RARE = 16
#: Blocks by which the planes and the payload are loaded in advance.
_PLANES_AHEAD, _PAYLOAD_AHEAD = 16, 8


class Text(NamedTuple):
    """The text of a shard.

    A code belongs to the class k with ``bases[k] <= code < bases[k + 1]``, and is stored as ``code - bases[k]`` in
    ``widths[k]`` bits. The payload of a block has the codes of the last class in order, then those of the class before,
    and so on, because most searches are for rare words.

    Attributes:
        planes: uint64 (3 * blocks,): the three bits of the class of each code of a block.
        pointers: uint64: bit offset of the payload of every 16th block.
        offsets: uint16 (blocks,): bit offset of the payload of each block after this pointer.
        payload: uint64.
        widths: int64 (8,).
        bases: int64 (9,).
        size: Number of tokens, including separators. The last block is filled with code 0.
    """

    planes: Array
    pointers: Array
    offsets: Array
    payload: Array
    widths: Array
    bases: Array
    size: int


class Lists(NamedTuple):
    """The blocks, occurrences and documents of each code, and the blocks of pairs of frequent codes.

    List ``code`` belongs to a code, and list ``alphabet + a * frequent + b`` to the pair of the codes a and b.

    Attributes:
        words: uint64: the sets of all lists (:mod:`bits`).
        offsets: uint64: bit offset of every 16th list.
        values: uint32: the numbers of occurrences of codes, largest first.
        firsts: uint32: the first code with each number of occurrences.
        counts: uint64: for each code its occurrences minus its blocks, and minus its documents; the width of both is
            the same for 16 codes.
        counts_at: uint32: bit offset of every 16th code in ``counts``.
        pairs: uint32 (frequent * frequent,): number of blocks of each pair.
        alphabet: Number of codes, including the separator.
        frequent: Number of codes whose pairs have lists.
        blocks: Number of blocks of the text.
    """

    words: Array
    offsets: Array
    values: Array
    firsts: Array
    counts: Array
    counts_at: Array
    pairs: Array
    alphabet: int
    frequent: int
    blocks: int


class Codes(NamedTuple):
    """The map from token ids to codes and back.

    Attributes:
        present: uint64: the ids of the shard as an Elias-Fano set; empty if all occur.
        codes: The code of each id of the shard, in the order of the ids, and at the end that of the separator.
        types: Number of ids of the index.
        known: Number of ids of the shard.
    """

    present: Array
    codes: Permutation
    types: int
    known: int


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


# --- text -------------------------------------------------------------------------------------------------------------


@compiled(inline="always")
def class_mask(low: Any, middle: Any, high: Any, k: Any) -> Any:
    """Return the places at which codes of class ``k`` are, from the three planes of a block."""
    return (low if k & 1 else ~low) & (middle if k & 2 else ~middle) & (high if k & 4 else ~high)


@compiled(inline="always")
def class_of(text: Text, code: Any) -> Any:
    """Return the class of a code."""
    k = 0
    while k + 1 < CLASSES and code >= text.bases[k + 1]:
        k += 1
    return k


@compiled(inline="always")
def payload_of(text: Text, block: Any, low: Any, middle: Any, high: Any, k: Any) -> Any:
    """Return the bit offset at which the payload of class ``k`` begins in a block with these planes."""
    at = np.int64(text.pointers[block // POINTED]) + np.int64(text.offsets[block])
    for before in range(CLASSES - 1, k, -1):
        at += popcount(class_mask(low, middle, high, before)) * text.widths[before]
    return at


@compiled()
def code_at(text: Text, position: Any) -> Any:
    """Return the code at a position."""
    block, place = position >> 6, np.uint64(position & 63)
    low, middle, high = text.planes[3 * block], text.planes[3 * block + 1], text.planes[3 * block + 2]
    one = np.uint64(1)
    bits = (low >> place & one) | (middle >> place & one) << one | (high >> place & one) << np.uint64(2)
    k = np.int64(bits)
    before = popcount(class_mask(low, middle, high, k) & ((one << place) - one))
    at = payload_of(text, block, low, middle, high, k) + before * text.widths[k]
    return text.bases[k] + bits_at(text.payload, at, text.widths[k])


@compiled(inline="always")
def is_code(text: Text, position: Any, code: Any, k: Any) -> Any:
    """Return whether a code of class ``k`` is at a position; if not, comparing the classes is usually enough."""
    block, place = position >> 6, np.uint64(position & 63)
    low, middle, high = text.planes[3 * block], text.planes[3 * block + 1], text.planes[3 * block + 2]
    mask, one = class_mask(low, middle, high, k), np.uint64(1)
    if not mask >> place & one:
        return False
    before = popcount(mask & ((one << place) - one))
    at = payload_of(text, block, low, middle, high, k) + before * text.widths[k]
    return bits_at(text.payload, at, text.widths[k]) == code - text.bases[k]


@compiled()
def read_codes(text: Text, begin: Any, end: Any, out: Array) -> None:
    """Write the codes at the positions [begin, end) to ``out``."""
    at = np.empty(CLASSES, np.int64)
    one = np.uint64(1)
    for block in range(begin >> 6, (end + 63) >> 6):
        low, middle, high = text.planes[3 * block], text.planes[3 * block + 1], text.planes[3 * block + 2]
        at[CLASSES - 1] = np.int64(text.pointers[block // POINTED]) + np.int64(text.offsets[block])
        for k in range(CLASSES - 1, 0, -1):
            at[k - 1] = at[k] + popcount(class_mask(low, middle, high, k)) * text.widths[k]
        for place in range(min(BLOCK, end - block * BLOCK)):
            shift = np.uint64(place)
            bits = (low >> shift & one) | (middle >> shift & one) << one | (high >> shift & one) << np.uint64(2)
            of_class = np.int64(bits)
            if block * BLOCK + place >= begin:
                code = text.bases[of_class] + bits_at(text.payload, at[of_class], text.widths[of_class])
                out[block * BLOCK + place - begin] = code
            at[of_class] += text.widths[of_class]


# --- lists ------------------------------------------------------------------------------------------------------------


@compiled()
def _run_of(lists: Lists, code: Any) -> Any:
    """Return the number of a code's run; a run is a range of codes with equal occurrences."""
    first, last = 0, lists.firsts.size - 1
    while first < last:
        middle = (first + last + 1) // 2
        if lists.firsts[middle] <= code:
            first = middle
        else:
            last = middle - 1
    return first


@compiled()
def _count_bits(occurrences: Any) -> Any:
    """Return the width of the counts of 16 codes, the first of which has this number of occurrences."""
    width = 0
    while (occurrences - 1) >> width:
        width += 1
    return width


@compiled()
def counts_of(lists: Lists, code: Any) -> tuple[Any, Any]:
    """Return the occurrences and documents of a code, in all documents of the shard."""
    group = code // GROUPED
    run = _run_of(lists, code)
    occurrences = np.int64(lists.values[run])
    first = np.int64(lists.values[_run_of(lists, group * GROUPED)])
    width = _count_bits(first)
    at = np.int64(lists.counts_at[group]) + (2 * (code - group * GROUPED) + 1) * width
    return occurrences, occurrences - bits_at(lists.counts, at, width)


@compiled()
def list_of(lists: Lists, number: Any) -> tuple[Any, Any]:
    """Return the bit offset and the number of blocks of a list."""
    group = number // GROUPED
    first = group * GROUPED
    at = np.int64(lists.offsets[group])
    run, width, counts_at = 0, 0, np.int64(0)
    if first < lists.alphabet:
        run = _run_of(lists, first)
        width = _count_bits(np.int64(lists.values[run]))
        counts_at = np.int64(lists.counts_at[group])
    blocks = np.int64(0)
    for each in range(first, number + 1):
        if each > first:
            at += set_size(blocks, lists.blocks)
        if each < lists.alphabet:
            while run + 1 < lists.firsts.size and lists.firsts[run + 1] <= each:
                run += 1
            blocks = np.int64(lists.values[run]) - bits_at(lists.counts, counts_at + 2 * (each - first) * width, width)
        else:
            blocks = np.int64(lists.pairs[each - lists.alphabet])
    return at, blocks


@compiled()
def list_sizes(lists: Lists, sizes: Array) -> None:
    """Fill ``sizes`` with the number of blocks of every list."""
    for number in range(sizes.size):
        sizes[number] = list_of(lists, number)[1]


@compiled()
def counts_of_all(lists: Lists, counts: Array) -> None:
    """Fill ``counts``, int64 (alphabet, 2), with the occurrences and documents of every code."""
    for code in range(lists.alphabet):
        counts[code, 0], counts[code, 1] = counts_of(lists, code)


@compiled()
def codes_of(codes: Codes, ids: Array, out: Array) -> None:
    """Write the code of each id to ``out``; -1 for an id that does not occur in the shard."""
    for i in range(ids.size):
        number = np.int64(ids[i])
        out[i] = -1
        if number >= codes.types or codes.known == 0:
            continue
        if codes.present.size:
            wanted = number
            number, found = seek_elias_fano(codes.present, 0, codes.known, codes.types, wanted)
            if found != wanted:
                continue
        out[i] = image(codes.codes, number)


@compiled()
def ids_of(codes: Codes, separator: Any, found: Array) -> bool:
    """Replace codes by ids, and the code of the separator by ``separator``; return whether all codes are valid."""
    valid = True
    for i in range(found.size):
        number = preimage(codes.codes, np.int64(found[i]))
        if number == codes.known:
            found[i] = separator
        elif number < 0:
            found[i] = separator
            valid = False
        elif codes.present.size:
            found[i] = select_elias_fano(codes.present, 0, codes.known, codes.types, number)
        else:
            found[i] = number
    return valid


@compiled()
def all_ids(codes: Codes, separator: Any, ids: Array) -> None:
    """Fill ``ids``, one element per code, with the id of each code; :func:`ids_of` is faster for few codes."""
    known = np.empty(codes.known + 1, np.uint32)
    if codes.present.size:
        decode_elias_fano(codes.present, 0, codes.known, codes.types, known)
    else:
        for number in range(codes.known):
            known[number] = number
    known[codes.known] = separator
    for number in range(codes.known + 1):
        code = image(codes.codes, number)
        if code < ids.size:
            ids[code] = known[number]


# --- search -----------------------------------------------------------------------------------------------------------


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
            most = min(most, np.int64(lists.values[_run_of(lists, code)]))
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
def count_listed(lists: Lists, codes: Array, first_block: Any, sizes: Array) -> Any:
    """Count how many of the tokens of consecutive blocks and of their frequent pairs are in the lists.

    Args:
        lists: The lists to check.
        codes: The tokens.
        first_block: The block of the first token.
        sizes: int64 (lists,): receives the number of blocks in which each code and pair occurs.

    Returns:
        The number of tokens whose block is in the list of their code, and for a frequent pair in the list of the pair.
    """
    last = np.full(sizes.size, -1, np.int64)
    listed = 0
    for i in range(codes.size):
        block = first_block + i // BLOCK
        numbers = (np.int64(codes[i]), np.int64(-1))
        if i + 1 < codes.size and codes[i] < lists.frequent and codes[i + 1] < lists.frequent:
            numbers = (numbers[0], lists.alphabet + np.int64(codes[i]) * lists.frequent + np.int64(codes[i + 1]))
        found = True
        for number in numbers:
            if number >= 0 and last[number] != block:
                at, blocks = list_of(lists, number)
                if seek_set(lists.words, at, blocks, lists.blocks, block) == block:
                    last[number] = block
                    sizes[number] += 1
                else:
                    found = False
        listed += found
    return listed


@compiled()
def make_bitmaps(lists: Lists, numbers: Array, bitmaps: Array) -> None:
    """Fill ``bitmaps``, uint64 (lists, :func:`bitmap_words`), with the blocks of lists that are not bitmaps already."""
    for i in range(numbers.size):
        at, blocks = list_of(lists, numbers[i])
        fill_bitmap(lists.words, at, blocks, lists.blocks, bitmaps[i])


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


class Reader(NamedTuple):
    """A text and a plan, with which the occurrences of forms inside one document are found."""

    text: Text
    lists: Lists
    plan: Plan


@compiled()
def documents_of_codes(codes: Array, starts: Array, documents: Array) -> None:
    """Count the documents of each code."""
    last = np.full(documents.size, -1, np.int64)
    for document in range(starts.size):
        end = starts[document + 1] if document + 1 < starts.size else codes.size
        for position in range(starts[document], end):
            if last[codes[position]] != document:
                last[codes[position]] = document
                documents[codes[position]] += 1


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
