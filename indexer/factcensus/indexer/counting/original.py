"""Passages of the original texts, if an index keeps them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from factcensus.indexer.answers import Cut, Passage, Span
from factcensus.indexer.arrays import Numbers
from factcensus.indexer.errors import IndexFormatError

if TYPE_CHECKING:
    from factcensus.indexer.counting.searchable import SearchableIndex
    from factcensus.indexer.storage.shard import Shard

#: Characters shown on each side of a mention, and those that are left out to begin and end at white space.
CONTEXT_CHARACTERS, _RAGGED = 80, 24
#: Maximum number of passages shown per document.
MOST_PASSAGES = 3

#: Start, end and kind of a mention, in tokens or in characters.
Mention = tuple[int, int, str]
#: The start and end of a range around mentions, and these mentions.
Stretch = tuple[int, int, list[Mention]]
#: The passages of a document, and whether it has more text before and after each.
Excerpts = tuple[list[Passage], list[Cut]]

_FIRST_SPACE, _LAST_SPACE = re.compile(r"\s+"), re.compile(r"\s+(?=\S*\Z)")


def texts_of(analyzer: str, shard: Shard, documents: Numbers) -> Iterator[bytes]:
    """Yield the original texts of documents as UTF-8, from local files; the index must have the texts."""
    if shard.kept is not None:
        yield from shard.kept.texts(documents)
        return
    assert analyzer == "bytes"
    for document in documents.tolist():
        yield shard.tokens(*shard.document_span(document)).tobytes()


def original_passages(text: str, mentions: Sequence[Mention], pair: Sequence[Mention] = ()) -> Excerpts:
    """Return passages around mentions, which are ranges of characters in ascending order; see :func:`stretches`."""
    found = stretches(mentions, pair, partial(_around, text))
    passages = [passage_of(*stretch, lambda first, last: text[first:last]) for stretch in found]
    first, last = len(text) - len(text.lstrip()), len(text.rstrip())
    return passages, [Cut(low > first, high < last) for low, high, _ in found]


def in_characters(index: SearchableIndex, text: str, mentions: Sequence[Mention], begin: int) -> list[Mention]:
    """Convert mentions from positions in a shard to characters of the document that begins at ``begin``.

    Raises:
        IndexFormatError: The text does not have these tokens.
    """
    wanted = [at - begin for start, end, _ in mentions for at in (start, end - 1)]
    try:
        spans = index.analyzer.spans(text, wanted)
        return [(spans[start - begin][0], spans[end - 1 - begin][1], what) for start, end, what in mentions]
    except (ValueError, IndexError, KeyError) as error:
        raise IndexFormatError(
            f"the texts of index {index.name} do not have its tokens; run 'factcensus index verify'"
        ) from error


def stretches(
    mentions: Sequence[Mention], pair: Sequence[Mention], around: Callable[[Mention], tuple[int, int]]
) -> list[Stretch]:
    """Return the ranges around mentions, merged if they touch, at most :data:`MOST_PASSAGES`; those of a pair first."""
    found: list[Stretch] = []
    for mention in mentions:
        low, high = around(mention)
        if found and low <= found[-1][1]:
            last = found[-1]
            found[-1] = (last[0], max(last[1], high), [*last[2], mention])
        else:
            found.append((low, high, [mention]))
    best = sorted(found, key=lambda stretch: not any(mention in stretch[2] for mention in pair))
    return sorted(best[:MOST_PASSAGES])


def passage_of(
    low: int, high: int, mentions: Sequence[Mention], piece: Callable[[int, int], str], gap: str = ""
) -> Passage:
    """Split the range [low, high) into spans; their joined texts give its text.

    Args:
        low: The start of the range.
        high: The end of the range.
        mentions: The mentions in it, in ascending order.
        piece: Returns the text of a range.
        gap: The text between two pieces that is part of neither.
    """
    ranges: list[tuple[int, int, str | None]] = []
    at = low
    for start, end, what in mentions:
        if start < at:  # inside a mention of the other entity
            continue
        ranges += [(at, start, None), (start, end, what)]
        at = end
    ranges = [each for each in [*ranges, (at, high, None)] if each[1] > each[0]]
    spans: Passage = []
    for i, (first, last, label) in enumerate(ranges):
        text = piece(first, last)
        if label is None:
            text = (gap if i else "") + text + (gap if i + 1 < len(ranges) else "")
        elif gap and spans and spans[-1].mention is not None:
            spans.append(Span(gap, None))
        spans.append(Span(text, label))
    return spans


def _around(text: str, mention: Mention) -> tuple[int, int]:
    """Return the range of characters shown around a mention, which begins and ends at white space if possible."""
    start, end, _ = mention
    low, high = max(0, start - CONTEXT_CHARACTERS), min(len(text), end + CONTEXT_CHARACTERS)
    if low and (space := _FIRST_SPACE.search(text, low, min(start, low + _RAGGED))):
        low = space.end()
    if high < len(text) and (space := _LAST_SPACE.search(text[max(end, high - _RAGGED) : high])):
        high = max(end, high - _RAGGED) + space.start()
    return low, high
