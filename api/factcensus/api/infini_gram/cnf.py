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

import numpy as np
import numpy.typing as npt

from factcensus.api.infini_gram.linking import Anchors, Positions, link, scan, scan_documents
from factcensus.api.infini_gram.tokens import Cnf, Ngram
from factcensus.indexer import CountIndex, Deadline
from factcensus.indexer.arrays import Mask
from factcensus.indexer.kernels.search import find, mark_documents
from factcensus.indexer.storage.suffix_shard import SuffixArrayShard

#: Occurrences of the rarest clause processed together.
CHUNK_ROWS = 1 << 20
#: Maximum occurrences of another clause that are read as a whole: half a gibibyte of positions.
MOST_ROWS = 1 << 26
#: Cost of one row of the suffix array (reading and sorting it, or finding its document) in tokens of text scanned.
TOKENS_PER_ROW = 16

Ranges = list[tuple[int, int]]


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


def rows_of(shard: SuffixArrayShard, ngram: Ngram) -> tuple[int, int]:
    """Return the suffix array range of token ids; unlike ``SuffixArrayShard.find``, they may start with a separator."""
    if -1 in ngram:
        return 0, 0
    if ngram and ngram[0] == 256**shard.token_bytes - 1:
        query = np.array(ngram, shard.token_dtype).view(np.uint8)
        none = np.zeros(0, np.uint32)
        low, high = find(shard.suffix_array._replace(first=none, types=0), query)
        return int(low), int(high)
    return shard.find(ngram)


def occurrences(index: CountIndex, ngram: Ngram, deadline: Deadline) -> int:
    """Return how often token ids occur in the documents that are not deleted."""
    return sum(
        _occurrences(shard, counted, [rows_of(shard, ngram)], deadline)
        for shard, counted in zip(index.suffix_arrays, index.counted(), strict=True)
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
    """
    clauses = sorted(map(_distinct, cnf), key=lambda clause: [(len(term), term) for term in clause])
    ranges = [[[rows_of(shard, term) for term in clause] for shard in index.suffix_arrays] for clause in clauses]
    masks = index.counted()
    totals = [
        sum(
            _occurrences(shard, mask, rows, deadline)
            for shard, mask, rows in zip(index.suffix_arrays, masks, each, strict=True)
        )
        for each in ranges
    ]
    best: Counted | None = None
    for anchor in [i for i, total in enumerate(totals) if total == min(totals)]:
        counted = Counted()
        if totals[anchor]:
            others = sorted((i for i in range(len(clauses)) if i != anchor), key=totals.__getitem__)
            for number, (shard, mask) in enumerate(zip(index.suffix_arrays, masks, strict=True)):
                here = [(clauses[i], ranges[i][number]) for i in (anchor, *others)]
                _count_shard(number, shard, mask, here, max_diff_tokens, deadline, counted, most)
        if best is None or counted.count < best.count:
            best = counted
    assert best is not None, "a query has at least one clause"
    return best


def _distinct(clause: Sequence[Ngram]) -> list[Ngram]:
    """Return the terms without those that start with another term, which always occur together with it."""
    terms = sorted({tuple(term) for term in clause if -1 not in term}, key=lambda term: (len(term), term))
    kept: list[tuple[int, ...]] = []
    for term in terms:
        if not any(term[: len(other)] == other for other in kept):
            kept.append(term)
    return [[*term] for term in kept]


def _occurrences(shard: SuffixArrayShard, counted: Mask, ranges: Ranges, deadline: Deadline) -> int:
    if not len(counted):
        return sum(high - low for low, high in ranges)
    return sum(int(counted[shard.documents_of(rows)].sum()) for rows in _chunks(shard, ranges, deadline))


def _chunks(shard: SuffixArrayShard, ranges: Ranges, deadline: Deadline) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the positions of ranges of the suffix array, a bounded number at a time."""
    for low, high in ranges:
        for start in range(low, high, CHUNK_ROWS):
            deadline.check()
            yield shard.positions(start, min(high, start + CHUNK_ROWS))


def _count_shard(
    number: int,
    shard: SuffixArrayShard,
    counted: Mask,
    clauses: Sequence[tuple[list[Ngram], Ranges]],
    max_diff_tokens: int,
    deadline: Deadline,
    total: Counted,
    most: int,
) -> None:
    """Add the counts of one shard; the first clause is the rarest in the index."""
    if any(all(low == high for low, high in ranges) for _, ranges in clauses):
        return
    together, near = np.zeros(shard.documents, np.bool_), np.zeros(shard.documents, np.bool_)
    others = [_Clause(shard, terms, ranges) for terms, ranges in clauses[1:]]
    listed = sum(len(found.begins) for found in total.found)
    for anchors in _anchors(shard, clauses[0][1], deadline):
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


def _anchors(shard: SuffixArrayShard, ranges: Ranges, deadline: Deadline) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the occurrences of the rarest clause, a bounded number at a time; all in order if they are few."""
    if sum(high - low for low, high in ranges) <= CHUNK_ROWS:
        yield np.sort(np.concatenate([shard.positions(low, high) for low, high in ranges]))
    else:
        yield from map(np.sort, _chunks(shard, ranges, deadline))


def _begins(
    shard: SuffixArrayShard,
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

    def __init__(self, shard: SuffixArrayShard, terms: Sequence[Ngram], ranges: Ranges) -> None:
        self._shard = shard
        self._ranges = ranges
        self._rows = sum(high - low for low, high in ranges)
        self._lengths = np.array([len(term) for term in terms], np.int64)
        self._terms = np.array([token for term in terms for token in term], shard.token_dtype)
        self._everywhere: npt.NDArray[np.int64] | None = None
        self._marked: npt.NDArray[np.bool_] | None = None

    def occurs_in(self, documents: npt.NDArray[np.int64], deadline: Deadline) -> npt.NDArray[np.bool_]:
        """Return whether the clause occurs in each document."""
        shard = self._shard
        begins, ends = shard.document_spans(documents)
        if self._marked is None and self._rows * TOKENS_PER_ROW <= int((ends - begins).sum()):
            self._marked = np.zeros(shard.documents, np.bool_)
            for low, high in self._ranges:
                for start in range(low, high, CHUNK_ROWS):
                    deadline.check()
                    mark_documents(shard.suffix_rows, start, min(high, start + CHUNK_ROWS), self._marked)
        if self._marked is not None:
            return self._marked[documents]
        found = np.zeros(len(documents), np.bool_)
        scan_documents(shard.ids, begins, ends, self._terms, self._lengths, deadline.flag, found)
        deadline.check()
        return found

    def positions(
        self, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], deadline: Deadline
    ) -> npt.NDArray[np.int64]:
        """Return occurrences in order, at least all those in the ranges [begin, end), which must be in order."""
        shard = self._shard
        if self._everywhere is None and self._rows <= MOST_ROWS:
            covered = int((ends - begins).sum())
            if self._rows * TOKENS_PER_ROW <= covered:
                rows = [shard.positions(low, high) for low, high in self._ranges]
                self._everywhere = np.sort(np.concatenate(rows))
        if self._everywhere is not None:
            return self._everywhere
        # Ranges overlap if the rarest clause is dense; each token is read once.
        first = np.append(True, begins[1:] > np.maximum.accumulate(ends)[:-1])
        joined = begins[first], np.maximum.reduceat(ends, np.flatnonzero(first))
        found = np.empty(int((joined[1] - joined[0]).sum()), np.int64)
        size = scan(shard.ids, *joined, self._terms, self._lengths, deadline.flag, found)
        deadline.check()
        return found[:size]
