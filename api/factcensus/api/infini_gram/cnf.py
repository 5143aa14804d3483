"""Exact counts of clauses with AND and OR, independent of their order, of the shards and of frequencies.

**Definition.** An occurrence of a clause is a position where one of its terms starts, so a repeated term, or a term
that starts with another term, adds nothing. Occurrences of several clauses are *linked* if they are in one document
and, in the order of the text, each starts at most ``max_diff_tokens`` tokens after the previous one (occurrences may
overlap, and the distance may be 0). The count is the number of occurrences of the rarest clause that are linked with an
occurrence of every other clause. The rarest clause has the fewest occurrences in the whole index; among several such
clauses, the smaller count is used.

This follows the documentation of the public API ("adjacent clauses are separated by no more than max_diff_tokens"). Its
engine differs: it chooses the rarest clause per shard, and the first of equals; it loses pairs near the text of another
document; it counts repeated terms repeatedly; it samples clauses with more than ``max_clause_freq`` occurrences; and
with three clauses the count depends on their order. Here ``max_clause_freq`` only limits the number of listed pointers,
and counts are never approximate.

**Cost.** Linear in the occurrences of the rarest clause. For each other clause, either all its occurrences are read or
the text around those of the rarest clause, whichever is less. Memory is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.api.infini_gram.terms import CHUNK_ROWS, Term, chunks, term_in
from factcensus.api.infini_gram.tokens import Cnf, Ngram
from factcensus.indexer import CountIndex, Deadline
from factcensus.indexer.arrays import Mask
from factcensus.indexer.counting.scope import EVERY_DOCUMENT, column_of
from factcensus.indexer.kernels.linking import Anchors, Positions, link, scan, scan_documents
from factcensus.indexer.storage.compact_shard import CompactShard
from factcensus.indexer.storage.shard import Shard
from factcensus.indexer.storage.suffix_shard import SuffixArrayShard

#: Maximum occurrences of another clause that are read as a whole: half a gibibyte of positions.
MOST_ROWS = 1 << 26
#: Cost of one row of the suffix array (reading and sorting it, or finding its document) in tokens of text scanned.
TOKENS_PER_ROW = 16


@dataclass(frozen=True)
class Found:
    """Occurrences of the rarest clause in one shard that are linked with the other clauses.

    Attributes:
        shard: Number of the shard in the index.
        begins: Start of each linked group: the occurrence itself, or an earlier occurrence of another clause at most
            ``max_diff_tokens`` before it (the nearest one per clause).
        documents: The document of each occurrence.
    """

    shard: int
    begins: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]


@dataclass
class Counted:
    """The counts of a query.

    Attributes:
        count: The count defined in the module docstring.
        document_count: Documents with an occurrence of every clause, at any distance.
        near_document_count: Documents with a counted occurrence.
        found: The first counted occurrences, as many as requested.
    """

    count: int = 0
    document_count: int = 0
    near_document_count: int = 0
    found: list[Found] = field(default_factory=list)


def occurrences(index: CountIndex, ngram: Ngram, deadline: Deadline) -> int:
    """Return how often token ids occur in the documents that are not deleted.

    Raises:
        InputError: The index is at a URL.
    """
    return sum(
        shard.count(ngram, counted, column_of(EVERY_DOCUMENT), deadline.flag)[0]
        if isinstance(shard, CompactShard) and ngram and -1 not in ngram
        else _occurrences(shard, counted, [term_in(shard, ngram)], deadline)
        for shard, counted in zip(index.local_shards, index.counted(), strict=True)
    )


def count_cnf(index: CountIndex, cnf: Cnf, max_diff_tokens: int, deadline: Deadline, *, most: int = 0) -> Counted:
    """Count clauses together.

    Args:
        index: The open index.
        cnf: Clauses of terms of token ids; a term with an id -1 never occurs.
        max_diff_tokens: Maximum distance, see the module docstring.
        deadline: Stops a count that takes too long.
        most: Maximum number of occurrences to keep.

    Raises:
        DeadlineError: The timeout was reached.
        InputError: The index is at a URL.
    """
    clauses = sorted(map(_distinct, cnf), key=lambda clause: [(len(term), term) for term in clause])
    found = [[[term_in(shard, term) for term in clause] for shard in index.local_shards] for clause in clauses]
    masks = index.counted()
    totals = [
        sum(
            _occurrences(shard, mask, terms, deadline)
            for shard, mask, terms in zip(index.shards, masks, each, strict=True)
        )
        for each in found
    ]
    best: Counted | None = None
    for anchor in [i for i, total in enumerate(totals) if total == min(totals)]:
        counted = Counted()
        if totals[anchor]:
            others = sorted((i for i in range(len(clauses)) if i != anchor), key=totals.__getitem__)
            for number, (shard, mask) in enumerate(zip(index.shards, masks, strict=True)):
                here = [(clauses[i], found[i][number]) for i in (anchor, *others)]
                _count_shard(number, shard, mask, here, max_diff_tokens, deadline, counted, most)
        if best is None or counted.count < best.count:
            best = counted
    assert best is not None, "a query needs at least one clause"
    return best


def _distinct(clause: Sequence[Ngram]) -> list[Ngram]:
    """Return the terms without those that start with another term, which always occur together with it."""
    terms = sorted({tuple(term) for term in clause if -1 not in term}, key=lambda term: (len(term), term))
    kept: list[tuple[int, ...]] = []
    for term in terms:
        if not any(term[: len(other)] == other for other in kept):
            kept.append(term)
    return [[*term] for term in kept]


def _occurrences(shard: Shard, counted: Mask, terms: Sequence[Term], deadline: Deadline) -> int:
    if not len(counted):
        return sum(term.size for term in terms)
    return sum(int(counted[shard.documents_of(found)].sum()) for term in terms for found in chunks(term, deadline))


def _count_shard(
    number: int,
    shard: Shard,
    counted: Mask,
    clauses: Sequence[tuple[list[Ngram], list[Term]]],
    max_diff_tokens: int,
    deadline: Deadline,
    total: Counted,
    most: int,
) -> None:
    """Add the counts of one shard; the first clause is the rarest in the index."""
    if not all(any(term.size for term in terms) for _, terms in clauses):
        return
    together, near = np.zeros(shard.documents, np.bool_), np.zeros(shard.documents, np.bool_)
    others = [_Clause(shard, ngrams, terms) for ngrams, terms in clauses[1:]]
    listed = sum(len(found.begins) for found in total.found)
    for anchors in _anchors(clauses[0][1], deadline):
        documents = shard.documents_of(anchors)
        candidates = np.unique(documents[counted[documents]] if len(counted) else documents)
        for clause in others:
            candidates = candidates[clause.occurs_in(candidates, deadline)]
        together[candidates] = True
        kept = np.isin(documents, candidates)
        anchors, documents = anchors[kept], documents[kept]
        begins = _begins(shard, anchors, documents, others, max_diff_tokens, deadline)
        hits = begins >= 0
        total.count += int(hits.sum())
        near[documents[hits]] = True
        if listed < most:
            total.found.append(Found(number, begins[hits][: most - listed], documents[hits][: most - listed]))
            listed += len(total.found[-1].begins)
    total.document_count += int(together.sum())
    total.near_document_count += int(near.sum())


def _anchors(terms: Sequence[Term], deadline: Deadline) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the occurrences of the rarest clause, a bounded number at a time; all in order if they are few."""
    if sum(term.size for term in terms) <= CHUNK_ROWS:
        yield _in_order(terms)
    else:
        yield from (np.sort(found) for term in terms for found in chunks(term, deadline))


def _in_order(terms: Sequence[Term]) -> npt.NDArray[np.int64]:
    return np.sort(np.concatenate([term.positions(0, term.size) for term in terms]))


def _begins(
    shard: Shard,
    anchors: npt.NDArray[np.int64],
    documents: npt.NDArray[np.int64],
    others: Sequence[_Clause],
    max_diff_tokens: int,
    deadline: Deadline,
) -> npt.NDArray[np.int64]:
    """Return the start of the linked group of each anchor, or -1 for an anchor without one."""
    found = np.full(len(anchors), -1, np.int64)
    if not len(anchors):
        return found
    first, last = shard.document_spans(documents)
    reach = max_diff_tokens * len(others)
    around = np.maximum(first, anchors - reach), np.minimum(last, anchors + reach + 1)
    positions = [clause.positions(*around, deadline) for clause in others]
    starts = np.cumsum([0, *map(len, positions)], dtype=np.int64)
    joined = np.concatenate([*positions, np.zeros(0, np.int64)])
    link(Anchors(anchors, first, last), Positions(joined, starts), max_diff_tokens, deadline.flag, found)
    deadline.check()
    return found


class _Clause:
    """A clause other than the rarest, in one shard."""

    def __init__(self, shard: Shard, ngrams: Sequence[Ngram], terms: Sequence[Term]) -> None:
        self._shard, self._terms = shard, terms
        self._rows = sum(term.size for term in terms)
        #: The text, if reading it may be cheaper than reading all occurrences.
        self._text: npt.NDArray[Any] | None = shard.ids if isinstance(shard, SuffixArrayShard) else None
        self._lengths = np.array([len(ngram) for ngram in ngrams], np.int64)
        self._tokens = np.array([token for ngram in ngrams for token in ngram], shard.token_dtype)
        self._everywhere: npt.NDArray[np.int64] | None = None
        self._marked: npt.NDArray[np.bool_] | None = None

    def occurs_in(self, documents: npt.NDArray[np.int64], deadline: Deadline) -> npt.NDArray[np.bool_]:
        """Return whether the clause occurs in each document."""
        shard = self._shard
        begins, ends = shard.document_spans(documents)
        if self._marked is None and self._pays(begins, ends):
            self._marked = np.zeros(shard.documents, np.bool_)
            for term in self._terms:
                for found in chunks(term, deadline):
                    self._marked[shard.documents_of(found)] = True
        if self._marked is not None:
            return self._marked[documents]
        assert self._text is not None
        occurs = np.zeros(len(documents), np.bool_)
        scan_documents(self._text, begins, ends, self._tokens, self._lengths, deadline.flag, occurs)
        deadline.check()
        return occurs

    def _pays(self, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> bool:
        """Return whether reading all occurrences is cheaper than reading these ranges of the text."""
        return self._text is None or self._rows * TOKENS_PER_ROW <= int((ends - begins).sum())

    def positions(
        self, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], deadline: Deadline
    ) -> npt.NDArray[np.int64]:
        """Return occurrences in order, at least all those in the ranges [begin, end), which must be in order."""
        if self._everywhere is None and (self._text is None or (self._rows <= MOST_ROWS and self._pays(begins, ends))):
            self._everywhere = _in_order(self._terms)
        if self._everywhere is not None:
            return self._everywhere
        assert self._text is not None
        # Ranges overlap if the rarest clause is dense; each token is read once.
        first = np.append(True, begins[1:] > np.maximum.accumulate(ends)[:-1])
        joined = begins[first], np.maximum.reduceat(ends, np.flatnonzero(first))
        found = np.empty(int((joined[1] - joined[0]).sum()), np.int64)
        size = scan(self._text, *joined, self._tokens, self._lengths, deadline.flag, found)
        deadline.check()
        return found[:size]
