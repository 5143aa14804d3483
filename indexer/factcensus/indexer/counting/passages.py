"""Documents that contain a text or a pair of entities, with passages around the mentions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.answers import Cut, DocumentsAnswer, FoundDocument, Passage
from factcensus.indexer.arrays import Mask
from factcensus.indexer.corpus import parse_line
from factcensus.indexer.counting.deadline import Deadline
from factcensus.indexer.counting.original import (
    Excerpts,
    Mention,
    in_characters,
    original_passages,
    passage_of,
    stretches,
)
from factcensus.indexer.counting.scope import EVERY_DOCUMENT, Scope
from factcensus.indexer.counting.string_search import StringSearch, search_strings
from factcensus.indexer.counting.strings import StringQuery, string_query
from factcensus.indexer.errors import IndexFormatError, InputError
from factcensus.indexer.kernels.pairs import check_windows, count_pairs
from factcensus.indexer.records import Entity

if TYPE_CHECKING:
    from factcensus.indexer.arrays import TokenIds
    from factcensus.indexer.counting.searchable import SearchableIndex
    from factcensus.indexer.storage.shard import Shard

#: Tokens shown on each side of a mention, if the index does not keep the text.
CONTEXT_TOKENS = 12
#: Maximum number of highlighted mentions of each kind per document.
MOST_MENTIONS = 64


def find_documents(  # noqa: PLR0913 - options, which are given by name
    index: SearchableIndex,
    *,
    text: str | None = None,
    subject: Entity | str | None = None,
    object: Entity | str | None = None,
    window: int | None = None,
    verbatim: bool = False,
    normalise: str | None = None,
    region: str | None = None,
    pattern: str | None = None,
    limit: int = 10,
    start: int = 0,
    by: str | None = None,
    scope: Scope = EVERY_DOCUMENT,
    deadline: Deadline | None = None,
) -> DocumentsAnswer:
    """Find the documents that contain a text, or mention an entity or both entities of a pair, in corpus order.

    ``verbatim`` and ``pattern`` need an index that keeps the original texts (``index build --keep-text``).

    Args:
        index: An open index.
        text: The text to find, instead of ``subject`` and ``object``.
        subject: An entity.
        object: Another entity that the documents must mention as well; see ``CountIndex.cooccurrence``.
        window: For a pair, the maximum number of tokens strictly between two mentions.
        verbatim: Find ``text`` exactly as it is written, and not as part of a longer word, number or address
            (:func:`~factcensus.indexer.counting.boundaries.is_whole`).
        normalise: Find ``text``, a number or address, in its usual spellings: ``phone``, ``email`` or ``digits``. If
            the index keeps no text, token sequences decide, and ``verified`` of the answer is false.
        region: For a phone number without a country code, its country as two letters, such as ``DE``.
        pattern: Instead of a text, a regular expression in the syntax of RE2, searched for in the texts of all
            documents of the scope. At the deadline, or at the limit of reads of an index at a URL, the answer has the
            documents found so far; it is ``exact`` if all were ``searched``.
        limit: Maximum number of documents to return.
        start: Number of documents to skip.
        by: Adds the number of documents with each value of a column; see ``CountIndex.count``.
        scope: The documents to search.
        deadline: Stops a search that takes too long, between two shards.

    Returns:
        The documents of the page; ``next`` is the ``start`` of the next page or None.

    Raises:
        DeadlineError: The deadline was reached.
        InputError: An argument is invalid, or has no effect without another one.
    """
    if [text, subject, pattern].count(None) != 2 or (subject is None and object is not None):
        raise InputError("give either a text, a pattern, or a subject with or without an object")
    if window is not None and object is None:
        raise InputError("a window limits the distance of two entities; give an object, or leave the window out")
    if limit < 1 or start < 0:
        raise InputError(f"limit must be at least 1 and start at least 0, got {limit} and {start}")
    names, codes = index.groups(by)
    query = string_query(
        index, text, verbatim=verbatim, normalise=normalise, region=region, pattern=pattern, deadline=deadline
    )
    if query is not None:
        search = search_strings(index, query, scope, deadline)
        return _string_page(index, query, search, limit, start, _Groups(by, names, codes))
    wanted = _Wanted.of(index, text, subject, object, window)
    asked = index.asked_shards(lambda: wanted.ngrams, scope, deadline=deadline)
    found: list[tuple[npt.NDArray[np.int64], Places]] = []
    for shard, counted in asked:
        found.append(wanted.find(shard, counted))
        if deadline is not None:
            deadline.check()
    shown = _shown([documents for documents, _ in found], limit, start)
    page: list[FoundDocument] = []
    for (shard, _), (_, mentions), documents in zip(asked, found, shown, strict=True):
        if documents:
            page += _described(index, shard, documents, [mentions] * len(documents))
    every = [documents for documents, _ in found]
    return _page(index, page, every, start, _Groups(by, names, codes))


@dataclass(frozen=True)
class _Groups:
    """The values of a column, and the number of each document's value; see :meth:`SearchableIndex.groups`."""

    by: str | None
    names: Sequence[str]
    codes: Sequence[npt.NDArray[np.int32]]

    def count(self, found: Sequence[npt.NDArray[np.int64]]) -> dict[str, int] | None:
        """Return the number of found documents with each value; None without a column."""
        if self.by is None:
            return None
        grouped = np.zeros(len(self.names), np.int64)
        for documents, values in zip(found, self.codes, strict=True):
            grouped += np.bincount(values[documents], minlength=len(self.names))
        return dict(zip(self.names, grouped.tolist(), strict=True))


def _shown(found: Sequence[npt.NDArray[np.int64]], limit: int, start: int) -> list[list[int]]:
    """Return the documents of a page in each shard."""
    shown, before, left = [], 0, limit
    for documents in found:
        first = max(0, start - before)
        shown.append(documents[first : first + left].tolist())
        left -= len(shown[-1])
        before += len(documents)
    return shown


def _page(
    index: SearchableIndex,
    page: list[FoundDocument],
    found: Sequence[npt.NDArray[np.int64]],
    start: int,
    groups: _Groups,
) -> DocumentsAnswer:
    total, end = sum(map(len, found)), start + len(page)
    following = end if page and end < total else None
    counted = groups.count(found)
    return DocumentsAnswer(index.name, index.analyzer.label, page, total, following, True, by=groups.by, groups=counted)


def _string_page(
    index: SearchableIndex, query: StringQuery, search: StringSearch, limit: int, start: int, groups: _Groups
) -> DocumentsAnswer:
    """Return a page of the documents with strings."""
    found = [hits.documents for hits in search.hits]
    page: list[FoundDocument] = []
    for hits, documents in zip(search.hits, _shown(found, limit, start), strict=True):
        if not documents:
            continue
        if hits.mentions is not None:
            places: Places = [("text", hits.mentions.starts, hits.mentions.ends)]
            page += _described(index, hits.shard, documents, [places] * len(documents))
            continue
        passages = []
        (texts,) = index.read_texts([(hits.shard, np.array(documents, np.int64))])
        for content in texts:
            text = content.decode(errors="replace")
            spans = query.spans(text)[:MOST_MENTIONS]
            passages.append(original_passages(text, [(begin, end, "text") for begin, end in spans]))
        starts, ends = hits.shard.document_spans(np.array(documents, np.int64))
        page += _with_rows(
            index, hits.shard, documents, list(zip((starts + 1).tolist(), ends.tolist(), strict=True)), passages
        )
    answer = _page(index, page, found, start, groups)
    if query.forms is not None:
        return replace(answer, exact=search.complete, verified=search.verified)
    return replace(answer, exact=search.complete, searched=search.searched, searched_of=search.of)


def first_documents(
    index: SearchableIndex, asked: Sequence[tuple[Shard, Mask]], ngrams: Sequence[TokenIds], most: int
) -> list[list[FoundDocument]]:
    """Return the first documents that contain each token sequence, at most ``most``, with passages.

    ``asked`` are the shards for these sequences, from :meth:`LocalReads.asked_shards`.
    """
    pages: list[list[FoundDocument]] = [[] for _ in ngrams]
    windows = check_windows([])
    for shard, counted in asked:
        found: list[tuple[int, int, Places]] = []  # a document, the number of its sequence, and where it occurs
        for number, (ngram, page) in enumerate(zip(ngrams, pages, strict=True)):
            if len(page) < most:
                documents, places = _Wanted([[ngram]], windows).find(shard, counted)
                found += [(document, number, places) for document in documents[: most - len(page)].tolist()]
        found.sort(key=lambda each: each[:2])
        described = _described(index, shard, [each[0] for each in found], [each[2] for each in found])
        for (_, number, _), document in zip(found, described, strict=True):
            pages[number].append(document)
    return pages


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
        index: SearchableIndex,
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


def _described(
    index: SearchableIndex, shard: Shard, documents: Sequence[int], places: Sequence[Places]
) -> list[FoundDocument]:
    """Return some documents of a shard, in ascending order, with passages around the mentions given for each."""
    if not documents:
        return []
    starts, ends = shard.document_spans(np.array(documents, np.int64))
    spans = list(zip((starts + 1).tolist(), ends.tolist(), strict=True))
    mentioned = [_mentions_in(each, begin, end) for each, (begin, end) in zip(places, spans, strict=True)]
    if shard.kept is None:
        passages = _token_passages(index, shard, mentioned, spans)
    else:
        (texts,) = index.read_texts([(shard, np.array(documents, np.int64))])
        passages = [
            _original(index, text.decode(errors="replace"), *mentions, begin)
            for text, mentions, (begin, _) in zip(texts, mentioned, spans, strict=True)
        ]
    return _with_rows(index, shard, documents, spans, passages)


def _with_rows(
    index: SearchableIndex,
    shard: Shard,
    documents: Sequence[int],
    spans: Sequence[tuple[int, int]],
    excerpts: Sequence[Excerpts],
) -> list[FoundDocument]:
    """Return some documents of a shard with these passages."""
    original = shard.kept is not None or index.analyzer.name == "bytes"
    return [
        FoundDocument(
            document=shard.first_document + document,
            id=row.get("id"),
            source=row.get("source"),
            path=row.get("path"),
            record=row.get("record"),
            metadata=parsed(row.get("metadata")),
            tokens=end - begin,
            original=original,
            passages=passages,
            cut=cut,
        )
        for document, row, (begin, end), (passages, cut) in zip(
            documents, shard.rows(documents), spans, excerpts, strict=True
        )
    ]


def _original(
    index: SearchableIndex, text: str, mentions: Sequence[Mention], pair: Sequence[Mention], begin: int
) -> Excerpts:
    """Return the passages of a document that begins at a position, from its text."""
    shown = in_characters(index, text, mentions, begin)
    closest = [each for mention, each in zip(mentions, shown, strict=True) if mention in pair]
    return original_passages(text, shown, closest)


def _token_passages(
    index: SearchableIndex,
    shard: Shard,
    mentioned: Sequence[tuple[Sequence[Mention], Sequence[Mention]]],
    spans: Sequence[tuple[int, int]],
) -> list[Excerpts]:
    """Return the passages of documents from their tokens."""

    def around(span: tuple[int, int], mention: Mention) -> tuple[int, int]:
        return max(span[0], mention[0] - CONTEXT_TOKENS), min(span[1], mention[1] + CONTEXT_TOKENS)

    shown = [stretches(*found, partial(around, span)) for found, span in zip(mentioned, spans, strict=True)]
    parts = [(low, high) for each in shown for low, high, _ in each]
    texts = iter(shard.token_parts(parts) if parts else [])
    gap = " " if index.analyzer.has_vocabulary else ""  # the characters between words are not stored

    def passage(low: int, high: int, mentions: Sequence[Mention]) -> Passage:
        ids = next(texts)
        return passage_of(low, high, mentions, lambda at, end: index.text(ids[at - low : end - low].tolist()), gap)

    return [
        ([passage(*stretch) for stretch in each], [Cut(low > begin, high < end) for low, high, _ in each])
        for each, (begin, end) in zip(shown, spans, strict=True)
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


def parsed(metadata: str | None) -> dict[str, Any]:
    """Return the metadata of a row of the document table as JSON values."""
    found = parse_line((metadata or "{}").encode(errors="replace"), exact=True)
    return found if isinstance(found, dict) else {"raw": metadata}
