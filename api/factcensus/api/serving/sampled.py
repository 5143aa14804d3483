"""Documents from which the examples of the first page are taken, and the names in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from factcensus.indexer import CountIndex
from factcensus.indexer.answers.documents import title_of
from factcensus.indexer.arrays import Numbers
from factcensus.indexer.counting.passages import parsed
from factcensus.indexer.storage.shard import Shard

#: Documents read for the examples of an index, and tokens read of each.
SAMPLED, TOKENS = 48, 300
#: For an index at a URL: shards from which they are taken, and rows of a document table that are read together there.
FAR_SHARDS, FAR_ROWS = 3, 8192
#: A run of words with capitals inside a sentence.
_CAPITALS = re.compile(r"(?<=[a-z,] )[A-Z][\w’'-]{2,}(?: [A-Z][\w’'-]{2,}){0,2}")
#: Maximum number of words of a title that is a name, and minimum number of letters of a word that is one.
_LONGEST, _LONG_WORD = 4, 5


@dataclass(frozen=True, slots=True)
class Sample:
    """The title of a document, if it has one; its first token ids; and the beginning of its text, if it is kept."""

    title: str | None
    ids: list[int]
    text: str | None


def sampled(index: CountIndex) -> Iterator[Sample]:
    """Yield evenly spaced counted documents."""
    shards = index.counted_shards()
    total = sum(shard.documents for shard, _ in shards)
    places = np.unique(np.linspace(0, max(0, total - 1), SAMPLED).astype(np.int64))
    first = 0
    for shard, counted in shards:
        chosen = places[(places >= first) & (places < first + shard.documents)] - first
        first += shard.documents
        chosen = chosen[counted[chosen]] if counted.size else chosen
        if not len(chosen):
            continue
        yield from _read(index, shard, chosen)


def sampled_at_url(index: CountIndex) -> Iterator[Sample]:
    """Yield counted documents of a few shards, in each from one group of rows of the document table.

    So a shard takes a few rounds of reads and about a megabyte, however large it is.
    """
    shards = [each for each in index.counted_shards() if each[0].documents]
    for place in np.unique(np.linspace(0, max(0, len(shards) - 1), FAR_SHARDS).astype(np.int64)).tolist():
        shard, counted = shards[place]
        first = shard.documents // 2 // FAR_ROWS * FAR_ROWS
        last = min(first + FAR_ROWS, shard.documents) - 1
        chosen = np.unique(np.linspace(first, last, SAMPLED // FAR_SHARDS).astype(np.int64))
        chosen = chosen[counted[chosen]] if counted.size else chosen
        if len(chosen):
            yield from _read(index, shard, chosen)


def _read(index: CountIndex, shard: Shard, documents: Numbers) -> Iterator[Sample]:
    starts, ends = shard.document_spans(documents)
    spans = list(zip((starts + 1).tolist(), np.minimum(ends, starts + 1 + TOKENS).tolist(), strict=True))
    texts: list[str | None] = [None] * len(spans)
    if shard.kept is not None:
        (contents,) = index.read_texts([(shard, documents)])
        texts = [_begin(text) for text in contents]
    for row, ids, text in zip(shard.rows(documents.tolist()), shard.token_parts(spans), texts, strict=True):
        yield Sample(title_of(parsed(row.get("metadata"))), ids.tolist(), text)


def _begin(text: bytes) -> str:
    return text[: 8 * TOKENS].decode(errors="replace")


def capitals(text: str) -> list[str]:
    """Return the names of several words in a text; if there are none, its long words with a capital."""
    names = list(dict.fromkeys(_CAPITALS.findall(text)))
    return [name for name in names if " " in name] or [name for name in names if len(name) >= _LONG_WORD]


def is_name(title: str) -> bool:
    """Return whether a title is short and has only words, so it may be a name."""
    return len(title.split()) <= _LONGEST and re.fullmatch(r"[\w’'. -]*[^\W\d_][\w’'. -]*", title) is not None
