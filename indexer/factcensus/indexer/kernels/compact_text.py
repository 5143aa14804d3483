"""The text of a shard in the layout ``compact``: codes in blocks, read one by one or many at once.

A token is its *code*, its rank by frequency in the shard. The text is divided into blocks of 64 codes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.bits import address_of, bits_from, load_16, load_64, popcount, prefetch
from factcensus.indexer.kernels.compiled import compiled

#: Codes per block, classes of codes, and blocks per pointer into the payload.
BLOCK, CLASSES, POINTED = 64, 8, 16
#: Occurrences by which planes are loaded in advance.
_AHEAD = 16


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


class Addresses(NamedTuple):
    """The addresses of the arrays of a text, for inner loops; see :func:`bits.address_of`."""

    planes: int
    pointers: int
    offsets: int
    payload: int
    widths: int
    bases: int


@compiled(inline="always")
def addresses_of(text: Any) -> Any:
    """Return the addresses of a text, which must stay referenced."""
    return Addresses(
        address_of(text.planes),
        address_of(text.pointers),
        address_of(text.offsets),
        address_of(text.payload),
        address_of(text.widths),
        address_of(text.bases),
    )


@compiled(inline="always")
def prefetch_planes(at: Any, block: Any) -> None:
    """Load the planes of a block in advance."""
    prefetch(at.planes + 24 * block)
    prefetch(at.offsets + 2 * block)


@compiled(inline="always")
def prefetch_payload(at: Any, block: Any) -> None:
    """Load the payload of a block in advance, which is usually in two lines of the cache."""
    address = at.payload + (begin_of(at, block) >> 3)
    prefetch(address)
    prefetch(address + 64)


@compiled(inline="always")
def begin_of(at: Any, block: Any) -> Any:
    """Return the bit offset of the payload of a block."""
    return np.int64(load_64(at.pointers + 8 * (block // POINTED))) + load_16(at.offsets + 2 * block)


@compiled(inline="always")
def planes_of(at: Any, block: Any) -> Any:
    """Return the three planes of a block."""
    address = at.planes + 24 * block
    return load_64(address), load_64(address + 8), load_64(address + 16)


@compiled(inline="always")
def class_mask(planes: Any, k: Any) -> Any:
    """Return the places at which codes of class ``k`` are, from the planes of a block."""
    low, middle, high = planes
    return (low if k & 1 else ~low) & (middle if k & 2 else ~middle) & (high if k & 4 else ~high)


@compiled(inline="always")
def width_of(at: Any, k: Any) -> Any:
    """Return the width of a class."""
    return np.int64(load_64(at.widths + 8 * k))


@compiled(inline="always")
def base_of(at: Any, k: Any) -> Any:
    """Return the first code of a class."""
    return np.int64(load_64(at.bases + 8 * k))


@compiled(inline="always")
def class_of(text: Text, code: Any) -> Any:
    """Return the class of a code."""
    k = 0
    while k + 1 < CLASSES and code >= text.bases[k + 1]:
        k += 1
    return k


@compiled(inline="always")
def payload_of(at: Any, block: Any, planes: Any, k: Any) -> Any:
    """Return the bit offset at which the payload of class ``k`` begins in a block with these planes."""
    bit = begin_of(at, block)
    # Not a loop, because the compiler would use vectors, which take longer for the few classes before most words.
    if k < 7:
        bit += popcount(class_mask(planes, 7)) * width_of(at, 7)
    if k < 6:
        bit += popcount(class_mask(planes, 6)) * width_of(at, 6)
    if k < 5:
        bit += popcount(class_mask(planes, 5)) * width_of(at, 5)
    if k < 4:
        bit += popcount(class_mask(planes, 4)) * width_of(at, 4)
    if k < 3:
        bit += popcount(class_mask(planes, 3)) * width_of(at, 3)
    if k < 2:
        bit += popcount(class_mask(planes, 2)) * width_of(at, 2)
    if k < 1:
        bit += popcount(class_mask(planes, 1)) * width_of(at, 1)
    return bit


@compiled(inline="always")
def code_from(at: Any, position: Any) -> Any:
    """Return the code at a position."""
    block, place, one = position >> 6, np.uint64(position & 63), np.uint64(1)
    planes = planes_of(at, block)
    low, middle, high = planes
    k = np.int64((low >> place & one) | (middle >> place & one) << one | (high >> place & one) << np.uint64(2))
    before = popcount(class_mask(planes, k) & ((one << place) - one))
    bit = payload_of(at, block, planes, k) + before * width_of(at, k)
    return base_of(at, k) + bits_from(at.payload, bit, width_of(at, k))


@compiled()
def code_at(text: Text, position: Any) -> Any:
    """Return the code at a position."""
    return code_from(addresses_of(text), position)


@compiled(inline="always")
def is_code(at: Any, position: Any, code: Any, k: Any) -> Any:
    """Return whether a code of class ``k`` is at a position; if not, comparing the classes is usually enough."""
    block, place, one = position >> 6, np.uint64(position & 63), np.uint64(1)
    planes = planes_of(at, block)
    mask = class_mask(planes, k)
    same = (mask >> place & one) != 0
    if same:
        before = popcount(mask & ((one << place) - one))
        bit = payload_of(at, block, planes, k) + before * width_of(at, k)
        same = bits_from(at.payload, bit, width_of(at, k)) == code - base_of(at, k)
    return same


@compiled()
def read_codes(text: Text, begin: Any, end: Any, out: Array) -> None:
    """Write the codes at the positions [begin, end) to ``out``."""
    address, begins, one = addresses_of(text), np.empty(CLASSES, np.int64), np.uint64(1)
    for block in range(begin >> 6, (end + 63) >> 6):
        planes = planes_of(address, block)
        low, middle, high = planes
        begins[CLASSES - 1] = begin_of(address, block)
        for k in range(CLASSES - 1, 0, -1):
            begins[k - 1] = begins[k] + popcount(class_mask(planes, k)) * text.widths[k]
        for place in range(min(BLOCK, end - block * BLOCK)):
            shift = np.uint64(place)
            bits = (low >> shift & one) | (middle >> shift & one) << one | (high >> shift & one) << np.uint64(2)
            of_class = np.int64(bits)
            if block * BLOCK + place >= begin:
                code = text.bases[of_class] + bits_from(address.payload, begins[of_class], text.widths[of_class])
                out[block * BLOCK + place - begin] = code
            begins[of_class] += text.widths[of_class]


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
    ends, at = 0, addresses_of(text)
    for i in range(positions.size):
        following = np.int64(positions[i]) + length
        if i + _AHEAD < positions.size:
            prefetch_planes(at, (np.int64(positions[i + _AHEAD]) + length) >> 6)
        if following >= text.size:
            ends += 1
        else:
            code = code_from(at, following)
            if code < counts.size:  # otherwise the file is damaged
                counts[code] += 1
    return ends
