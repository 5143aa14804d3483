"""Words and their ids in an open-addressing hash table of flat arrays, for compiled code.

Every word has a 64-bit *key*. The key of a word of up to 8 bytes (90% of the words in natural text) is its UTF-8, so
it is found by a single comparison. The key of a longer word is a hash with a low byte of 0, which short words never
have; if two such keys are equal, the bytes are compared.

The slots contain only ids, and the keys are stored by id. Frequent words occur early and get small ids, so the most
compared keys are close together and stay in the cache. With keys in the slots, the table was 10% slower and a third
larger.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import EIGHT, Array, eights
from factcensus.indexer.kernels.compiled import compiled

#: The id of a word that is not among the known ones.
UNKNOWN = 0xFFFFFFFF
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_LOW_BYTE = np.uint64(0xFF)
_NEXT_BIT = np.uint64(0x100)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_NONE = np.uint64(0)
_THREE, _SEVEN, _FILTER_SHIFT = np.uint64(3), np.uint64(7), np.uint64(20)


def position_dtype(size_bytes: int) -> type[np.signedinteger[Any]]:
    """Return the dtype for positions in this many bytes; the narrow type, for all but huge texts, is 8% faster."""
    return np.int32 if size_bytes < 1 << 31 else np.int64


class WordTable:
    """Words with ids in first-seen order; words are not empty and contain no zero byte.

    It takes 24 to 36 bytes of memory per word, plus 1 to 1.5 times the bytes of the words.

    Attributes:
        starts: int64 (capacity,); word i is ``arena[starts[i]:starts[i + 1]]``.
        arena: uint8; the concatenated UTF-8 of all words.
        used: int64 (2,): the number of words, and of used bytes of the arena.
    """

    def __init__(self) -> None:
        self._slots = np.zeros(1 << 10, np.uint32)
        self._keys = np.zeros(1 << 9, np.uint64)
        self.starts = np.zeros(1 << 9, np.int64)
        self.arena = np.zeros(1 << 12, np.uint8)
        self._arena_eights = eights(self.arena)
        self.used = np.zeros(2, np.int64)

    def __len__(self) -> int:
        return int(self.used[0])

    def reserve(self, words: int, size_bytes: int) -> None:
        """Make room for this many more words and bytes."""
        capacity = len(self) + words + 1
        if capacity > self.starts.size:
            self.starts = _grown(self.starts, capacity)
            self._keys = _grown(self._keys, capacity)
        if 2 * capacity > self._slots.size:
            self._slots = np.zeros(_larger(self._slots.size, 2 * capacity), np.uint32)
            _fill_slots(self._slots, self._keys, len(self))
        capacity_bytes = int(self.used[1]) + size_bytes + EIGHT
        if capacity_bytes > self.arena.size:
            self.arena = _grown(self.arena, capacity_bytes)
            self._arena_eights = eights(self.arena)

    def extend(self, arena: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        """Intern many words, given as an arena with their starts and the end, and return their ids in order."""
        eight = eights(np.concatenate([arena, np.zeros(EIGHT, np.uint8)]))
        dtype = position_dtype(arena.size)
        size_bytes = int(starts[-1] - starts[0])
        return self.intern_many(eight, starts[:-1].astype(dtype), np.diff(starts).astype(dtype), size_bytes)

    def intern_many(
        self,
        eight: npt.NDArray[np.uint64],
        places: npt.NDArray[np.signedinteger[Any]],
        sizes: npt.NDArray[np.signedinteger[Any]],
        size_bytes: int,
    ) -> npt.NDArray[np.uint32]:
        """Intern many words and return their ids in order.

        Args:
            eight: The bytes of the words, as returned by :func:`eights`.
            places: (words,), of :func:`position_dtype`: the start of each word.
            sizes: (words,), likewise: the number of bytes of each word.
            size_bytes: An upper bound for the bytes of all words.
        """
        self.reserve(len(places), size_bytes)
        ids = np.empty(len(places), np.uint32)
        _intern(eight, places, sizes, self._slots, self._keys, self.starts, self._arena_eights, self.used, ids)
        return ids


class KnownWords(WordTable):
    """A table of fixed words; all other words get the id UNKNOWN and are not copied.

    It stays as small as the given words, so that it fits the processor's cache, whatever is looked up. A bitmap answers
    for most unknown words, which are most words of a corpus.

    Args:
        arena: uint8; the concatenated UTF-8 of distinct words.
        starts: int64 (words + 1,): the start of each word in ``arena``, and the end of the last.
    """

    def __init__(self, arena: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> None:
        super().__init__()
        self.extend_known(arena, starts)
        self._slots = np.zeros(4 * len(self) + 1, np.uint32)
        _fill_slots(self._slots, self._keys, len(self))
        self._filter = np.zeros(1 << max(6, (2 * len(self)).bit_length()), np.uint8)  # 16 to 32 bits per word
        _fill_filter(self._keys, len(self), self._filter)

    def extend_known(self, arena: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> None:
        """Add the given words, once."""
        eight = eights(np.concatenate([arena, np.zeros(EIGHT, np.uint8)]))
        dtype = position_dtype(arena.size)
        super().intern_many(eight, starts[:-1].astype(dtype), np.diff(starts).astype(dtype), arena.size)

    def intern_many(
        self,
        eight: npt.NDArray[np.uint64],
        places: npt.NDArray[np.signedinteger[Any]],
        sizes: npt.NDArray[np.signedinteger[Any]],
        size_bytes: int,  # noqa: ARG002  (nothing is added)
    ) -> npt.NDArray[np.uint32]:
        """Return the ids of many words, and UNKNOWN for words that are not in the table."""
        ids = np.empty(len(places), np.uint32)
        _find_known(eight, places, sizes, self._slots, self._filter, self._keys, self.starts, self._arena_eights, ids)
        return ids


def _grown(array: npt.NDArray[Any], needed: int) -> npt.NDArray[Any]:
    grown = np.zeros(_larger(array.size, needed), array.dtype)
    grown[: array.size] = array
    return grown


def _larger(size: int, needed: int) -> int:
    return max(needed, size + size // 2)


@compiled()
def low_bytes(size: int) -> Any:
    """Return a mask of the lowest ``size`` bytes; all 8 bytes if ``size`` is 8 or more."""
    return _ALL >> np.uint64(64 - 8 * min(size, EIGHT))


@compiled()
def key_of(eight: Array, place: int, size: int) -> Any:
    """Return the key of the word of ``size`` bytes at ``place``."""
    if size <= EIGHT:
        return eight[place] & low_bytes(size)
    key = np.uint64(size)
    end = place + size
    while place < end:
        key = (key ^ (eight[place] & low_bytes(end - place))) * _PRIME
        key ^= key >> _HALF
        place += EIGHT
    return (key | _NEXT_BIT) & ~_LOW_BYTE


@compiled()
def _home(key: Any, slots: int) -> Any:
    """Return the slot where the search for a key begins."""
    scattered = (key ^ key >> _HALF) * _PRIME
    return np.int64((scattered >> _HALF) * np.uint64(slots) >> _HALF)


@compiled()
def _intern(  # noqa: PLR0913 - compiled: arrays of several records
    eight: Array,
    places: Array,
    sizes: Array,
    slots: Array,
    keys: Array,
    starts: Array,
    arena: Array,
    used: Array,
    ids: Array,
) -> None:
    """Write the ids of words to ``ids``; new words get new ids.

    Uses linear probing; ``slots`` contains id + 1, and the caller has made room. ``arena`` is the arena of the table as
    returned by :func:`eights`.
    """
    words = used[0]
    for i in range(places.size):
        place, size = places[i], sizes[i]
        key = key_of(eight, place, size)
        slot = _home(key, slots.size)
        while True:
            word = np.int64(slots[slot]) - 1
            if word < 0:
                word = words
                words += 1
                slots[slot] = words
                keys[word] = key
                _copy(eight, place, size, arena, starts[word])
                starts[words] = starts[word] + size
                break
            if keys[word] == key and (size <= EIGHT or _same(eight, place, size, arena, starts, word)):
                break
            slot += 1
            if slot == slots.size:
                slot = 0
        ids[i] = word
    used[0] = words
    used[1] = starts[words]


@compiled()
def _same(eight: Array, place: int, size: int, arena: Array, starts: Array, word: Any) -> bool:
    at = starts[word]
    if starts[word + 1] - at != size:
        return False
    end = place + size
    while place < end:
        if (eight[place] ^ arena[at]) & low_bytes(end - place) != _NONE:
            return False
        place += EIGHT
        at += EIGHT
    return True


@compiled()
def _copy(eight: Array, place: int, size: int, arena: Array, at: Any) -> None:
    end = place + size
    while place < end:
        arena[at] = eight[place]
        place += EIGHT
        at += EIGHT


@compiled()
def _fill_slots(slots: Array, keys: Array, words: int) -> None:
    """Fill an empty slot table from the keys."""
    for word in range(words):
        slot = _home(keys[word], slots.size)
        while slots[slot] != 0:
            slot += 1
            if slot == slots.size:
                slot = 0
        slots[slot] = word + 1


@compiled()
def _bit_of(key: Any, filter_bytes: int) -> Any:
    """Return the bit number of a key in a filter whose size is a power of two."""
    return (key ^ key >> _HALF) * _PRIME >> _FILTER_SHIFT & np.uint64(8 * filter_bytes - 1)


@compiled()
def _fill_filter(keys: Array, words: int, filter: Array) -> None:
    for word in range(words):
        bit = _bit_of(keys[word], filter.size)
        filter[bit >> _THREE] |= np.uint8(1) << np.uint8(bit & _SEVEN)


@compiled()
def _find_known(  # noqa: PLR0913 - compiled: arrays of several records
    eight: Array,
    places: Array,
    sizes: Array,
    slots: Array,
    filter: Array,
    keys: Array,
    starts: Array,
    arena: Array,
    ids: Array,
) -> None:
    """Write the ids of words to ``ids``, and UNKNOWN for others; see :func:`_intern`."""
    for i in range(places.size):
        place, size = places[i], sizes[i]
        key = key_of(eight, place, size)
        ids[i] = UNKNOWN
        bit = _bit_of(key, filter.size)
        if filter[bit >> _THREE] >> np.uint8(bit & _SEVEN) & np.uint8(1) == 0:
            continue
        slot = _home(key, slots.size)
        while True:
            word = np.int64(slots[slot]) - 1
            if word < 0:
                break
            if keys[word] == key and (size <= EIGHT or _same(eight, place, size, arena, starts, word)):
                ids[i] = word
                break
            slot += 1
            if slot == slots.size:
                slot = 0
