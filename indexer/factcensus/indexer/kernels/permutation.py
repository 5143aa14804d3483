"""A permutation as a bit stream, with its inverse.

The inverse follows the cycle of an element. Every 16th element of a cycle is marked and has a link to the marked
element before it, so it takes at most about 32 steps. The links take an eighth of the space of a second permutation.
Munro, Raman, Raman and Rao (2003).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.bits import bits_at, pack_bits, popcount
from factcensus.indexer.kernels.compiled import compiled

#: Elements of a cycle between two marks, and words of ``marks`` per entry of ``ranks``.
STRIDE, RANKED = 16, 8


class Permutation(NamedTuple):
    """A permutation of the numbers below ``size``.

    Attributes:
        images: uint64: the image of each number, ``width`` bits each.
        marks: uint64: one bit per number, set for marked numbers.
        ranks: uint32: the marks before every 512th number.
        links: uint64: the link of each marked number, ``width`` bits each.
    """

    images: Array
    marks: Array
    ranks: Array
    links: Array
    size: int
    width: int


def make_permutation(images: Array) -> Permutation:
    """Return a permutation given by the image of each number."""
    size, width = len(images), max(1, (len(images) - 1).bit_length())
    images = np.ascontiguousarray(images, np.uint32)
    marks = np.zeros((size >> 6) + 2, np.uint64)
    link_of = _link_cycles(images, marks)
    ranks = np.zeros(len(marks) // RANKED + 1, np.uint32)
    _count_marks(marks, ranks)
    return Permutation(pack_bits(images, width), marks, ranks, pack_bits(link_of, width), size, width)


def permutation_of(images: Array, marks: Array, ranks: Array, links: Array, size: int) -> Permutation:
    """Return the permutation with the given arrays."""
    return Permutation(images, marks, ranks, links, size, max(1, (size - 1).bit_length()))


@compiled()
def _link_cycles(images: Array, marks: Array) -> Array:
    """Mark numbers, and return the links of the marked numbers in their order."""
    links = np.zeros(images.size, np.uint32)
    seen = np.zeros(images.size, np.bool_)
    count = 0
    for first in range(images.size):
        if seen[first]:
            continue
        length, at, marked = 0, np.int64(first), np.int64(first)
        while not seen[at]:
            seen[at] = True
            if length % STRIDE == 0 and length:
                marks[at >> 6] |= np.uint64(1) << np.uint64(at & 63)
                links[at] = marked
                marked = at
                count += 1
            at = np.int64(images[at])
            length += 1
        if length > STRIDE:
            marks[first >> 6] |= np.uint64(1) << np.uint64(first & 63)
            links[first] = marked
            count += 1
    chosen = np.empty(count, np.uint32)
    count = 0
    for number in range(images.size):
        if marks[number >> 6] >> np.uint64(number & 63) & np.uint64(1):
            chosen[count] = links[number]
            count += 1
    return chosen


@compiled()
def _count_marks(marks: Array, ranks: Array) -> None:
    total = 0
    for word in range(marks.size):
        if word % RANKED == 0:
            ranks[word // RANKED] = total
        total += popcount(marks[word])


@compiled(inline="always")
def image(permutation: Any, number: Any) -> Any:
    """Return the image of a number."""
    return bits_at(permutation.images, number * permutation.width, permutation.width)


@compiled()
def preimage(permutation: Permutation, wanted: Any) -> Any:
    """Return the number with this image; -1 if the permutation is damaged."""
    at, linked = np.int64(wanted), False
    for _ in range(3 * STRIDE):
        if at >= permutation.size:
            return np.int64(-1)
        following = image(permutation, at)
        if following == wanted:
            return at
        if not linked and permutation.marks[at >> 6] >> np.uint64(at & 63) & np.uint64(1):
            word = at >> 6
            rank = np.int64(permutation.ranks[word // RANKED])
            for before in range(word // RANKED * RANKED, word):
                rank += popcount(permutation.marks[before])
            rank += popcount(permutation.marks[word] & ((np.uint64(1) << np.uint64(at & 63)) - np.uint64(1)))
            at, linked = bits_at(permutation.links, rank * permutation.width, permutation.width), True
        else:
            at = following
    return np.int64(-1)


@compiled()
def all_images(permutation: Permutation, out: Array) -> None:
    """Fill ``out`` with the image of every number."""
    for number in range(permutation.size):
        out[number] = image(permutation, number)
