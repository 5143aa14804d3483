"""The stored vocabulary of a ``words`` index, which maps words to ids and back; mapped from disk without loading.

There are three files: ``vocabulary.G.utf8`` (the concatenated words in id order), ``vocabulary.G.starts`` (u32 per word
and one for the end; u64 if the words take 4 GiB or more) and ``vocabulary.G.sorted`` (u32 ids in byte order of their
words, for binary search). G is the number of times the index has grown. Ids are never reassigned, and the manifest
names the current generation.
"""

from __future__ import annotations

import weakref
from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from factcensus.indexer.analyzers.words import WordTable
from factcensus.indexer.arrays import Array, as_numpy
from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.search import SIDE_BY_SIDE, first_eight
from factcensus.indexer.storage.layout import map_file, write_hashed

#: Words whose ids are read at a time.
_MOST_PLACES = 1 << 16


def id_in(vocabulary: weakref.ref[Vocabulary], word: str) -> int:
    """Return the id of a word; takes a weak reference, so that the cache does not keep the files mapped."""
    known = vocabulary()
    assert known is not None  # the caller holds it
    return int(known.ids([word])[0])


class Vocabulary:
    """The words of an index by id.

    Attributes:
        utf8: uint8; word i is ``utf8[starts[i]:starts[i + 1]]``.
        starts: See above.
    """

    #: Number of words in the sample, which stays in the CPU cache and saves the first fifteen steps of a search.
    _SAMPLED = 1 << 15
    #: Minimum number of words looked up together for which the sample is used.
    _MANY = 1024

    def __init__(self, folder: Path, generation: int) -> None:
        utf8, starts, order = (folder / name for name in file_names(generation))
        self.utf8 = _mapped(utf8, "u1")
        self._sorted = _mapped(order, "<u4")
        self.starts = _mapped(starts, _starts_dtype(self.utf8.size))
        if self.starts.size != self._sorted.size + 1 or int(self.starts[-1]) != self.utf8.size:
            raise IndexFormatError(
                f"{folder}: the files vocabulary.{generation}.* do not match; copy the index again or rebuild it"
            )
        self._view = memoryview(cast(Any, self.utf8))
        #: Returns the id of a word, or -1 if no document has it; results are cached.
        self.id = lru_cache(1 << 16)(partial(id_in, weakref.ref(self)))

    def __len__(self) -> int:
        return len(self._sorted)

    @cached_property
    def _sample(self) -> npt.NDArray[np.uint64]:
        """The first eight bytes, as big-endian numbers, of evenly spaced words in byte order."""
        places = np.arange(self._SAMPLED + 1) * len(self) // (self._SAMPLED + 1)
        return _first_eights(self.utf8, self.starts, self._sorted, places)

    def word(self, token_id: int) -> str:
        """Return the word of an id.

        Raises:
            IndexFormatError: There is none; the index is damaged.
        """
        if not 0 <= token_id < len(self):
            raise IndexFormatError(f"no word has the id {token_id}; run 'factcensus index verify'")
        word = self._view[int(self.starts[token_id]) : int(self.starts[token_id + 1])]
        return bytes(word).decode(errors="replace")

    def starting_with(self, prefix: str, most: int) -> list[int]:
        """Return the lowest ids of the words that begin with a prefix, at most ``most``, in ascending order.

        Ids are assigned in the order in which words first occur in the corpus, so the lowest ids are mostly those of
        the most frequent words.
        """
        first = prefix.encode()
        low = bisect_left(range(len(self)), first, key=self._word_at)
        # No UTF-8 has the byte 255, so this sorts after all words with the prefix.
        high = bisect_left(range(len(self)), first + b"\xff", lo=low, key=self._word_at)
        found = np.zeros(0, np.int64)
        for start in range(low, high, _MOST_PLACES):
            found = np.concatenate([found, self._ids_at(start, min(start + _MOST_PLACES, high))])
            found = np.sort(found)[:most]
        return found.tolist()

    def begins(self, prefix: str) -> bool:
        """Return whether a word begins with a prefix."""
        first = prefix.encode()
        low = bisect_left(range(len(self)), first, key=self._word_at)
        return low < len(self) and self._word_at(low).startswith(first)

    def _word_at(self, place: int) -> bytes:
        """Return the word at a place in byte order."""
        token_id = int(self._sorted[place])
        if token_id >= len(self):
            raise IndexFormatError("the vocabulary is damaged; run 'factcensus index verify'")
        return bytes(self._view[int(self.starts[token_id]) : int(self.starts[token_id + 1])])

    def _ids_at(self, low: int, high: int) -> npt.NDArray[np.int64]:
        """Return the ids of the words at the places [low, high) in byte order."""
        return np.asarray(self._sorted[low:high]).astype(np.int64)

    def ids(self, words: Sequence[str]) -> npt.NDArray[np.int64]:
        """Return the id of each word, or -1 if no document has it."""
        encoded = [word.encode() for word in words]
        starts = np.zeros(len(words) + 1, np.int64)
        np.cumsum([len(word) for word in encoded], out=starts[1:])
        return self._find(np.frombuffer(b"".join(encoded), np.uint8), starts)

    def _find(self, words: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        # For few words, reading a sample of the vocabulary does not pay.
        sample = self._sample if len(starts) > self._MANY else np.zeros(0, np.uint64)
        ids = _find_words(self.utf8, self.starts, self._sorted, sample, words, starts)
        if ids.min(initial=0) < -1:
            raise IndexFormatError("the vocabulary is damaged; run 'factcensus index verify'")
        return ids

    def ids_of(self, table: WordTable) -> npt.NDArray[np.int64]:
        """Return the id of each word of a table, or -1 if no document has it."""
        return self._find(table.arena[: table.used[1]], table.starts[: len(table) + 1])

    def words(self, token_ids: Sequence[int]) -> list[str]:
        """Return the words of many ids."""
        return [self.word(token_id) for token_id in token_ids]

    def arena(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Return the concatenated words in id order, and int64 (words + 1,), the start of each word."""
        return np.asarray(self.utf8, np.uint8), np.asarray(self.starts).astype(np.int64)

    def table(self) -> WordTable:
        """Return a word table with these words, to which new words can be added."""
        table = WordTable()
        table.extend(*self.arena())
        return table


@compiled()
def _first_eights(utf8: Array, starts: Array, order: Array, places: Array) -> Array:
    """Run :func:`first_eight` for the words at some positions of the order; 0 for invalid values in the files."""
    eights = np.zeros(places.size, np.uint64)
    for i in range(places.size):
        if places[i] < order.size and order[places[i]] < order.size:
            begin, end = np.int64(starts[order[places[i]]]), np.int64(starts[order[places[i]] + 1])
            if begin <= end <= utf8.size:
                eights[i] = first_eight(utf8, begin, end)
    return eights


@compiled()
def _narrow(sample: Array, wanted: Array, types: int, low: Array, high: Array) -> None:
    """Set the ranges [low, high) of the order in which words with the first eight bytes ``wanted`` are, if anywhere."""
    at = np.zeros(wanted.size, np.int64)  # a binary search without branches, for all words in step
    size = sample.size
    while size > 0:
        half = (size + 1) // 2
        for k in range(wanted.size):
            at[k] += half * (sample[at[k] + half - 1] < wanted[k])
        size -= half
    for k in range(wanted.size):
        # From just before the first sample that is not smaller, to just after the last that is not larger.
        after = at[k]
        while after < sample.size and sample[after] == wanted[k]:
            after += 1
        low[k] = max(0, (at[k] - 1) * types // sample.size)
        high[k] = min(types, after * types // sample.size + 1)


@compiled()
def _find_words(  # noqa: C901, PLR0912 - compiled: one loop that keeps its state in local variables
    utf8: Array, starts: Array, order: Array, sample: Array, words: Array, word_starts: Array
) -> Array:
    """Return the id of each ``words[word_starts[i]:word_starts[i + 1]]``, by binary search; -1 if there is none.

    The result is -2 for invalid values in the files. ``sample`` is empty, or has :func:`first_eight` of words at
    even distances.
    """
    ids = np.full(word_starts.size - 1, -1, np.int64)
    low, high, middle, found, begin, end, active = np.empty((7, SIDE_BY_SIDE), np.int64)
    wanted, seen = np.empty((2, SIDE_BY_SIDE), np.uint64)
    for first in range(0, ids.size if order.size else 0, SIDE_BY_SIDE):
        count = min(SIDE_BY_SIDE, ids.size - first)
        for k in range(count):
            wanted[k] = first_eight(words, word_starts[first + k], word_starts[first + k + 1])
            low[k], high[k], active[k] = 0, order.size, k
        if sample.size:
            _narrow(sample, wanted[:count], order.size, low, high)
        while count:
            for n in range(count):
                k = active[n]
                middle[k] = (low[k] + high[k]) // 2
                # An empty range reads an arbitrary word, which is not used.
                found[k] = order[min(middle[k], order.size - 1)]
            for n in range(count):
                k = active[n]
                known = min(found[k], np.int64(order.size - 1))
                begin[k], end[k] = starts[known], starts[known + 1]
            for n in range(count):
                k = active[n]
                seen[k] = first_eight(utf8, begin[k], end[k])
            still = 0
            for n in range(count):
                k = active[n]
                if low[k] >= high[k]:
                    continue
                if found[k] >= order.size or not 0 <= begin[k] <= end[k] or end[k] > utf8.size:
                    ids[first + k] = -2
                    continue
                side = -1 if seen[k] < wanted[k] else 1
                if seen[k] == wanted[k]:
                    side = _compare(utf8, begin[k], end[k], words, word_starts[first + k], word_starts[first + k + 1])
                if side == 0:
                    ids[first + k] = found[k]
                    continue
                if side < 0:
                    low[k] = middle[k] + 1
                else:
                    high[k] = middle[k]
                active[still] = k
                still += 1
            count = still
    return ids


@compiled()
def _compare(utf8: Array, begin: Any, end: Any, words: Array, at: Any, at_end: Any) -> int:
    """Return -1, 0 or 1: whether ``utf8[begin:end]`` sorts before ``words[at:at_end]``, is equal, or sorts after it."""
    while begin < end and at < at_end and utf8[begin] == words[at]:
        begin += 1
        at += 1
    if begin == end:
        return 0 if at == at_end else -1
    return -1 if at < at_end and utf8[begin] < words[at] else 1


def file_names(generation: int) -> tuple[str, str, str]:
    """Return the file names of a generation."""
    return tuple(f"vocabulary.{generation}.{part}" for part in ("utf8", "starts", "sorted"))  # type: ignore[return-value]


def _starts_dtype(arena_bytes: int) -> str:
    return "<u4" if arena_bytes < 1 << 32 else "<u8"


def _mapped(path: Path, dtype: str) -> npt.NDArray[Any]:
    content = map_file(path)
    if content.size % np.dtype(dtype).itemsize:
        raise IndexFormatError(f"{path} is truncated: it has {content.size} bytes; copy the index again or rebuild it")
    return content.view(dtype)


def write_vocabulary(folder: Path, generation: int, table: WordTable) -> dict[str, str]:
    """Write a word table and return the SHA-256 of each file by name."""
    starts = table.starts[: len(table) + 1]
    arena = table.arena[: starts[-1]]
    order = sorted_ids(arena, starts)
    contents: tuple[npt.NDArray[Any], ...] = (arena, starts.astype(_starts_dtype(arena.size)), order)
    return {
        name: write_hashed(folder / name, np.ascontiguousarray(content))
        for name, content in zip(file_names(generation), contents, strict=True)
    }


def sorted_ids(arena: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """Return the ids of words in byte order of the words ``arena[starts[i]:starts[i + 1]]``."""
    # Arrow compares binaries byte by byte, and a prefix sorts first.
    buffers = [None, pa.py_buffer(starts), pa.py_buffer(arena)]
    binaries = pa.Array.from_buffers(pa.large_binary(), len(starts) - 1, buffers)
    order: npt.NDArray[np.uint32] = as_numpy(pc.sort_indices(binaries)).astype("<u4")  # pyright: ignore[reportAttributeAccessIssue]
    return order
