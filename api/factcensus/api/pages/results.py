"""The results of the page at ``/``: counts, figures, documents, and the comparison with another index."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from operator import add
from typing import Any

import numpy as np

from factcensus.api.bodies import scope_of
from factcensus.api.cursors import cursors_of
from factcensus.api.limits import check_entity, check_groups, check_text
from factcensus.api.pages.asking import Question
from factcensus.api.pages.figures import Figure
from factcensus.api.pages.plots import Trend, bars, compared, trend
from factcensus.api.settings import Limits
from factcensus.indexer import CountIndex, Deadline
from factcensus.indexer.answers import CooccurrenceAnswer, CountAnswer, FoundDocument, IndexInfo
from factcensus.indexer.counting.scope import Scope
from factcensus.indexer.counting.years import year_of
from factcensus.indexer.tables.description import common_share

#: Documents per page.
SHOWN = 5
#: Maximum rows by source; the other sources are summed up in one row.
MOST_ROWS = 25
#: Up to this number of documents, the trend is shown without being asked for: the dates of all documents are read once.
DATED_AT_ONCE = 2_000_000
#: Fields that usually have the date of a document, from the best; ``added`` is when it came into the collection.
DATE_FIELDS = ("created", "date", "published", "publication_date", "timestamp", "year", "updated", "modified", "added")
#: In fewer documents, a large share does not mean that a name is a common word.
_MANY_DOCUMENTS = 1000
_DATE = re.compile(r"[12][0-9]{3}-[01][0-9](-[0-3][0-9].*)?")


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table of counts by column value.

    Attributes:
        value: The value; None in the row that sums up ``others`` values.
        numbers: Documents, occurrences; or documents with both, pairs, then documents and mentions of each entity.
    """

    value: str | None
    numbers: tuple[int, ...]
    others: int = 0


@dataclass(frozen=True, slots=True)
class Compared:
    """One line of a comparison: a number in each index, and the number per million documents or tokens."""

    name: str
    numbers: tuple[int, int]
    rates: tuple[float, float]
    unit: str


def results_of(
    index: CountIndex, other: CountIndex | None, question: Question, limits: Limits, deadline: Deadline
) -> dict[str, Any]:
    """Return the context of the template for a question."""
    # An index that infini-gram built has no sources, so its page does not show them.
    by = (question.by or None) if index.manifest is not None or index.digest is not None else None
    check_groups(index, by, limits)
    asked = _Asked(question, limits, deadline)
    cursors = cursors_of(index, question.documents_body())
    start = cursors.start(question.cursor) if question.cursor else 0
    answer = asked.counted(index, by)
    found = asked.found(index, start)
    cursor = cursors.next_of(found)
    info = index.info()
    field = question.dates or date_field(found.documents)
    dated = bool(question.dates) or (field is not None and info.documents <= DATED_AT_ONCE)
    figures, rows = _by_value(answer, by)
    counted = asked.trend(index, field) if dated and field else None
    return {
        "counted" if question.alone is not None else "answer": answer,
        "rows": rows,
        "totals": _totals(answer),
        "figures": figures,
        "trend": [] if counted is None or len(counted.years) == 1 else trend(counted, asked.subject, field or ""),
        "only_year": None if counted is None else counted.years[0],
        "date_field": field,
        "dated": dated,
        "ambiguous": asked.ambiguous(index, info.documents),
        "comparison": None if other is None else asked.compared((index, answer), other),
        "found": found,
        "start": start,
        "next_page": None if cursor is None else question.address(cursor=cursor),
    }


def date_field(documents: Sequence[FoundDocument]) -> str | None:
    """Return the metadata field with the dates of documents: a usual name first, then the first with an ISO date."""
    fields: dict[str, str] = {}
    for document in documents:
        for name, value in document.metadata.items():
            nested = value.items() if isinstance(value, dict) else ()
            for path, each in [(name, value), *((f"{name}.{key}", inside) for key, inside in nested)]:
                if isinstance(each, str | int) and not isinstance(each, bool):
                    fields.setdefault(path, str(each))
    usual = [path for name in DATE_FIELDS for path in (name, f"metadata.{name}") if year_of(fields.get(path, ""))]
    others = [name for name, value in fields.items() if re.fullmatch(r"[\w.-]+", name) and _DATE.fullmatch(value)]
    return next(iter([*usual, *sorted(others)]), None)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question with its limits, which can be put to several indexes."""

    question: Question
    limits: Limits
    deadline: Deadline

    @property
    def scope(self) -> Scope:
        return scope_of(self.question.filter)

    def counted(self, index: CountIndex, by: str | None) -> CountAnswer | CooccurrenceAnswer:
        options: dict[str, Any] = {"by": by, "scope": self.scope, "deadline": self.deadline}
        if self.question.alone is not None:
            check_text(self.question.alone, "the text", self.limits)
            return index.count(self.question.alone, **options)
        subject, object_ = self.question.entities
        check_entity(subject, "the subject", self.limits)
        check_entity(object_, "the object", self.limits)
        return index.cooccurrence(subject, object_, window=self.question.tokens_between, **options)

    def found(self, index: CountIndex, start: int) -> Any:
        options: dict[str, Any] = {"limit": SHOWN, "start": start, "scope": self.scope, "deadline": self.deadline}
        if self.question.alone is not None:
            return index.find_documents(text=self.question.alone, **options)
        subject, object_ = self.question.entities
        return index.find_documents(subject=subject, object=object_, window=self.question.tokens_between, **options)

    @property
    def subject(self) -> str:
        """The phrase that captions use for the matching documents."""
        return self.question.subject.strip() if self.question.alone is not None else "both"

    def trend(self, index: CountIndex, field: str) -> Trend | None:
        """Return the documents by year; None if no matching document has a date."""
        by = f"year:{field}"
        check_groups(index, by, self.limits)
        answer = self.counted(index, by)
        found = {name: numbers[0] for name, numbers in _numbers_by_value(answer).items()}
        names, codes = index.groups(by)
        every = np.zeros(len(names), np.int64)
        if names:  # slices of an index do not report them
            for (_, counted), values in zip(index.counted_shards(self.scope), codes, strict=True):
                chosen = values[np.flatnonzero(counted[: len(values)])] if counted.size else values
                every += np.bincount(chosen, minlength=len(names))
        years = {int(year): number for year, number in zip(names, every.tolist(), strict=True) if year and number}
        dated = {int(year): number for year, number in found.items() if year}
        return Trend(dated, years, found.get("", 0)) if any(dated.values()) else None

    def ambiguous(self, index: CountIndex, documents: int) -> list[tuple[str, str]]:
        """Return the names that may also be common words, each with the reason."""
        if documents < _MANY_DOCUMENTS:
            return []
        if self.question.alone is not None:
            names: list[str] = [self.question.alone]
        else:
            names = [name for entity in self.question.entities for name in (entity.name, *entity.aliases)]
        named = [name for name in dict.fromkeys(names) if index.analyzer.tokens(name)]
        counts = {name: index.count(name, deadline=self.deadline).documents for name in named}
        return [(name, reason) for name in named if (reason := common_share(counts[name], documents)) is not None]

    def compared(self, first: tuple[CountIndex, CountAnswer | CooccurrenceAnswer], other: CountIndex) -> dict[str, Any]:
        """Return the same numbers of two indexes, with the rates that make them comparable."""
        answers = (first[1], self.counted(other, None))
        sizes = (first[0].info(), other.info())
        lines = [_compared(name, numbers, sizes, unit) for name, unit, numbers in _lines(answers, self.question)]
        shown = [(line.name, line.rates) for line in lines if line.unit == "documents"]
        names = [index.name for index in (first[0], other)]
        analyzers = [index.analyzer.label for index in (first[0], other)]
        return {
            "names": names,
            "lines": lines,
            "sizes": sizes,
            "analyzers": analyzers if analyzers[0] != analyzers[1] else None,
            "figure": compared(shown, names, "Documents per million documents", "per million", name="comparison"),
        }


def _lines(
    answers: tuple[CountAnswer | CooccurrenceAnswer, CountAnswer | CooccurrenceAnswer], question: Question
) -> list[tuple[str, str, tuple[int, int]]]:
    """Return the name, the unit of the rate, and both values of each number."""
    totals = [_totals(answer) for answer in answers]
    if question.alone is not None:
        kinds = [("documents", "documents"), ("occurrences", "tokens")]
    else:
        one, other = question.subject.strip(), question.object.strip()
        kinds = [("documents with both", "documents"), ("pairs of mentions", "tokens")]
        kinds += [(f"documents with {one}", "documents"), (f"mentions of {one}", "tokens")]
        kinds += [(f"documents with {other}", "documents"), (f"mentions of {other}", "tokens")]
    return [(name, unit, (totals[0][n], totals[1][n])) for n, (name, unit) in enumerate(kinds)]


def _compared(name: str, numbers: tuple[int, int], sizes: tuple[IndexInfo, IndexInfo], unit: str) -> Compared:
    one, other = (1e6 * n / max(1, getattr(size, unit)) for n, size in zip(numbers, sizes, strict=True))
    return Compared(name, numbers, (one, other), unit)


def _totals(answer: CountAnswer | CooccurrenceAnswer) -> tuple[int, ...]:
    if isinstance(answer, CountAnswer):
        return answer.documents, answer.occurrences
    both, one, other = answer.cooccurrence, answer.subject, answer.object
    return both.documents, both.pairs, one.documents, one.mentions, other.documents, other.mentions


def _numbers_by_value(answer: CountAnswer | CooccurrenceAnswer) -> Mapping[str, tuple[int, ...]]:
    """Return the numbers of each value of the column; documents come first."""
    if isinstance(answer, CountAnswer):
        return {name: (each.documents, each.occurrences) for name, each in (answer.groups or {}).items()}
    return {
        name: (
            each.cooccurrence.documents,
            each.cooccurrence.pairs,
            each.subject.documents,
            each.subject.mentions,
            each.object.documents,
            each.object.mentions,
        )
        for name, each in (answer.groups or {}).items()
    }


def _by_value(answer: CountAnswer | CooccurrenceAnswer, by: str | None) -> tuple[list[Figure], list[Row]]:
    """Return the figure and the table by value, most documents first.

    Values after the first rows are summed in one row. Of a text, values without it are left out.
    """
    groups = sorted(_numbers_by_value(answer).items(), key=lambda each: (-each[1][0], each[0]))
    if isinstance(answer, CountAnswer):
        groups = [each for each in groups if each[1][0]]
    groups = groups if any(chain.from_iterable(numbers for _, numbers in groups)) else []
    rows = [Row(value, numbers) for value, numbers in groups[:MOST_ROWS]]
    if rest := [numbers for _, numbers in groups[MOST_ROWS:]]:
        summed = reduce(lambda one, other: tuple(map(add, one, other)), rest)
        rows.append(Row(None, summed, others=len(rest)))
    shown = [(value, numbers[0]) for value, numbers in groups[:MOST_ROWS] if numbers[0]]
    if len(shown) < 2 or by is None:
        return [], rows
    what = "documents" if isinstance(answer, CountAnswer) else "documents with both"
    return [bars(shown, f"{what.capitalize()} by {by}", by, name="by-value")], rows
