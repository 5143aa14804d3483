"""Documents that contain a text or a pair of entities, with passages around the mentions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    from factcensus.indexer.arrays import TokenIds
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
    wanted = _Wanted.of(index, text, subject, object, window)
    asked = index.asked_shards(lambda: wanted.ngrams, scope, deadline=deadline)
    found: list[tuple[npt.NDArray[np.int64], Places]] = []
    for shard, counted in asked:
        found.append(wanted.find(shard, counted))
        if deadline is not None:
            deadline.check()
    total = sum(len(documents) for documents, _ in found)
    page: list[FoundDocument] = []
    before = 0
    for (shard, _), (documents, mentions) in zip(asked, found, strict=True):
        first = max(0, start - before)
        shown = documents[first : first + limit - len(page)].tolist() if first < len(documents) else []
        if shown and len(page) < limit:
            page += _described(index, shard, shown, mentions)
        before += len(documents)
    end = start + len(page)
    groups: dict[str, int] | None = None
    if by is not None:
        grouped = np.zeros(len(names), np.int64)
        for (documents, _), values in zip(found, codes, strict=True):
            grouped += np.bincount(values[documents], minlength=len(names))
        groups = dict(zip(names, grouped.tolist(), strict=True))
    following = end if page and end < total else None
    return DocumentsAnswer(index.name, index.analyzer.label, page, total, following, True, by=by, groups=groups)


def documents_with(
    index: OpenedIndex, ids: Sequence[int], most: int, *, scope: Scope = EVERY_DOCUMENT
) -> list[FoundDocument]:
    """Return the first documents that contain a token sequence, at most ``most``, with passages."""
    wanted = _Wanted([[tuple(ids)]], check_windows([]))
    page: list[FoundDocument] = []
    for shard, counted in index.asked_shards(lambda: wanted.ngrams, scope):
        if len(page) >= most:
            break
        documents, places = wanted.find(shard, counted)
        page += _described(index, shard, documents[: most - len(page)].tolist(), places)
    return page


#: A kind of mention, and the sorted start and end positions of these mentions.
Place = tuple[str, npt.NDArray[np.int64], npt.NDArray[np.int64]]
Places = list[Place]


@dataclass(frozen=True)
class _Wanted:
    """The documents to find: those with a text, or with mentions of two entities.

    Attributes:
        forms: The token sequences of the text, or of each entity; a text with an unknown token has none.
        windows: For a pair, the window, if any.
        kinds: The kind of mention of each.
    """

    forms: Sequence[Sequence[TokenIds]]
    windows: npt.NDArray[np.int64]
    kinds: tuple[str, ...] = ("text",)

    @classmethod
    def of(
        cls,
        index: OpenedIndex,
        text: str | None,
        subject: Entity | str | None,
        object: Entity | str | None,
        window: int | None,
    ) -> _Wanted:
        """Look up the token ids of the text or the entities to find."""
        windows = check_windows([] if window is None else [window])
        if text is not None:
            ids = index.token_ids(text)
            return cls([[] if ids is None else [ids]], windows)
        entities = [entity for entity in (subject, object) if entity is not None]
        return cls([index.forms(entity) for entity in entities], windows, kinds=("subject", "object")[: len(entities)])

    @property
    def ngrams(self) -> list[TokenIds]:
        """All token sequences."""
        return [form for forms in self.forms for form in forms]

    def find(self, shard: Shard, counted: Mask) -> tuple[npt.NDArray[np.int64], Places]:
        """Return the documents in one shard, and the mentions in them."""
        if len(self.forms) == 1:
            if not self.forms[0]:
                return np.zeros(0, np.int64), []
            found = shard.mentions(self.forms[0], counted, overlapping=self.kinds == ("text",))
            return np.unique(found.documents), [(self.kinds[0], found.starts, found.ends)]
        subjects, objects = (shard.mentions(forms, counted) for forms in self.forms)
        documents, pairs = count_pairs(subjects, objects, self.windows)
        return documents[pairs[:, -1] > 0], [
            ("subject", subjects.starts, subjects.ends),
            ("object", objects.starts, objects.ends),
        ]


def _described(index: OpenedIndex, shard: Shard, documents: Sequence[int], places: Places) -> list[FoundDocument]:
    """Return some documents of a shard with their passages."""
    starts, ends = shard.document_spans(np.array(documents, np.int64))
    spans = list(zip((starts + 1).tolist(), ends.tolist(), strict=True))
    shown = [_stretches(*_mentions_in(places, begin, end), begin, end) for begin, end in spans]
    parts = [(low, high) for stretches in shown for low, high, _ in stretches]
    texts = iter(shard.token_parts(parts) if parts else [])
    rows = shard.rows(documents)
    return [
        FoundDocument(
            document=shard.first_document + document,
            id=row.get("id"),
            source=row.get("source"),
            path=row.get("path"),
            record=row.get("record"),
            metadata=_parsed(row.get("metadata")),
            tokens=end - begin,
            passages=[_passage(index, next(texts), *stretch) for stretch in stretches],
        )
        for document, row, (begin, end), stretches in zip(documents, rows, spans, shown, strict=True)
    ]


def _mentions_in(places: Places, begin: int, end: int) -> tuple[list[Mention], list[Mention]]:
    """Return the mentions to highlight in a document, and the closest pair of two entities among them."""
    inside = []
    for what, starts, ends in places:
        first, last = np.searchsorted(starts, [begin, end])
        inside.append((what, starts[first:last], ends[first:last]))
    pair = _closest_pair(*inside) if len(inside) == 2 else []
    mentions = list(pair)
    for what, starts, ends in inside:
        found = zip(starts[:MOST_MENTIONS].tolist(), ends[:MOST_MENTIONS].tolist(), strict=True)
        mentions += [(s, e, what) for s, e in found if all(e <= low or high <= s for low, high, _ in pair)]
    return sorted(mentions), pair


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


def _passage(
    index: OpenedIndex, ids: npt.NDArray[np.integer[Any]], low: int, high: int, mentions: Sequence[Mention]
) -> Passage:
    """Split the range [low, high) with the tokens ``ids`` into spans; their joined texts give its text."""
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
        text = index.text(ids[first - low : last - low].tolist())
        if label is None:
            text = (gap if i else "") + text + (gap if i + 1 < len(pieces) else "")
        elif gap and spans and spans[-1].mention is not None:
            spans.append(Span(gap, None))
        spans.append(Span(text, label))
    return spans
