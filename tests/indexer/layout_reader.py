"""A slow, simple reader of shard files that checks them against docs/index-format.md."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

WIDTH = {"u8": 1, "u16": 2, "u32": 4}


@dataclass(frozen=True)
class Shard:
    """One shard, with the token ids of its documents and the bytes of its files."""

    number: int
    documents: tuple[tuple[int, ...], ...]
    tokenized: bytes
    table: bytes


def read_shard(folder: Path, number: int, width: int) -> Shard:
    """Read one shard and check the sizes of its files and its document separators."""
    tokenized = (folder / f"tokenized.{number}").read_bytes()
    offsets = [int.from_bytes(word, "little") for word in _words((folder / f"offset.{number}").read_bytes(), 8)]
    separator = b"\xff" * width
    assert len(tokenized) % width == 0
    assert offsets == sorted(set(offsets)), "offsets ascend"
    assert offsets[0] == 0, "a separator stands before the first document"
    documents = []
    for start, end in zip(offsets, [*offsets[1:], len(tokenized)], strict=True):
        words = list(_words(tokenized[start:end], width))
        assert words[0] == separator
        assert separator not in words[1:]
        documents.append(tuple(int.from_bytes(word, "little") for word in words[1:]))
    return Shard(number, tuple(documents), tokenized, (folder / f"table.{number}").read_bytes())


def read_shards(folder: Path, width: int) -> list[Shard]:
    """Return all shards of an index folder by number."""
    numbers = sorted(int(path.name.split(".")[1]) for path in folder.glob("tokenized.*"))
    return [read_shard(folder, number, width) for number in numbers]


def check_table(shard: Shard, width: int) -> None:
    """Check the suffix array: byte offsets sorted by the bytes that follow, with the minimum width."""
    text = shard.tokenized
    pointer_width = max(1, math.ceil(math.log2(len(text)) / 8))
    offsets = [int.from_bytes(word, "little") for word in _words(shard.table, pointer_width)]
    assert sorted(offsets) == list(range(0, len(text), width)), "every token has one entry"
    for one, next_ in pairwise(offsets):
        # A short comparison distinguishes suffixes that differ early; the long one copies whole suffixes.
        assert text[one : one + 64] < text[next_ : next_ + 64] or text[one:] < text[next_:]


def _words(content: bytes, width: int) -> list[bytes]:
    assert len(content) % width == 0
    return [content[start : start + width] for start in range(0, len(content), width)]
