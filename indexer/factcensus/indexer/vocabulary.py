"""The stored vocabulary of a ``words`` index: word to id and back, mapped from disk, nothing to load.

Three files: ``vocabulary.G.utf8`` (the words one after another, in id order), ``vocabulary.G.starts`` (u32 per word
and one for the end; u64 where the words take 4 GiB or more) and ``vocabulary.G.sorted`` (u32 ids in byte order of
their words, for binary search). G counts the times the index has grown: ids are never given out anew, and the
manifest names the generation that holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from factcensus.indexer.analyzers.words import WordTable
from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.layout import write_hashed


class Vocabulary:
    """The words of an index by id."""

    def __init__(self, folder: Path, generation: int) -> None:
        utf8, starts, order = (folder / name for name in file_names(generation))
        self._utf8 = _mapped(utf8, "u1")
        self._sorted = _mapped(order, "<u4")
        self._starts = _mapped(starts, _starts_dtype(self._utf8.size))
        if self._starts.size != self._sorted.size + 1 or int(self._starts[-1]) != self._utf8.size:
            raise IndexFormatError(f"{folder}: the files vocabulary.{generation}.* do not belong together")
        self._view = memoryview(cast(Any, self._utf8))

    def __len__(self) -> int:
        return len(self._sorted)

    def word(self, token_id: int) -> str:
        """The word of an id."""
        return self._bytes(token_id).decode(errors="replace")

    def _bytes(self, token_id: int) -> bytes:
        return bytes(self._view[int(self._starts[token_id]) : int(self._starts[token_id + 1])])

    def id(self, word: str) -> int | None:
        """The id of a word, or None where no document has it."""
        wanted = word.encode()
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._bytes(int(self._sorted[middle])) < wanted:
                low = middle + 1
            else:
                high = middle
        if low == len(self):
            return None
        found = int(self._sorted[low])
        return found if self._bytes(found) == wanted else None

    def words(self, token_ids: Sequence[int]) -> list[str]:
        """The words of many ids."""
        return [self.word(token_id) for token_id in token_ids]

    def table(self) -> WordTable:
        """A word table that continues from here."""
        table = WordTable()
        table.extend(np.asarray(self._utf8, np.uint8), np.asarray(self._starts).astype(np.int64))
        return table


def file_names(generation: int) -> tuple[str, str, str]:
    """The files of a generation."""
    return tuple(f"vocabulary.{generation}.{part}" for part in ("utf8", "starts", "sorted"))  # type: ignore[return-value]


def _starts_dtype(arena_bytes: int) -> str:
    return "<u4" if arena_bytes < 1 << 32 else "<u8"


def _mapped(path: Path, dtype: str) -> npt.NDArray[Any]:
    # A plain array over the mapping: slicing a np.memmap costs several times as much.
    return np.asarray(np.memmap(path, dtype, "r")) if path.stat().st_size else np.zeros(0, dtype)


def write_vocabulary(folder: Path, generation: int, table: WordTable) -> dict[str, str]:
    """Write a word table; the SHA-256 of each file by name."""
    words = len(table)
    starts = table.starts[: words + 1]
    arena = table.arena[: starts[-1]]
    in_memory, ends = arena.tobytes(), starts.tolist()
    order = np.array(sorted(range(words), key=lambda word: in_memory[ends[word] : ends[word + 1]]), dtype="<u4")
    contents: tuple[npt.NDArray[np.generic], ...] = (arena, starts.astype(_starts_dtype(arena.size)), order)
    return {
        name: write_hashed(folder / name, [np.ascontiguousarray(content).view(np.uint8)] if content.size else [])
        for name, content in zip(file_names(generation), contents, strict=True)
    }
