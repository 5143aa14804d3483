"""The lists of a shard in the layout ``compact``: for every code, and for pairs of frequent codes, its blocks.

One pass over the text collects the blocks of all codes and pairs, each at the end of its own part of an array. Then the
lists are written one after the other, so that the bits of a list are written while they are in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.bits import bit_length, set_bits, set_size, write_elias_fano
from factcensus.indexer.kernels.compact_lists import GROUPED, Lists
from factcensus.indexer.kernels.compact_text import BLOCK
from factcensus.indexer.kernels.compiled import compiled

#: Number of most frequent codes whose pairs have lists, and the size from which on a shard has such lists.
PAIRED = 64
PAIRED_FROM = 1 << 16
#: No block, document or pair.
_NONE = 0xFFFFFFFF


def make_lists(codes: npt.NDArray[np.uint32], occurrences: npt.NDArray[np.uint32], separator: int) -> Lists:
    """Return the lists of a text.

    It takes 4 bytes of memory per token, 4 per element of the lists of pairs, and 16 per code that occurs more than
    once, half of which are free when the lists are written.

    Args:
        codes: The text.
        occurrences: uint32 (codes,): the occurrences of each code, largest first.
        separator: The code of the separator.
    """
    alphabet, blocks = len(occurrences), -(-len(codes) // BLOCK)
    frequent = min(PAIRED, alphabet) if len(codes) >= PAIRED_FROM else 0
    pairs = np.zeros(frequent * frequent, np.uint32)
    _count_pairs(codes, frequent, pairs)
    repeated = int(np.count_nonzero(occurrences > 1))
    found, last = np.zeros((repeated, 2), np.uint32), np.full((repeated, 2), _NONE, np.uint32)
    code_blocks, pair_blocks = np.empty(len(codes), np.uint32), np.empty(int(pairs.sum()), np.uint32)
    _collect_blocks(codes, occurrences, separator, frequent, pairs, found, last, code_blocks, pair_blocks)
    del last
    firsts = np.flatnonzero(np.concatenate([[True], occurrences[1:] < occurrences[:-1]])).astype(np.uint32)
    widths = np.zeros(-(-alphabet // GROUPED), np.int64)
    _fill_widths(occurrences, widths)
    counts_at = np.concatenate([[0], np.cumsum(2 * GROUPED * widths)]).astype(np.int64)
    counts = np.zeros((int(counts_at[-1]) >> 6) + 2, np.uint64)
    _write_counts(counts, counts_at, widths, occurrences, found)
    offsets = np.empty(-(-(alphabet + len(pairs)) // GROUPED), np.uint64)
    total = _place_lists(alphabet, found, pairs, blocks, offsets)
    words = np.zeros((total >> 6) + 2, np.uint64)
    _write_lists(occurrences, found, pairs, code_blocks, pair_blocks, blocks, words)
    return Lists(
        words,
        offsets,
        occurrences[firsts],
        firsts,
        counts,
        counts_at[:-1].astype(np.uint32),
        pairs,
        alphabet,
        frequent,
        blocks,
    )


@compiled()
def _count_pairs(codes: Array, frequent: Any, sizes: Array) -> None:
    """Count the blocks of every pair of frequent codes."""
    last = np.full(sizes.size, _NONE, np.uint32)
    if frequent == 0:
        return
    for position in range(codes.size - 1):
        if codes[position] < frequent and codes[position + 1] < frequent:
            pair = np.int64(codes[position]) * frequent + np.int64(codes[position + 1])
            block = position // BLOCK
            sizes[pair] += last[pair] != block
            last[pair] = block


@compiled()
def _collect_blocks(  # noqa: PLR0913 - compiled: arrays of several records
    codes: Array,
    occurrences: Array,
    separator: Any,
    frequent: Any,
    pairs: Array,
    found: Array,
    last: Array,
    code_blocks: Array,
    pair_blocks: Array,
) -> None:
    """Collect the blocks of every code and pair, in order.

    Args:
        codes, occurrences, separator: As in :func:`make_lists`.
        frequent: Number of codes whose pairs are collected.
        pairs: Number of blocks of each pair.
        found: uint32 (repeated, 2): receives the blocks and documents of every code that occurs more than once; the
            others have one of each.
        last: uint32 (repeated, 2): the last block and document of these codes.
        code_blocks: uint32 (tokens,): receives the blocks of all codes. The part of a code begins after as many
            elements as the codes before have occurrences.
        pair_blocks: uint32: receives the blocks of all pairs.
    """
    begin = np.int64(0)
    for each in range(found.shape[0]):
        found[each, 0] = begin  # for now, the end of its part
        begin += np.int64(occurrences[each])
    once = begin - found.shape[0]  # the place of a code that occurs once is this plus the code
    pair_ends, last_of_pair = np.empty(pairs.size, np.int64), np.full(pairs.size, _NONE, np.uint32)
    begin = np.int64(0)
    for each in range(pairs.size):
        pair_ends[each] = begin
        begin += np.int64(pairs[each])
    document = -1
    for position in range(codes.size):
        code, block = np.int64(codes[position]), position // BLOCK
        document += code == separator
        if code >= found.shape[0]:
            code_blocks[once + code] = block
        else:
            if last[code, 1] != document:
                last[code, 1] = document
                found[code, 1] += np.uint32(1)
            if last[code, 0] != block:
                last[code, 0] = block
                code_blocks[found[code, 0]] = block
                found[code, 0] += np.uint32(1)
        if code < frequent and position + 1 < codes.size and codes[position + 1] < frequent:
            pair = code * frequent + np.int64(codes[position + 1])
            if last_of_pair[pair] != block:
                last_of_pair[pair] = block
                pair_blocks[pair_ends[pair]] = block
                pair_ends[pair] += 1
    begin = np.int64(0)
    for each in range(found.shape[0]):
        found[each, 0] -= begin
        begin += np.int64(occurrences[each])


@compiled()
def _fill_widths(occurrences: Array, widths: Array) -> None:
    """Fill the widths of the counts of groups of codes."""
    for group in range(widths.size):
        widths[group] = bit_length(np.int64(occurrences[group * GROUPED]) - 1)


@compiled()
def _write_counts(words: Array, at: Array, widths: Array, occurrences: Array, found: Array) -> None:
    for code in range(found.shape[0]):
        group, width = code // GROUPED, widths[code // GROUPED]
        place, most = at[group] + 2 * (code - group * GROUPED) * width, np.int64(occurrences[code])
        set_bits(words, place, most - np.int64(found[code, 0]))
        set_bits(words, place + width, most - np.int64(found[code, 1]))


@compiled()
def _place_lists(alphabet: Any, found: Array, pairs: Array, blocks: Any, offsets: Array) -> Any:
    """Fill ``offsets`` with the bit offset of every 16th list, and return the size of all."""
    at = 0
    for number in range(alphabet + pairs.size):
        if number % GROUPED == 0:
            offsets[number // GROUPED] = at
        size = np.int64(1)
        if number >= alphabet:
            size = np.int64(pairs[number - alphabet])
        elif number < found.shape[0]:
            size = np.int64(found[number, 0])
        at += set_size(size, blocks)
    return at


@compiled()
def _write_lists(
    occurrences: Array, found: Array, pairs: Array, code_blocks: Array, pair_blocks: Array, blocks: Any, words: Array
) -> None:
    """Write all lists, one after the other."""
    at, begin = 0, np.int64(0)
    for code in range(occurrences.size):
        size = np.int64(found[code, 0]) if code < found.shape[0] else np.int64(1)
        _write_set(words, at, blocks, code_blocks[begin : begin + size])
        at += set_size(size, blocks)
        begin += np.int64(occurrences[code])
    begin = np.int64(0)
    for pair in range(pairs.size):
        size = np.int64(pairs[pair])
        _write_set(words, at, blocks, pair_blocks[begin : begin + size])
        at += set_size(size, blocks)
        begin += size


@compiled()
def _write_set(words: Array, at: Any, bound: Any, values: Array) -> None:
    """Write a set in its shorter form at bit ``at``, where all bits are still 0."""
    if values.size and set_size(values.size, bound) == bound:
        for i in range(values.size):
            bit = at + np.int64(values[i])
            words[bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)
    else:
        write_elias_fano(words, at, bound, values)
