"""Second stage of a build in the layout ``compact``: the text, lists and codes of a shard from its token ids.

It takes 8 bytes of memory per token (ids and output), and 32 bytes per type.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.bits import (
    add_to_set,
    bit_length,
    elias_fano_bits,
    low_bits,
    set_bits,
    set_size,
    skips,
    write_elias_fano,
    write_skips,
)
from factcensus.indexer.kernels.compact_lists import GROUPED, Codes, Lists
from factcensus.indexer.kernels.compact_text import BLOCK, CLASSES, POINTED, Text
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.permutation import make_permutation
from factcensus.indexer.storage.compact_files import CompactText

#: Number of most frequent codes whose pairs have lists, and the size from which on a shard has such lists.
PAIRED = 64
PAIRED_FROM = 1 << 16


def make_compact(
    places: npt.NDArray[np.uint32],
    starts: npt.NDArray[np.int64],
    ids: npt.NDArray[np.unsignedinteger[Any]],
    types: int,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> CompactText:
    """Return the content of a shard.

    Args:
        places: uint32: for each document the separator ``len(ids)``, then the places of its tokens in ``ids``;
            overwritten.
        starts: int64 (documents,): the position of each separator.
        ids: The token ids that may occur, in any order.
        types: Number of token ids of the index.
        progress: Called with (tokens done, all tokens), where each token is processed four times.
    """
    size = len(places)
    counts = np.zeros(len(ids) + 1, np.int64)
    _count_places(places, counts)
    id_of = np.append(ids, types).astype(np.int64)  # the separator comes after all ids
    known = np.flatnonzero(counts)
    known = known[np.argsort(id_of[known])]
    order = np.argsort(-counts[known], kind="stable")  # the codes: most frequent first, then by id
    code_of = np.empty(len(known), np.uint32)
    code_of[order] = np.arange(len(known), dtype=np.uint32)
    codes = _make_codes(id_of[known[:-1]], code_of, types)
    occurrences = counts[known[order]]
    code_of_place = np.zeros(len(ids) + 1, np.uint32)
    code_of_place[known] = code_of
    _renumber(places, code_of_place)
    del counts, known, order, code_of_place, id_of
    progress(size, 4 * size)
    text = _encode(places, occurrences)
    progress(2 * size, 4 * size)
    lists = _make_lists(places, occurrences, int(code_of[-1]))
    progress(4 * size, 4 * size)
    return CompactText(text, lists, codes, starts, ids.itemsize)


def _make_codes(ids: Array, code_of: Array, types: int) -> Codes:
    """Return the map from ``ids``, in order, to their codes; the last code is that of the separator."""
    present = np.zeros(0, np.uint64)
    if len(ids) < types:
        present = np.zeros((elias_fano_bits(len(ids), types) >> 6) + 2, np.uint64)
        write_elias_fano(present, 0, types, ids)
    return Codes(present, make_permutation(code_of), types, len(ids))


@compiled()
def _count_places(places: Array, counts: Array) -> None:
    for i in range(places.size):
        counts[places[i]] += 1


@compiled()
def _renumber(places: Array, code_of: Array) -> None:
    for i in range(places.size):
        places[i] = code_of[places[i]]


# --- text -------------------------------------------------------------------------------------------------------------


def _encode(codes: npt.NDArray[np.uint32], occurrences: npt.NDArray[np.int64]) -> Text:
    blocks = -(-len(codes) // BLOCK)
    padding = blocks * BLOCK - len(codes)  # the last block is filled with code 0
    weights = occurrences.copy()
    weights[:1] += padding
    widths = _best_widths(np.concatenate([[0], np.cumsum(weights)]))
    bases = np.concatenate([[0], np.cumsum(1 << widths)]).clip(max=len(occurrences))
    bits = int((np.diff(np.concatenate([[0], np.cumsum(weights)])[bases]) * widths).sum())
    text = Text(
        np.zeros(3 * blocks, np.uint64),
        np.zeros(-(-blocks // POINTED), np.uint64),
        np.zeros(blocks, np.uint16),
        np.zeros((bits >> 6) + 2, np.uint64),
        widths,
        bases,
        len(codes),
    )
    _write_text(text, codes)
    return text


@compiled()
def _best_widths(before: Array) -> Array:
    """Return the widths of the classes for which the payload is smallest.

    Args:
        before: int64 (alphabet + 1,): number of tokens with a smaller code.
    """
    alphabet = before.size - 1
    most = max(1, bit_length(alphabet - 1) if alphabet > 1 else 1)
    best = np.full(CLASSES, most, np.int64)
    smallest = np.int64(1) << 62
    # All sequences of widths that do not decrease; the last width follows from the others.
    widths = np.zeros(CLASSES, np.int64)
    bases, costs = np.zeros(CLASSES, np.int64), np.zeros(CLASSES, np.int64)
    depth = 0
    widths[0] = -1
    while depth >= 0:
        widths[depth] += 1
        if widths[depth] > most:
            depth -= 1
            continue
        end = min(alphabet, bases[depth] + (np.int64(1) << widths[depth]))
        cost = costs[depth] + (before[end] - before[bases[depth]]) * widths[depth]
        if cost >= smallest:
            depth -= 1  # a larger width costs even more
            continue
        if end == alphabet:
            smallest = cost
            best[: depth + 1] = widths[: depth + 1]
            best[depth + 1 :] = widths[depth]
            depth -= 1
            continue
        if depth + 1 < CLASSES:
            depth += 1
            bases[depth], costs[depth] = end, cost
            # The last class must hold all other codes.
            widths[depth] = widths[depth - 1] - 1
            if depth == CLASSES - 1:
                widths[depth] = max(widths[depth], bit_length(alphabet - end - 1) - 1)
    return best


@compiled()
def _write_text(text: Text, codes: Array) -> None:
    """Fill the planes, pointers and payload of a text from its codes."""
    blocks = text.offsets.size
    places = np.zeros((CLASSES, BLOCK), np.int64)
    sizes = np.zeros(CLASSES, np.int64)
    at, pointer = np.int64(0), np.int64(0)
    for block in range(blocks):
        if block % POINTED == 0:
            pointer = at
            text.pointers[block // POINTED] = at
        text.offsets[block] = at - pointer
        sizes[:] = 0
        low, middle, high = np.uint64(0), np.uint64(0), np.uint64(0)
        for place in range(BLOCK):
            position = block * BLOCK + place
            code = np.int64(codes[position]) if position < text.size else np.int64(0)
            k = 0
            while k + 1 < CLASSES and code >= text.bases[k + 1]:
                k += 1
            bit = np.uint64(1) << np.uint64(place)
            if k & 1:
                low |= bit
            if k & 2:
                middle |= bit
            if k & 4:
                high |= bit
            places[k, sizes[k]] = code - text.bases[k]
            sizes[k] += 1
        text.planes[3 * block], text.planes[3 * block + 1], text.planes[3 * block + 2] = low, middle, high
        for k in range(CLASSES - 1, -1, -1):
            for i in range(sizes[k]):
                if text.widths[k]:
                    set_bits(text.payload, at, places[k, i])
                at += text.widths[k]


# --- lists ------------------------------------------------------------------------------------------------------------


def _make_lists(codes: Array, occurrences: Array, separator: int) -> Lists:
    alphabet, blocks = len(occurrences), -(-len(codes) // BLOCK)
    frequent = min(PAIRED, alphabet) if len(codes) >= PAIRED_FROM else 0
    number = alphabet + frequent * frequent
    sizes, documents = np.zeros(number, np.int64), np.zeros(alphabet, np.int64)
    _count_blocks(codes, alphabet, frequent, separator, sizes, documents)
    values, firsts = _runs(occurrences)
    counts, counts_at = _pack_counts(occurrences, sizes[:alphabet], documents)
    ends = np.empty(number, np.int64)
    total = _place_lists(sizes, blocks, ends)
    begins = np.concatenate([[0], ends[:-1]]) if number else ends
    words = np.zeros((total >> 6) + 2, np.uint64)
    _write_lists(codes, alphabet, frequent, sizes, begins, blocks, words)
    return Lists(
        words,
        begins[::GROUPED].astype(np.uint64),
        values.astype(np.uint32),
        firsts.astype(np.uint32),
        counts,
        counts_at,
        sizes[alphabet:].astype(np.uint32),
        alphabet,
        frequent,
        blocks,
    )


def _runs(occurrences: Array) -> tuple[Array, Array]:
    """Return the distinct values of a descending array, and the index at which each first occurs."""
    firsts = np.flatnonzero(np.diff(occurrences, prepend=-1))
    return occurrences[firsts], firsts


def _pack_counts(occurrences: Array, blocks: Array, documents: Array) -> tuple[Array, Array]:
    leading = occurrences[::GROUPED]
    widths = np.array([int(value - 1).bit_length() for value in leading.tolist()], np.int64)
    at = np.concatenate([[0], np.cumsum(2 * GROUPED * widths)]).astype(np.int64)
    words = np.zeros((int(at[-1]) >> 6) + 2, np.uint64)
    _write_counts(words, at, widths, occurrences - blocks, occurrences - documents)
    return words, at[:-1].astype(np.uint32)


@compiled()
def _write_counts(words: Array, at: Array, widths: Array, repeated: Array, in_document: Array) -> None:
    for code in range(repeated.size):
        group, width = code // GROUPED, widths[code // GROUPED]
        place = at[group] + 2 * (code - group * GROUPED) * width
        if width:
            set_bits(words, place, repeated[code])
            set_bits(words, place + width, in_document[code])


@compiled()
def _count_blocks(codes: Array, alphabet: Any, frequent: Any, separator: Any, sizes: Array, documents: Array) -> None:
    """Count the blocks of every code and pair, and the documents of every code."""
    last_block, last_document = np.full(sizes.size, -1, np.int32), np.full(alphabet, -1, np.int32)
    document = -1
    for position in range(codes.size):
        code = np.int64(codes[position])
        block = position // BLOCK
        if code == separator:
            document += 1
        if last_document[code] != document:
            last_document[code] = document
            documents[code] += 1
        if last_block[code] != block:
            last_block[code] = block
            sizes[code] += 1
        if code < frequent and position + 1 < codes.size and codes[position + 1] < frequent:
            pair = alphabet + code * frequent + np.int64(codes[position + 1])
            if last_block[pair] != block:
                last_block[pair] = block
                sizes[pair] += 1


@compiled()
def _place_lists(sizes: Array, blocks: Any, ends: Array) -> Any:
    """Fill ``ends`` with the bit offset after each list, and return the last one."""
    at = np.int64(0)
    for number in range(sizes.size):
        at += set_size(sizes[number], blocks)
        ends[number] = at
    return at


@compiled()
def _write_lists(
    codes: Array, alphabet: Any, frequent: Any, sizes: Array, begins: Array, blocks: Any, words: Array
) -> None:
    """Write the lists of all codes and pairs, in one pass over the text."""
    low, entries = np.zeros(sizes.size, np.int8), np.zeros(sizes.size, np.int32)
    for number in range(sizes.size):
        if sizes[number] and set_size(sizes[number], blocks) == blocks:
            low[number] = -1
        else:
            low[number] = low_bits(sizes[number], blocks)
            entries[number] = skips(sizes[number], blocks, np.int64(low[number]))
    last_block, written = np.full(sizes.size, -1, np.int32), np.zeros(sizes.size, np.int32)
    for position in range(codes.size):
        code = np.int64(codes[position])
        block = position // BLOCK
        if last_block[code] != block:
            last_block[code] = block
            _write_block(words, begins, sizes, low, entries, written, code, block)
        if code < frequent and position + 1 < codes.size and codes[position + 1] < frequent:
            pair = alphabet + code * frequent + np.int64(codes[position + 1])
            if last_block[pair] != block:
                last_block[pair] = block
                _write_block(words, begins, sizes, low, entries, written, pair, block)
    for number in range(sizes.size):
        if entries[number]:
            write_skips(words, begins[number], sizes[number], blocks)


@compiled(inline="always")
def _write_block(
    words: Any, begins: Any, sizes: Any, low: Any, entries: Any, written: Any, number: Any, block: Any
) -> None:
    if low[number] < 0:
        bit = begins[number] + block
        words[bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)
    else:
        add_to_set(
            words,
            begins[number],
            sizes[number],
            np.int64(low[number]),
            np.int64(entries[number]),
            np.int64(written[number]),
            np.int64(block),
        )
        written[number] += 1
