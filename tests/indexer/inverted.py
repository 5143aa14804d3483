"""The oracle of ``reference.py``, made fast enough for real text with an inverted index.

A form can only occur where its rarest token occurs. ``test_real_corpus.py`` checks that the numbers equal those of
``reference.fact``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from . import reference
from .reference import Document, Span, Token, Tokens


class Inverted:
    """Documents with the sorted (document, position) pairs of each token."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = documents
        self.places: dict[Token, list[tuple[int, int]]] = defaultdict(list)
        for number, document in enumerate(documents):
            for position, token in enumerate(document.tokens):
                self.places[token].append((number, position))
        self._mentions: dict[tuple[tuple[Token, ...], ...], dict[int, list[Span]]] = {}

    def occurrences(self, ngram: Tokens) -> list[tuple[int, int]]:
        """Yield every (document, position) at which the n-gram occurs."""
        ngram, n = list(ngram), len(ngram)
        rarest = min(range(n), key=lambda i: len(self.places.get(ngram[i], [])))
        found = []
        for number, position in self.places.get(ngram[rarest], []):
            start = position - rarest
            if start >= 0 and list(self.documents[number].tokens[start : start + n]) == ngram:
                found.append((number, start))
        return found

    def mentions(self, forms: Iterable[Tokens]) -> dict[int, list[Span]]:
        """Return the spans of mentions of an entity per document: leftmost-longest and non-overlapping."""
        key = tuple(tuple(form) for form in forms if form)
        if key not in self._mentions:
            candidates = sorted(
                (number, start, -len(form)) for form in set(key) for number, start in self.occurrences(form)
            )
            spans: dict[int, list[Span]] = {}
            for number, start, negative_length in candidates:
                in_document = spans.setdefault(number, [])
                if not in_document or start >= in_document[-1][1]:
                    in_document.append((start, start - negative_length))
            self._mentions[key] = spans
        return self._mentions[key]

    def fact(self, subject: Sequence[Tokens], object_: Sequence[Tokens], windows: Sequence[int]) -> dict[str, int]:
        """Return the result of ``reference.fact`` over all documents."""
        subjects, objects = self.mentions(subject), self.mentions(object_)
        numbers = {
            "subject_mentions": sum(map(len, subjects.values())),
            "object_mentions": sum(map(len, objects.values())),
            "subject_documents": len(subjects),
            "object_documents": len(objects),
        }
        both = [(subjects[number], objects[number]) for number in subjects if number in objects]
        gaps = [[reference.tokens_between(one, other) for one in s for other in o] for s, o in both]
        gaps = [[gap for gap in in_document if gap is not None] for in_document in gaps]
        for window in (None, *windows):
            suffix = "" if window is None else f"_w{window}"
            by_document = [sum(window is None or gap <= window for gap in in_document) for in_document in gaps]
            numbers["cooccurrence_documents" + suffix] = sum(n > 0 for n in by_document)
            numbers["cooccurrence_pairs" + suffix] = sum(by_document)
        return numbers
