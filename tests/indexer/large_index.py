"""A large index of text that looks natural, made in seconds: a small corpus repeated many times, and its suffix array.

Sorting 2^26 suffixes takes minutes. Here a text T of 2^k tokens is repeated m times. An end E follows, of a separator,
the smallest id and words that occur once. The order of two suffixes is decided within one copy of T, except for those
at the same place of two copies: the later one comes first, because it reaches the smallest id of E where the other one
has a larger id. Hence the suffix array of T·T·E gives that of T·…·T·E: each entry in the last copy stays, and each
entry in the first copy becomes one entry per other copy, the later ones first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, models, pre_tokenizers

from factcensus.indexer.building.suffix_array import byte_order_ranks, count_ranks, sort_suffixes
from factcensus.indexer.storage.layout import entry_bytes, map_file, pack
from factcensus.indexer.storage.sample import render_sample

#: Number of words of T, and of words that occur once, in E.
WORDS, RARE = 40_000, 20_000
SEPARATOR = 0xFFFF


@dataclass(frozen=True)
class LargeIndex:
    """The folder of the index, its tokenizer, and one copy of its text.

    Attributes:
        folder: Has the files that infini-gram writes, and ``landmarks``, the content of a ``sample.0``.
        tokenizer: A ``tokenizer.json`` in which the word ``w7`` has the id 7.
        copy: u16, the tokens of T; ``end`` those of E.
        copies: Number of copies.
    """

    folder: Path
    tokenizer: Path
    copy: npt.NDArray[np.uint16]
    end: npt.NDArray[np.uint16]
    copies: int

    def text(self, begin: int, size: int) -> str:
        """Return some words of T from a place on, up to the end of the document."""
        ids = self.copy[begin : begin + size].tolist()
        return " ".join(f"w{i}" for i in (ids[: ids.index(SEPARATOR)] if SEPARATOR in ids else ids))


def write_large_index(folder: Path, bits: int, copy_bits: int = 20) -> LargeIndex:
    """Write an index of 2^bits rows and a few more, with documents of 300 tokens on average."""
    chance = np.random.default_rng(7)
    size, copies = 1 << copy_bits, 1 << (bits - copy_bits)
    copy = (1 + np.minimum(chance.zipf(1.2, size), WORDS - 2)).astype(np.uint16)
    starts = np.cumsum(chance.geometric(1 / 300, size // 200) + 1)
    starts = np.concatenate([[0], starts[starts < size - 1]])
    copy[starts] = SEPARATOR
    rare = (WORDS + chance.permutation(RARE)).astype(np.uint16)
    end = np.concatenate([[SEPARATOR, 0], rare]).astype(np.uint16)
    _write(folder / "tokenized.0", [copy] * copies + [end])
    offsets = np.concatenate([starts + number * size for number in range(copies + 1)])
    offsets = offsets[offsets <= copies * size]
    _write(folder / "offset.0", [(2 * offsets).astype("<u8")])
    _write_table(folder, copy, end, copies)
    tokenizer = folder / "tokenizer.json"
    words = {f"w{i}": i for i in range(WORDS + RARE)}
    made = Tokenizer(models.WordLevel(words, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(tokenizer))
    return LargeIndex(folder, tokenizer, copy, end, copies)


def _write_table(folder: Path, copy: npt.NDArray[np.uint16], end: npt.NDArray[np.uint16], copies: int) -> None:
    small = np.concatenate([copy, copy, end])
    rank_of = np.append(byte_order_ranks(SEPARATOR, np.dtype(np.uint16)), SEPARATOR).astype(np.uint32)
    ranks = rank_of[small]
    positions = sort_suffixes(ranks, count_ranks(ranks, SEPARATOR + 1), threads=2).astype(np.int64)
    size, shift = len(copy), (copies - 2) * len(copy)
    # The number of copies that each entry stands for, and the place of the last of them.
    counts = np.where(positions < size, copies - 1, 1)
    last = positions + shift
    width = entry_bytes(2 * (copies * size + len(end)))
    samples = []
    at = 0
    with (folder / "table.0").open("wb") as file:
        for part in np.array_split(np.arange(len(positions)), max(1, copies)):
            repeated = np.repeat(part, counts[part])
            first = np.cumsum(counts[part]) - counts[part]
            back = np.arange(len(repeated)) - np.repeat(first, counts[part])
            found = last[repeated] - size * back
            samples.append(found)
            file.write(pack(2 * found, width).tobytes())
            at += len(found)
    stream, offsets = map_file(folder / "tokenized.0"), map_file(folder / "offset.0").view("<u8")
    assert at == stream.size // 2
    (folder / "landmarks").write_bytes(render_sample(stream, np.concatenate(samples), 2, offsets))


def _write(path: Path, parts: Sequence[npt.NDArray[Any]]) -> None:
    with path.open("wb") as file:
        for part in parts:
            file.write(part.tobytes())
