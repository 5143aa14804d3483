"""Second stage of a build in the layout ``compact``: the text, lists and codes of a shard from its token ids.

The codes come first, then the text, then the lists (:mod:`block_lists`). Few arrays with one
element per type exist at the same time, because a text can have as many types as tokens; ``--memory`` allows 28 bytes
per token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Array
from factcensus.indexer.building.block_lists import make_lists
from factcensus.indexer.kernels.bits import bit_length, elias_fano_bits, write_elias_fano
from factcensus.indexer.kernels.compact_lists import Codes
from factcensus.indexer.kernels.compact_text import BLOCK, CLASSES, POINTED, Text
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.permutation import make_permutation
from factcensus.indexer.storage.compact_files import CompactText

#: The largest number of occurrences, and the bits of a number in a key.
_MOST = (1 << 32) - 1


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
    codes, occurrences, separator = _renumber(places, ids, types)
    progress(size, 4 * size)
    text = _encode(places, occurrences)
    progress(2 * size, 4 * size)
    lists = make_lists(places, occurrences, separator)
    progress(4 * size, 4 * size)
    return CompactText(text, lists, codes, starts, ids.itemsize)


# --- codes ------------------------------------------------------------------------------------------------------------


def _renumber(places: Array, ids: Array, types: int) -> tuple[Codes, npt.NDArray[np.uint32], int]:
    """Replace places by codes; return the codes of ids, the occurrences of each code, and the code of the separator.

    Codes are in the order of occurrences, most frequent first, then of ids.
    """
    place_of = np.empty(len(ids) + 1, np.uint32)  # by number: in the order of ids, then the separator
    place_of[:-1] = np.argsort(ids)
    place_of[-1] = len(ids)
    counts = np.zeros(len(ids) + 1, np.uint32)
    _count_places(places, counts)
    place_of = place_of[counts[place_of] > 0]
    keys = np.empty(len(place_of), np.uint64)
    _fill_keys(place_of, counts, keys)
    del counts
    keys.sort()
    present = np.zeros(0, np.uint64)
    if len(place_of) <= types:
        present = np.zeros((elias_fano_bits(len(place_of) - 1, types) >> 6) + 2, np.uint64)
        write_elias_fano(present, 0, types, ids[place_of[:-1]].astype(np.uint32, copy=False))
    code_of = np.empty(len(ids) + 1, np.uint32)
    _fill_codes(keys, place_of, code_of)
    _replace(places, code_of)
    _replace(place_of, code_of)
    del code_of
    occurrences = keys.astype(np.uint32)
    del keys
    return Codes(present, make_permutation(place_of), types, len(place_of) - 1), occurrences, int(place_of[-1])


@compiled()
def _count_places(places: Array, counts: Array) -> None:
    for i in range(places.size):
        counts[places[i]] += 1


@compiled()
def _fill_keys(place_of: Array, counts: Array, keys: Array) -> None:
    """Fill ``keys`` with integers in the order of codes, whose low bits are the numbers of ids."""
    for number in range(keys.size):
        keys[number] = (np.uint64(_MOST) - np.uint64(counts[place_of[number]])) << np.uint64(32) | np.uint64(number)


@compiled()
def _fill_codes(keys: Array, place_of: Array, code_of: Array) -> None:
    """Fill the code of each place from the sorted keys, and replace the keys by the occurrences of each code."""
    for code in range(keys.size):
        code_of[place_of[np.int64(keys[code] & np.uint64(_MOST))]] = code
        keys[code] = np.uint64(_MOST) - (keys[code] >> np.uint64(32))


@compiled()
def _replace(places: Array, code_of: Array) -> None:
    for i in range(places.size):
        places[i] = code_of[places[i]]


# --- text -------------------------------------------------------------------------------------------------------------


def _encode(codes: npt.NDArray[np.uint32], occurrences: npt.NDArray[np.uint32]) -> Text:
    blocks = -(-len(codes) // BLOCK)
    before = np.empty(len(occurrences) + 1, np.int64)
    _sum_up(occurrences, blocks * BLOCK - len(codes), before)
    widths = _best_widths(before)
    bases = np.concatenate([[0], np.cumsum(1 << widths)]).clip(max=len(occurrences))
    bits = int((np.diff(before[bases]) * widths).sum())
    del before
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
def _sum_up(occurrences: Array, padding: Any, before: Array) -> None:
    """Fill ``before`` with the number of tokens with a smaller code, where ``padding`` times code 0 is added."""
    before[0] = 0  # np.cumsum of uint32 would need a copy of type int64
    for code in range(occurrences.size):
        before[code + 1] = before[code] + np.int64(occurrences[code]) + (padding if code == 0 else 0)


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
    values = np.zeros((CLASSES, BLOCK), np.uint64)
    sizes = np.zeros(CLASSES, np.int64)
    _, base_1, base_2, base_3, base_4, base_5, base_6, base_7, _ = text.bases
    pointer, word, used, bits = 0, 0, 0, np.uint64(0)
    for block in range(blocks):
        at = 64 * word + used
        if block % POINTED == 0:
            pointer = at
            text.pointers[block // POINTED] = at
        text.offsets[block] = at - pointer
        sizes[:] = 0
        low, middle, high = np.uint64(0), np.uint64(0), np.uint64(0)
        for place in range(BLOCK):
            position = block * BLOCK + place
            code = np.int64(codes[position]) if position < text.size else np.int64(0)
            # As compact_text.class_of, without branches.
            of_class = np.int64(code >= base_1) + np.int64(code >= base_2) + np.int64(code >= base_3)
            of_class += np.int64(code >= base_4) + np.int64(code >= base_5) + np.int64(code >= base_6)
            of_class += np.int64(code >= base_7)
            low |= np.uint64(of_class & 1) << np.uint64(place)
            middle |= np.uint64(of_class >> 1 & 1) << np.uint64(place)
            high |= np.uint64(of_class >> 2) << np.uint64(place)
            values[of_class, sizes[of_class]] = code - text.bases[of_class]
            sizes[of_class] += 1
        text.planes[3 * block], text.planes[3 * block + 1], text.planes[3 * block + 2] = low, middle, high
        for k in range(CLASSES - 1, -1, -1):
            width = text.widths[k]
            for i in range(sizes[k] if width else 0):
                bits |= values[k, i] << np.uint64(used)
                used += width
                if used >= 64:
                    text.payload[word] = bits
                    word += 1
                    used -= 64
                    bits = values[k, i] >> np.uint64(width - used)
    text.payload[word] = bits
