"""The vocabulary of a ``words`` index in the layout ``compact``: front-coded words in byte order, and their ids.

``vocabulary.G.front`` has these arrays (:mod:`sections`):

* the words in byte order. A word is one byte, ``min(shared, 15) << 4 | min(rest, 15)``, where ``shared`` is the number
  of leading bytes equal to those of the previous word, and ``rest`` the number of other bytes; then ``shared - 15`` and
  ``rest - 15`` as LEB128, each only if it is not negative; then the other bytes. Every 16th word has ``shared`` 0;
* u64: where every 16th word begins;
* the permutation from places in this order to ids (:mod:`factcensus.indexer.kernels.permutation`), four arrays.

The parameters are the number of words, the bytes of all words, and those of the longest word.
"""

from __future__ import annotations

import weakref
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.analyzers.words import WordTable
from factcensus.indexer.arrays import Array
from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.kernels.bits import address_of, load_8, prefetch
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.permutation import (
    Permutation,
    all_images,
    image,
    make_permutation,
    permutation_of,
    preimage,
)
from factcensus.indexer.kernels.search import first_eight
from factcensus.indexer.storage.manifest import FileRecord
from factcensus.indexer.storage.sections import read_sections, write_sections
from factcensus.indexer.storage.vocabulary import Vocabulary, id_in, sorted_ids

#: Words between two that are stored as a whole.
GROUP = 16
#: Words that are looked up together.
_TOGETHER = 32
_KIND = b"fcvocab1"
_TYPES = ("u1", "<u8", "<u8", "<u8", "<u4", "<u8")


class FrontCodedVocabulary(Vocabulary):
    """The words of an index by id, in a third of the space of :class:`Vocabulary`."""

    def __init__(self, folder: Path, generation: int) -> None:
        self._path = folder / file_name(generation)
        parameters, arrays = read_sections(self._path, _KIND, _TYPES)
        self._bytes, self._groups, images, marks, ranks, links = arrays
        if len(parameters) != 3 or self._groups.size != -(-parameters[0] // GROUP):
            raise IndexFormatError(f"{self._path} is damaged; run 'factcensus index verify'")
        self._size, self._arena_bytes, self._longest = parameters
        self._ids = permutation_of(images, marks, ranks, links, self._size)
        if self._ids.images.size != (self._size * self._ids.width >> 6) + 2:
            raise IndexFormatError(f"{self._path} is damaged; run 'factcensus index verify'")
        self.id = lru_cache(1 << 16)(partial(id_in, weakref.ref(self)))

    def __len__(self) -> int:
        return self._size

    def word(self, token_id: int) -> str:
        """Return the word of an id.

        Raises:
            IndexFormatError: There is none; the index is damaged.
        """
        if not 0 <= token_id < self._size:
            raise IndexFormatError(f"no word has the id {token_id}; run 'factcensus index verify'")
        return self._word_at(int(preimage(self._ids, token_id))).decode(errors="replace")

    def _word_at(self, place: int) -> bytes:
        found = np.empty(self._longest, np.uint8)
        size = _decode(self._bytes, self._groups, place, found) if place >= 0 else -1
        if size < 0:
            raise self._damaged()
        return found[:size].tobytes()

    def _ids_at(self, low: int, high: int) -> npt.NDArray[np.int64]:
        # As kernels.bits.bits_at, for many places.
        images, width = self._ids.images, self._ids.width
        at = np.arange(low, high, dtype=np.int64) * width
        shift = (at & 63).astype(np.uint64)
        following = (images[(at >> 6) + 1] << np.uint64(1)) << (np.uint64(63) - shift)
        ids: npt.NDArray[np.uint64] = (images[at >> 6] >> shift | following) & np.uint64((1 << width) - 1)
        return ids.astype(np.int64)

    @cached_property
    def _heads(self) -> npt.NDArray[np.uint64]:
        """The first eight bytes, as big-endian numbers, of the words stored as a whole."""
        heads = np.zeros(len(self._groups), np.uint64)
        _first_eights(self._bytes, self._groups, heads)
        return heads

    def _find(self, words: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        heads = self._heads if len(starts) > self._MANY else np.zeros(0, np.uint64)
        ids = _find_words(self._bytes, self._groups, self._ids, heads, words, starts, self._longest)
        if ids.min(initial=0) < -1:
            raise self._damaged()
        return ids

    def arena(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Return the concatenated words in id order, and int64 (words + 1,), the start of each word."""
        sizes = np.zeros(self._size, np.int64)
        ids = np.empty(self._size, np.uint32)
        all_images(self._ids, ids)
        found = np.empty(self._longest, np.uint8)
        nothing, starts = np.zeros(0, np.uint8), np.zeros(self._size + 1, np.int64)
        # First the sizes by id, then the words at their places.
        if ids.max(initial=0) >= max(1, self._size) or not _decode_all(self._bytes, ids, found, starts, nothing, sizes):
            raise self._damaged()
        np.cumsum(sizes, out=starts[1:])
        arena = np.empty(int(starts[-1]), np.uint8)
        if arena.size != self._arena_bytes or not _decode_all(self._bytes, ids, found, starts, arena, sizes):
            raise self._damaged()
        return arena, starts

    def _damaged(self) -> IndexFormatError:
        return IndexFormatError(f"{self._path} is damaged; run 'factcensus index verify'")


def file_name(generation: int) -> str:
    """Return the file name of a generation."""
    return f"vocabulary.{generation}.front"


def write_front_coded(folder: Path, generation: int, table: WordTable) -> dict[str, FileRecord]:
    """Write a word table, and return the record of the file by its name."""
    words = len(table)
    starts = table.starts[: words + 1]
    arena = table.arena[: starts[-1]]
    order = sorted_ids(arena, starts)
    groups = np.zeros(-(-words // GROUP), np.uint64)
    sizes = np.diff(starts)
    content = np.empty(int(starts[-1]) + 5 * words, np.uint8)
    used = _encode(arena, starts, order, content, groups)
    ids = make_permutation(order)
    name = file_name(generation)
    record = write_sections(
        folder / name,
        _KIND,
        [words, int(starts[-1]), int(sizes.max(initial=0))],
        [content[:used], groups, ids.images, ids.marks, ids.ranks, ids.links],
    )
    return {name: record}


@compiled()
def _encode(arena: Array, starts: Array, order: Array, out: Array, groups: Array) -> Any:
    at = 0
    for place in range(order.size):
        begin, end = starts[order[place]], starts[order[place] + 1]
        shared = 0
        if place % GROUP == 0:
            groups[place // GROUP] = at
        else:
            before, before_end = starts[order[place - 1]], starts[order[place - 1] + 1]
            while (
                begin + shared < end
                and before + shared < before_end
                and (arena[begin + shared] == arena[before + shared])
            ):
                shared += 1
        rest = end - begin - shared
        out[at] = min(shared, 15) << 4 | min(rest, 15)
        at += 1
        for value in (shared - 15, rest - 15):
            left = value
            while left >= 0:
                out[at] = (left & 0x7F) | (0x80 if left >= 0x80 else 0)
                at += 1
                left = left >> 7 if left >= 0x80 else -1
        for i in range(begin + shared, end):
            out[at] = arena[i]
            at += 1
    return at


@compiled(inline="always")
def _number(content: Any, end: Any, at: Any, short: Any) -> Any:
    """Return a number and the place after it.

    Args:
        content: Address of the words; ``end`` is their size.
        at: The place after the first byte of the word, or after the number before.
        short: The part of the number in this byte, 0 to 15.
    """
    value, shift = np.int64(short), np.int64(0)
    if short == 15:
        while at < end and shift < 56:
            byte = load_8(content + at)
            at += 1
            value += (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
    return value, at


@compiled(inline="always")
def _next_word(content: Any, at: Any, found: Any) -> Any:
    """Decode the next word into ``found``, which holds the previous one; return its size (-1: damaged) and its end."""
    size = np.int64(-1)
    if at < content.size:
        first = np.int64(content[at])
        shared, at = _number(address_of(content), content.size, at + 1, first >> 4)
        rest, at = _number(address_of(content), content.size, at, first & 15)
        if shared + rest <= found.size and at + rest <= content.size:
            size = shared + rest
            for i in range(rest):
                found[shared + i] = content[at + i]
            at += rest
    return size, at


@compiled()
def _decode(content: Array, groups: Array, place: Any, found: Array) -> Any:
    """Decode the word at a place of the order into ``found``, and return its size; -1 if the file is damaged."""
    at = np.int64(groups[place // GROUP])
    size = np.int64(-1)
    for _ in range(place % GROUP + 1):
        size, at = _next_word(content, at, found)
        if size < 0:
            break
    return size


@compiled()
def _decode_all(content: Array, ids: Array, found: Array, starts: Array, arena: Array, sizes: Array) -> bool:
    """Decode all words: their sizes by id, or the words into ``arena`` if it is not empty."""
    at = np.int64(0)
    for place in range(ids.size):
        size, at = _next_word(content, at, found)
        if size < 0:
            return False
        if arena.size == 0:
            sizes[ids[place]] = size
        else:
            begin = starts[ids[place]]
            if starts[ids[place] + 1] - begin != size:
                return False
            for i in range(size):
                arena[begin + i] = found[i]
    return True


@compiled()
def _first_eights(content: Array, groups: Array, heads: Array) -> None:
    for group in range(groups.size):
        at = np.int64(groups[group])
        if at < content.size:
            rest, at = _number(address_of(content), content.size, at + 1, np.int64(content[at]) & 15)
            heads[group] = first_eight(content, at, min(at + rest, np.int64(content.size)))


@compiled()
def _compare(content: Any, begin: Any, end: Any, words: Any, first: Any, last: Any) -> Any:
    """Compare the bytes [begin, end) at one address with the bytes [first, last) at another: -1, 0 or 1."""
    k = 0
    while begin + k < end and first + k < last and load_8(content + begin + k) == load_8(words + first + k):
        k += 1
    if begin + k == end:
        return 0 if first + k == last else -1
    if first + k == last:
        return 1
    return -1 if load_8(content + begin + k) < load_8(words + first + k) else 1


@compiled()
def _find_words(
    content: Array, groups: Array, ids: Permutation, heads: Array, words: Array, starts: Array, longest: Any
) -> Array:
    """Return the id of each ``words[starts[i]:starts[i + 1]]``; -1 if there is none, -2 if the file is damaged.

    ``heads`` is empty, or has the first eight bytes of the words stored as a whole.
    """
    found_ids = np.full(starts.size - 1, -1, np.int64)
    chosen = np.empty(_TOGETHER, np.int64)
    address, end, wanted = address_of(content), np.int64(content.size), address_of(words)
    for base in range(0, found_ids.size, _TOGETHER):
        size = min(_TOGETHER, found_ids.size - base)
        # Every step waits for memory, so each is done for all words before the next, and the waits overlap.
        for i in range(size):
            first, last = starts[base + i], starts[base + i + 1]
            low, high = np.int64(0), np.int64(groups.size)  # the first group whose head is larger than the word
            if heads.size:
                low, high = _groups_of_head(heads, first_eight(words, first, last))
            chosen[i] = _group_of(address, end, groups, low, high, wanted, first, last)
            if chosen[i] < -1:
                return np.full(found_ids.size, -2, np.int64)
            if chosen[i] >= 0:
                prefetch(address + np.int64(groups[chosen[i]]))
        for i in range(size):
            if chosen[i] < 0:
                continue
            at, place = np.int64(groups[chosen[i]]), chosen[i] * GROUP
            words_left = min(GROUP, ids.size - place)
            found = _find_in_group(
                address, end, at, words_left, longest, wanted, starts[base + i], starts[base + i + 1]
            )
            if found < -1:
                return np.full(found_ids.size, -2, np.int64)
            if found >= 0:
                found_ids[base + i] = image(ids, place + found)
    return found_ids


@compiled()
def _groups_of_head(heads: Array, wanted: Any) -> tuple[Any, Any]:
    """Return the number of smaller heads, and of those that are smaller or equal."""
    low, size = np.int64(0), heads.size
    while size > 0:  # no branch depends on the heads, because half of the guesses would be wrong
        half = (size + 1) >> 1
        low += half * np.int64(heads[low + half - 1] < wanted)
        size -= half
    high = low
    if low < heads.size and heads[low] == wanted:
        high = np.int64(np.searchsorted(heads, wanted, "right"))
    return low, high


@compiled()
def _group_of(content: Any, end: Any, groups: Array, low: Any, high: Any, words: Any, first: Any, last: Any) -> Any:
    """Return the group in [low - 1, high) in which a word would be; -1 if there is none, -2 if the file is damaged."""
    while low < high:
        middle = (low + high) // 2
        at = np.int64(groups[middle])
        if at < 0 or at >= end:
            return np.int64(-2)
        rest, at = _number(content, end, at + 1, load_8(content + at) & 15)
        if _compare(content, at, min(at + rest, end), words, first, last) <= 0:
            low = middle + 1
        else:
            high = middle
    return low - 1


@compiled()
def _find_in_group(content: Any, end: Any, at: Any, size: Any, longest: Any, words: Any, first: Any, last: Any) -> Any:
    """Return which of the ``size`` words from ``at`` on is the wanted one; -1 for none, -2 if the file is damaged.

    A word that shares more bytes with the one before than the wanted word does is smaller as well; one that shares
    fewer is larger. So stored words need not be decoded.
    """
    same = np.int64(0)  # the number of leading bytes in which the wanted word and the last smaller one agree
    for number in range(size):
        if at < 0 or at >= end:
            return np.int64(-2)
        byte = load_8(content + at)
        shared, at = _number(content, end, at + 1, byte >> 4)
        rest, at = _number(content, end, at, byte & 15)
        if shared + rest > longest or at + rest > end:
            return np.int64(-2)
        if shared < same:
            return np.int64(-1)
        if shared == same:
            k = np.int64(0)
            while k < rest and first + same < last and load_8(content + at + k) == load_8(words + first + same):
                k += 1
                same += 1
            if first + same == last:
                return np.int64(number) if k == rest else np.int64(-1)
            if k < rest and load_8(content + at + k) > load_8(words + first + same):
                return np.int64(-1)
        at += rest
    return np.int64(-1)
