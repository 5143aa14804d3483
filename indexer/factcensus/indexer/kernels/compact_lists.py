"""The lists of a shard in the layout ``compact``: the blocks and counts of each code, and the codes of token ids.

For every code there is the set of blocks in which it occurs; likewise for pairs of adjacent tokens of the most frequent
codes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.bits import (
    bits_at,
    decode_elias_fano,
    seek_elias_fano,
    seek_set,
    select_elias_fano,
    set_size,
)
from factcensus.indexer.kernels.compact_text import BLOCK
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.permutation import Permutation, image, preimage

#: Lists per offset into the lists.
GROUPED = 16


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


@compiled()
def run_of(lists: Lists, code: Any) -> Any:
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
    """Return the width of the counts of 16 codes; the first code has this number of occurrences."""
    width = 0
    while (occurrences - 1) >> width:
        width += 1
    return width


@compiled()
def counts_of(lists: Lists, code: Any) -> tuple[Any, Any]:
    """Return the occurrences and documents of a code, in all documents of the shard."""
    group = code // GROUPED
    run = run_of(lists, code)
    occurrences = np.int64(lists.values[run])
    first = np.int64(lists.values[run_of(lists, group * GROUPED)])
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
        run = run_of(lists, first)
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
def codes_of(codes: Codes, separator: Any, ids: Array, out: Array) -> None:
    """Write the code of each id, or of the separator, to ``out``; -1 for an id that does not occur in the shard."""
    for i in range(ids.size):
        number = np.int64(ids[i])
        out[i] = -1
        if number == separator:
            out[i] = image(codes.codes, codes.known)
            continue
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
def documents_of_codes(codes: Array, starts: Array, documents: Array) -> None:
    """Count the documents of each code."""
    last = np.full(documents.size, -1, np.int64)
    for document in range(starts.size):
        end = starts[document + 1] if document + 1 < starts.size else codes.size
        for position in range(starts[document], end):
            if last[codes[position]] != document:
                last[codes[position]] = document
                documents[codes[position]] += 1
