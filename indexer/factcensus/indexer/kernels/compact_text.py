"""The text of a shard in the layout ``compact``: codes in blocks, read one by one or many at once.

A token is its *code*, its rank by frequency in the shard. The text is divided into blocks of 64 codes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.bits import bits_at, popcount
from factcensus.indexer.kernels.compiled import compiled

#: Codes per block, classes of codes, and blocks per pointer into the payload.
BLOCK, CLASSES, POINTED = 64, 8, 16


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


@compiled()
def count_following(text: Text, positions: Array, length: Any, counts: Array) -> Any:
    """Count the codes after occurrences of an n-gram.

    Args:
        text: The text.
        positions: uint32: the positions of the occurrences.
        length: Number of tokens of the n-gram.
        counts: int64 (codes,): receives the number of occurrences that each code follows.

    Returns:
        The number of occurrences at the end of the text.
    """
    ends = 0
    for position in positions:
        following = np.int64(position) + length
        if following >= text.size:
            ends += 1
        else:
            code = code_at(text, following)
            if code < counts.size:  # otherwise the file is damaged
                counts[code] += 1
    return ends
