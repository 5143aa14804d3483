"""Documents that contain a text or a pair of entities, with passages around the mentions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.answers import DocumentsAnswer, FoundDocument, Passage, Span
from factcensus.indexer.arrays import Mask
from factcensus.indexer.corpus import parse_line
from factcensus.indexer.counting.deadline import Deadline
from factcensus.indexer.counting.scope import EVERY_DOCUMENT, Scope
from factcensus.indexer.errors import IndexFormatError, InputError
from factcensus.indexer.kernels.pairs import check_windows, count_pairs
from factcensus.indexer.records import Entity

if TYPE_CHECKING:
    from factcensus.indexer.opened import OpenedIndex
    from factcensus.indexer.storage.shard import Shard

#: Tokens shown on each side of a mention, and maximum number of passages shown per document.
CONTEXT_TOKENS = 12
MOST_PASSAGES = 3
#: Maximum number of highlighted mentions of each kind per document.
MOST_MENTIONS = 64

Mention = tuple[int, int, str]  # first position, position after the last, kind of mention


def find_documents(  # noqa: PLR0913 - options, which are given by name
    index: OpenedIndex,
    *,
    text: str | None = None,
    subject: Entity | str | None = None,
    object: Entity | str | None = None,
    window: int | None = None,
    limit: int = 10,
    start: int = 0,
    by: str | None = None,
    scope: Scope = EVERY_DOCUMENT,
    deadline: Deadline | None = None,
) -> DocumentsAnswer:
    """Find the documents that contain a text, or mention an entity or both entities of a pair, in corpus order.

    Args:
        index: An open index.
        text: The text to find, instead of ``subject`` and ``object``.
        subject: An entity.
        object: Another entity that the documents must mention as well; see ``CountIndex.cooccurrence``.
        window: For a pair, the maximum number of tokens strictly between two mentions.
        limit: Maximum number of documents to return.
        start: Number of documents to skip.
        by: Adds the number of documents with each value of a column; see ``CountIndex.count``.
        scope: The documents to search.
        deadline: Stops a search that takes too long, between two shards.

    Returns:
        The documents of the page; ``next`` is the ``start`` of the next page or None.

    Raises:
        DeadlineError: The deadline was reached.
    """
    if (text is None) == (subject is None) or (subject is None and object is not None):
        raise InputError("give either a text, or a subject with or without an object")
    if limit < 1 or start < 0:
        raise InputError(f"limit must be at least 1 and start at least 0, got {limit} and {start}")
    names, codes = index.groups(by)
    found: list[tuple[npt.NDArray[np.int64], Places]] = []
    for shard, counted in index.counted_shards(scope):
        found.append(_found(index, shard, counted, text, subject, object, window))
        if deadline is not None:
            deadline.check()
    total = sum(len(documents) for documents, _ in found)
    page: list[FoundDocument] = []
    before = 0
    for shard, (documents, mentions) in zip(index.shards, found, strict=True):
        first = max(0, start - before)
        shown = documents[first : first + limit - len(page)].tolist() if first < len(documents) else []
        if shown and len(page) < limit:
            rows = shard.rows(shown)
            page += [
                _described(index, shard, document, row, mentions) for document, row in zip(shown, rows, strict=True)
            ]
        before += len(documents)
    end = start + len(page)
    groups: dict[str, int] | None = None
    if by is not None:
        grouped = np.zeros(len(names), np.int64)
        for (documents, _), values in zip(found, codes, strict=True):
            grouped += np.bincount(values[documents], minlength=len(names))
        groups = dict(zip(names, grouped.tolist(), strict=True))
    following = end if page and end < total else None
    return DocumentsAnswer(index.name, index.analyzer.label, page, total, following, True, by, groups)


def documents_with(
    index: OpenedIndex, ids: Sequence[int], most: int, *, scope: Scope = EVERY_DOCUMENT
) -> list[FoundDocument]:
    """Return the first documents that contain a token sequence, at most ``most``, with passages."""
    page: list[FoundDocument] = []
    for shard, counted in index.counted_shards(scope):
        if len(page) >= most:
            break
        documents, places = _found_tokens(shard, ids, counted)
        shown = documents[: most - len(page)].tolist()
        for document, row in zip(shown, shard.rows(shown), strict=True):
            page.append(_described(index, shard, document, row, places))
    return page


#: A kind of mention, and the sorted start and end positions of these mentions.
Place = tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64]]
Places = list[Place]


def _found(
    index: OpenedIndex,
    shard: Shard,
    counted: Mask,
    text: str | None,
    subject: Entity | str | None,
    object: Entity | str | None,
    window: int | None,
) -> tuple[npt.NDArray[np.int64], Places]:
    if text is not None:
        ids = index.token_ids(text)
        return (np.zeros(0, np.int64), []) if ids is None else _found_tokens(shard, ids, counted)
    assert subject is not None
    if object is None:
        found = shard.mentions(index.forms(subject), counted)
        return np.unique(found.documents), [("subject", found.starts, found.ends)]
    windows = check_windows([] if window is None else [window])
    subjects, objects = (shard.mentions(index.forms(entity), counted) for entity in (subject, object))
    documents, pairs = count_pairs(subjects, objects, windows)
    return documents[pairs[:, -1] > 0], [
        ("subject", subjects.starts, subjects.ends),
        ("object", objects.starts, objects.ends),
    ]


def _found_tokens(shard: Shard, ids: Sequence[int], counted: Mask) -> tuple[npt.NDArray[np.int64], Places]:
    found = shard.mentions([ids], counted, overlapping=True)
    return np.unique(found.documents), [("text", found.starts, found.ends)]


def _described(index: OpenedIndex, shard: Shard, document: int, row: dict[str, Any], places: Places) -> FoundDocument:
    begin, end = shard.document_span(document)
    inside = []
    for what, starts, ends in places:
        first, last = np.searchsorted(starts, [begin, end])
        inside.append((what, starts[first:last], ends[first:last]))
    pair = _closest_pair(*inside) if len(inside) == 2 else []
    mentions = list(pair)
    for what, starts, ends in inside:
        found = zip(starts[:MOST_MENTIONS].tolist(), ends[:MOST_MENTIONS].tolist(), strict=True)
        mentions += [(s, e, what) for s, e in found if all(e <= low or high <= s for low, high, _ in pair)]
    mentions.sort()
    return FoundDocument(
        document=shard.first_document + document,
        id=row.get("id"),
        source=row.get("source"),
        path=row.get("path"),
        record=row.get("record"),
        metadata=_parsed(row.get("metadata")),
        tokens=end - begin,
        passages=[_passage(index, shard, *stretch) for stretch in _stretches(mentions, pair, begin, end)],
    )


def _closest_pair(subject: Place, object: Place) -> list[Mention]:
    """Return the closest subject and object mentions of one document that share no token."""
    (subject_name, starts, ends), (object_name, other_starts, other_ends) = subject, object
    best: tuple[int, int, int] | None = None
    behind = np.searchsorted(other_starts, ends)
    before = np.searchsorted(other_ends, starts, side="right") - 1
    for i in range(len(starts)):
        for j in (int(behind[i]), int(before[i])):
            if 0 <= j < len(other_starts):
                gap = int(max(other_starts[j] - ends[i], starts[i] - other_ends[j]))
                best = min(best or (gap, i, j), (gap, i, j))
    if best is None:  # counted documents always have a pair
        raise IndexFormatError(
            "the mentions in a document are out of order; check the index with 'factcensus index verify'"
        )
    _, i, j = best
    return [
        (int(starts[i]), int(ends[i]), subject_name),
        (int(other_starts[j]), int(other_ends[j]), object_name),
    ]


def _parsed(metadata: str | None) -> dict[str, Any]:
    parsed = parse_line((metadata or "{}").encode(errors="replace"), exact=True)
    return parsed if isinstance(parsed, dict) else {"raw": metadata}


def _stretches(
    mentions: Sequence[Mention], pair: Sequence[Mention], begin: int, end: int
) -> list[tuple[int, int, list[Mention]]]:
    """Return ranges of the document around its mentions, merged if they touch; those of the pair come first."""
    stretches: list[tuple[int, int, list[Mention]]] = []
    for mention in mentions:
        low, high = max(begin, mention[0] - CONTEXT_TOKENS), min(end, mention[1] + CONTEXT_TOKENS)
        if stretches and low <= stretches[-1][1]:
            last = stretches[-1]
            stretches[-1] = (last[0], max(last[1], high), [*last[2], mention])
        else:
            stretches.append((low, high, [mention]))
    best = sorted(stretches, key=lambda stretch: not any(mention in stretch[2] for mention in pair))
    return sorted(best[:MOST_PASSAGES])


def _passage(index: OpenedIndex, shard: Shard, low: int, high: int, mentions: Sequence[Mention]) -> Passage:
    """Split a range into spans; their joined texts give the text of the range."""
    pieces: list[tuple[int, int, str | None]] = []
    at = low
    for start, end, what in mentions:
        if start < at:  # inside a mention of the other entity
            continue
        pieces += [(at, start, None), (start, end, what)]
        at = end
    pieces = [piece for piece in [*pieces, (at, high, None)] if piece[1] > piece[0]]
    gap = " " if index.analyzer.has_vocabulary else ""  # the characters between words are not stored
    spans: Passage = []
    for i, (first, last, label) in enumerate(pieces):
        text = index.text(shard.tokens(first, last).tolist())
        if label is None:
            text = (gap if i else "") + text + (gap if i + 1 < len(pieces) else "")
        elif gap and spans and spans[-1].mention is not None:
            spans.append(Span(gap, None))
        spans.append(Span(text, label))
    return spans
