"""Exact counts of texts, entities and their co-occurrence in an open index.

Shards are independent, because matches never span documents and documents never span shards. So every count is the sum
over the shards.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from factcensus.indexer.answers import (
    CooccurrenceAnswer,
    CooccurrenceCounts,
    CountAnswer,
    EntityCounts,
    GroupCounts,
    IndexInfo,
    MentionCounts,
    NameVariant,
    TextCounts,
)
from factcensus.indexer.arrays import TokenIds
from factcensus.indexer.counting import completion, passages
from factcensus.indexer.counting import trace as tracing
from factcensus.indexer.counting.deadline import NO_DEADLINE, Deadline
from factcensus.indexer.counting.fact_counts import count_pairs
from factcensus.indexer.counting.quick_pair import count_quickly
from factcensus.indexer.counting.scope import EVERY_DOCUMENT, Scope, column_of
from factcensus.indexer.counting.steps import cumulated
from factcensus.indexer.counting.string_search import search_strings
from factcensus.indexer.counting.strings import string_query
from factcensus.indexer.description import describe
from factcensus.indexer.errors import InputError
from factcensus.indexer.kernels.forms import forms_of_entities
from factcensus.indexer.kernels.pairs import check_windows
from factcensus.indexer.opened import OpenedIndex
from factcensus.indexer.records import Entity, as_entity, clean_text
from factcensus.indexer.records import texts as strings
from factcensus.indexer.tables.arrow import ArrowTable

if TYPE_CHECKING:
    from factcensus.indexer.remote.cost import Estimate
    from factcensus.indexer.tables.facts import Facts


class CountIndex(OpenedIndex):
    """An index folder opened read-only; queries are thread-safe.

    >>> with CountIndex.open("indexes/wiki") as index:
    ...     index.count("Paris").documents
    """

    def info(self) -> IndexInfo:
        """Return the properties of the index."""
        return describe(self)

    def count(
        self,
        text: str,
        *,
        verbatim: bool = False,
        by: str | None = None,
        scope: Scope = EVERY_DOCUMENT,
        deadline: Deadline | None = None,
    ) -> CountAnswer:
        """Count the occurrences of a text, including overlapping ones, and the documents that contain it.

        Args:
            text: A text, split into tokens like the corpus.
            verbatim: Count only occurrences of the text exactly as it is written, and not as part of a longer word,
                number or address; the index must keep the original texts.
            by: ``source`` or another column of the document table, or a metadata field (nested: ``a.b``); adds the same
                numbers for each value. ``step:1000`` counts as of every 1,000th training step, after :meth:`use_order`.
            scope: The documents to count.
            deadline: Stops a count that takes too long.

        Raises:
            EmptyQueryError: The text has no tokens.
            DeadlineError: The deadline was reached.
        """
        text = clean_text(text)  # the text as counted, which can be printed
        tokens = self.analyzer.tokens(text)
        if verbatim:
            return self._count_verbatim(text, tokens, by, scope, deadline)
        ids = self.ids_of(text, tokens)
        if by is not None:
            names, grouped = self._count_by(ids, by, scope, deadline or Deadline())
            occurrences, documents = grouped.sum(axis=0).tolist()
            names, grouped = cumulated(by, names, grouped, axis=0)
            groups = {name: TextCounts(*counts) for name, counts in zip(names, grouped.tolist(), strict=True)}
            return CountAnswer(self.name, self.analyzer.label, text, tokens, occurrences, documents, True, by, groups)
        stop = NO_DEADLINE if deadline is None else deadline.flag
        column = column_of(scope)
        # Checks the condition even if there is nothing to count.
        shards = (
            self.asked_shards(lambda: [ids], scope, stored=True, deadline=deadline)
            if ids
            else self.counted_shards(scope)
        )
        occurrences = documents = 0
        if ids:
            for shard, counted in shards:
                more_occurrences, more_documents = shard.count(ids, counted, column, stop)
                occurrences += more_occurrences
                documents += more_documents
        if deadline is not None:
            deadline.check()
        return CountAnswer(self.name, self.analyzer.label, text, tokens, occurrences, documents, True)

    def _count_verbatim(
        self, text: str, tokens: list[str], by: str | None, scope: Scope, deadline: Deadline | None
    ) -> CountAnswer:
        query = string_query(self, text, verbatim=True)
        assert query is not None
        names, codes = self.groups(by)
        search = search_strings(self, query, scope, deadline)
        occurrences = sum(int(hits.occurrences.sum()) for hits in search.hits)
        documents = sum(len(hits.documents) for hits in search.hits)
        groups = None
        if by is not None:
            grouped = np.zeros((len(names), 2), np.int64)
            for hits, values in zip(search.hits, codes, strict=True):
                np.add.at(grouped[:, 0], values[hits.documents], hits.occurrences)
                np.add.at(grouped[:, 1], values[hits.documents], 1)
            names, grouped = cumulated(by, names, grouped, axis=0)
            groups = {name: TextCounts(*counts) for name, counts in zip(names, grouped.tolist(), strict=True)}
        label, exact = self.analyzer.label, search.complete
        return CountAnswer(self.name, label, text, tokens, occurrences, documents, exact, by, groups, verbatim=True)

    def _count_by(
        self, ids: TokenIds | None, by: str, scope: Scope, deadline: Deadline
    ) -> tuple[list[str], npt.NDArray[np.int64]]:
        names, codes = self.groups(by)
        grouped = np.zeros((len(names), 2), np.int64)
        shards = self.asked_shards(lambda: [ids] if ids else [], scope, deadline=deadline)
        for (shard, counted), groups in zip(shards, codes, strict=True):
            if ids:
                shard.count_groups(ids, counted, groups, deadline.flag, grouped)
            deadline.check()
        return names, grouped

    def count_many(
        self, texts: Sequence[str], *, scope: Scope = EVERY_DOCUMENT, deadline: Deadline | None = None
    ) -> npt.NDArray[np.int64]:
        """Run :meth:`count` for many texts and return int64 (texts, 2): occurrences and documents of each text.

        Raises:
            EmptyQueryError: One of the texts has no tokens.
        """
        ngrams = [self.token_ids(text) or () for text in strings(texts, "texts")]
        return self.count_ngrams(ngrams, scope=scope, deadline=deadline)

    def count_ngrams(
        self, ngrams: Sequence[Sequence[int]], *, scope: Scope = EVERY_DOCUMENT, deadline: Deadline | None = None
    ) -> npt.NDArray[np.int64]:
        """Return occurrences and documents of many token sequences, int64 (n-grams, 2); 0 for an empty sequence.

        Raises:
            InputError: An id is negative, too large for the index, or the id that separates documents.
        """
        deadline = deadline or Deadline()
        tokens, starts = self._flat_ngrams(ngrams)
        counts = np.zeros((len(ngrams), 2), np.int64)
        for shard, counted in self.asked_shards(lambda: ngrams, scope, stored=True, deadline=deadline):
            shard.count_all(tokens, starts, counted, column_of(scope), deadline.flag, counts)
            deadline.check()
        return counts

    def _flat_ngrams(self, ngrams: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        starts = np.zeros(len(ngrams) + 1, np.int64)
        if any(isinstance(ngram, (str, bytes)) or not hasattr(ngram, "__len__") for ngram in ngrams):
            raise TypeError("n-grams must be a list of lists of token ids; use count_many for texts")
        np.cumsum(np.fromiter(map(len, ngrams), np.int64, len(ngrams)), out=starts[1:])
        tokens = np.fromiter(map(operator.index, chain.from_iterable(ngrams)), np.int64, int(starts[-1]))
        separator = min((int(np.iinfo(shard.token_dtype).max) for shard in self.shards), default=0xFFFFFFFF)
        for outside in (tokens.min(initial=0), tokens.max(initial=0)):
            if outside == separator:
                raise InputError(
                    f"the id {separator} is not a token: it separates documents; give ids from 0 to {separator - 1}"
                )
            if not 0 <= outside <= separator:
                raise InputError(f"token ids of this index must be from 0 to {separator - 1}, got {outside}")
        return tokens.astype(np.uint32), starts

    def cooccurrence(
        self,
        subject: Entity | str,
        object: Entity | str,
        *,
        window: int | None = None,
        by: str | None = None,
        scope: Scope = EVERY_DOCUMENT,
        deadline: Deadline | None = None,
    ) -> CooccurrenceAnswer:
        """Count the mentions of two entities, and the documents and pairs in which they co-occur.

        Args:
            subject: Name and aliases; a string is a name without aliases.
            object: The other entity, likewise.
            window: Maximum number of tokens strictly between two mentions; None for the whole document.
            by: Adds the same numbers for each value of a column; see :meth:`count`.
            scope: The documents to count.
            deadline: Stops a count that takes too long.
        """
        subject, object = as_entity(subject), as_entity(object)
        windows = check_windows([] if window is None else [window])
        pair = self.forms(subject), self.forms(object)
        names: list[str] = []
        found: npt.NDArray[np.int64] | None = None  # (groups, 6)
        if by is None and window is None:
            stop = NO_DEADLINE if deadline is None else deadline.flag
            found = count_quickly(self.counted_shards(scope), *pair, column_of(scope), stop)
            if deadline is not None:
                deadline.check()
        if found is None:
            forms = forms_of_entities(pair)
            names, counts = count_pairs(
                self, forms, np.array([0]), np.array([1]), windows, by=by, scope=scope, deadline=deadline
            )
            # The last window is the requested one, if any.
            found = np.concatenate([counts.subjects[0], counts.objects[0], counts.together[0, :, -1]], axis=1)
        six = found.sum(axis=0).tolist()
        names, found = cumulated(by, names, found, axis=0)
        return CooccurrenceAnswer(
            self.name,
            self.analyzer.label,
            self._described(subject, *six[:2]),
            self._described(object, *six[2:4]),
            CooccurrenceCounts(*six[4:]),
            window=None if window is None else int(window),
            exact=True,
            by=by,
            groups=None
            if by is None
            else {name: _group(*row) for name, row in zip(names, found.tolist(), strict=True)},
        )

    def count_facts(
        self,
        facts: Facts,
        *,
        windows: Sequence[int] = (),
        by: str | None = None,
        scope: Scope = EVERY_DOCUMENT,
        deadline: Deadline | None = None,
        threads: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> ArrowTable:
        """Count every fact of a table; see :func:`factcensus.indexer.tables.counts.count_facts`."""
        from factcensus.indexer.tables.counts import count_facts

        return count_facts(
            self, facts, windows=windows, by=by, scope=scope, deadline=deadline, threads=threads, progress=progress
        )

    def estimate(self, facts: Facts) -> Estimate | None:
        """Estimate the reads for counting a table of facts in an index at a URL; None for a local folder."""
        del facts
        return None

    @property
    def no_completions(self) -> str | None:
        """The reason why :meth:`complete` does not work in this index; None if it works."""
        return completion.no_completions(self)

    find_documents = passages.find_documents
    trace = tracing.trace
    complete = completion.complete

    def _described(self, entity: Entity, mentions: int, documents: int) -> EntityCounts:
        names = (entity.name, *entity.aliases)
        variants = getattr(self.analyzer, "variants", None)  # only sub-word tokenizers have them
        return EntityCounts(
            entity.name,
            list(entity.aliases),
            [self.analyzer.tokens(form) for form in names],
            mentions,
            documents,
            variants=variants
            and [NameVariant(each.form, each.text, self.words(each.ids)) for name in names for each in variants(name)],
        )


def _group(*six: int) -> GroupCounts:
    """Return six counts by name: mentions and documents of subject and object, documents and pairs of both."""
    return GroupCounts(MentionCounts(*six[:2]), MentionCounts(*six[2:4]), CooccurrenceCounts(*six[4:]))
