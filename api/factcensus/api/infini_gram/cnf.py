"""Exact counts of co-occurrence: what AND and OR mean here, whatever the order, the shards, or the frequency.

**Definition.** An occurrence of a clause is a position where one of its terms starts, so a term that is there twice,
or that another term begins, adds nothing. Occurrences of several clauses *hang together* when they are in one document
and, in the order of the text, each starts at most ``max_diff_tokens`` tokens after the one before (occurrences may
overlap, and 0 is a distance). The count is the number of occurrences of the rarest clause that hang together with one
occurrence of every other clause. The rarest clause has the fewest occurrences in the whole index; of several such
clauses, that with the smaller count.

This is what the public API documents ("adjacent clauses are separated by no more than max_diff_tokens"), freed of what
its engine makes of it: there the rarest clause is that of each shard and the first of equals, a pair is lost when
another document's text is near, repeated terms are counted repeatedly, clauses with more than ``max_clause_freq``
occurrences are sampled, and three clauses depend on their order. Here ``max_clause_freq`` only bounds how many pointers
are listed, and the answer is never approximate.

**Cost.** Linear in the occurrences of the rarest clause. Of each other clause either all occurrences are read, or the
text around those of the rarest clause, whichever is less; memory is bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.api.infini_gram.tokens import Cnf, Ngram
from factcensus.indexer import CountIndex, Limit
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.ngrams import Mask
from factcensus.indexer.kernels.search import Array, find, mark_documents
from factcensus.indexer.storage.shard import Shard

#: Occurrences of the rarest clause that are looked at together.
CHUNK_ROWS = 1 << 20
#: Occurrences of another clause that are read as a whole, at most: half a gibibyte of positions.
MOST_ROWS = 1 << 26
#: Cost of a row of the table (read and sorted, or taken to its document) in tokens of text that are read through.
TOKENS_PER_ROW = 16

Ranges = list[tuple[int, int]]


@dataclass(frozen=True)
class Found:
    """Occurrences of the rarest clause that hang together with the others, of one shard.

    Attributes:
        shard: its number in the index.
        begins: where what hangs together begins: the occurrence, or the nearest one of another clause before it, of
            those at most ``max_diff_tokens`` away.
        documents: the document of each.
    """

    shard: int
    begins: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]


@dataclass
class Counted:
    """What was counted.

    Attributes:
        count: see the module.
        document_count: documents with an occurrence of every clause, at any distance.
        near_document_count: documents with one that was counted.
        found: the first places, as many as were asked for.
    """

    count: int = 0
    document_count: int = 0
    near_document_count: int = 0
    found: list[Found] = field(default_factory=list)


def rows_of(shard: Shard, ngram: Ngram) -> tuple[int, int]:
    """The range of the suffix array for token ids; unlike ``Shard.find`` also for what begins with a separator."""
    if -1 in ngram:
        return 0, 0
    if ngram and ngram[0] == 256**shard.token_bytes - 1:
        query = np.array(ngram, shard.token_dtype).view(np.uint8)
        none = np.zeros(0, np.uint32)
        low, high = find(shard.suffix_array._replace(first=none, types=0), query)
        return int(low), int(high)
    return shard.find(ngram)


def occurrences(index: CountIndex, ngram: Ngram, limit: Limit) -> int:
    """How often token ids stand in the documents that are counted."""
    return sum(
        _occurrences(shard, counted, [rows_of(shard, ngram)], limit)
        for shard, counted in zip(index.shards, index.counted(), strict=True)
    )


def count_cnf(index: CountIndex, cnf: Cnf, max_diff_tokens: int, limit: Limit, *, most: int = 0) -> Counted:
    """Count clauses together.

    Args:
        index: opened.
        cnf: clauses of terms of token ids; a term with an id -1 stands nowhere.
        max_diff_tokens: see the module.
        limit: stops a count that takes too long.
        most: keep so many of the places where they are.

    Raises:
        DeadlineError: the limit was reached.
    """
    clauses = sorted(map(_distinct, cnf), key=lambda clause: [(len(term), term) for term in clause])
    ranges = [[[rows_of(shard, term) for term in clause] for shard in index.shards] for clause in clauses]
    masks = index.counted()
    totals = [
        sum(_occurrences(shard, mask, rows, limit) for shard, mask, rows in zip(index.shards, masks, each, strict=True))
        for each in ranges
    ]
    best: Counted | None = None
    for anchor in [i for i, total in enumerate(totals) if total == min(totals)]:
        counted = Counted()
        if totals[anchor]:
            others = sorted((i for i in range(len(clauses)) if i != anchor), key=totals.__getitem__)
            for number, (shard, mask) in enumerate(zip(index.shards, masks, strict=True)):
                here = [(clauses[i], ranges[i][number]) for i in (anchor, *others)]
                _count_shard(number, shard, mask, here, max_diff_tokens, limit, counted, most)
        if best is None or counted.count < best.count:
            best = counted
    assert best is not None, "a query has a clause"
    return best


def _distinct(clause: Sequence[Ngram]) -> list[Ngram]:
    """The terms, without those that another one begins: where they stand, that one does."""
    terms = sorted({tuple(term) for term in clause if -1 not in term}, key=lambda term: (len(term), term))
    kept: list[tuple[int, ...]] = []
    for term in terms:
        if not any(term[: len(other)] == other for other in kept):
            kept.append(term)
    return [[*term] for term in kept]


def _occurrences(shard: Shard, counted: Mask, ranges: Ranges, limit: Limit) -> int:
    if not len(counted):
        return sum(high - low for low, high in ranges)
    return sum(int(counted[shard.documents_of(rows)].sum()) for rows in _chunks(shard, ranges, limit))


def _chunks(shard: Shard, ranges: Ranges, limit: Limit) -> Iterator[npt.NDArray[np.int64]]:
    """The positions of some ranges of the table, a bounded number at a time."""
    for low, high in ranges:
        for start in range(low, high, CHUNK_ROWS):
            limit.check()
            yield shard.positions(start, min(high, start + CHUNK_ROWS))


def _count_shard(
    number: int,
    shard: Shard,
    counted: Mask,
    clauses: Sequence[tuple[list[Ngram], Ranges]],
    max_diff_tokens: int,
    limit: Limit,
    total: Counted,
    most: int,
) -> None:
    """Add one shard's counts; the first of the clauses is the rarest of the index."""
    if any(all(low == high for low, high in ranges) for _, ranges in clauses):
        return
    together, near = np.zeros(shard.documents, np.bool_), np.zeros(shard.documents, np.bool_)
    others = [_Clause(shard, terms, ranges) for terms, ranges in clauses[1:]]
    listed = sum(len(found.begins) for found in total.found)
    for anchors in _anchors(shard, clauses[0][1], limit):
        documents = shard.documents_of(anchors)
        candidates = np.unique(documents[counted[documents]] if len(counted) else documents)
        for clause in others:
            candidates = candidates[clause.stands_in(candidates, limit)]
        together[candidates] = True
        kept = np.isin(documents, candidates)
        anchors, documents = anchors[kept], documents[kept]
        begins = _begins(shard, anchors, documents, others, max_diff_tokens, limit)
        hits = begins >= 0
        total.count += int(hits.sum())
        near[documents[hits]] = True
        if listed < most:
            total.found.append(Found(number, begins[hits][: most - listed], documents[hits][: most - listed]))
            listed += len(total.found[-1].begins)
    total.document_count += int(together.sum())
    total.near_document_count += int(near.sum())


def _anchors(shard: Shard, ranges: Ranges, limit: Limit) -> Iterator[npt.NDArray[np.int64]]:
    """The occurrences of the rarest clause, a bounded number at a time; all of them in order where they are few."""
    if sum(high - low for low, high in ranges) <= CHUNK_ROWS:
        yield np.sort(np.concatenate([shard.positions(low, high) for low, high in ranges]))
    else:
        yield from map(np.sort, _chunks(shard, ranges, limit))


def _begins(
    shard: Shard,
    anchors: npt.NDArray[np.int64],
    documents: npt.NDArray[np.int64],
    others: Sequence[_Clause],
    max_diff_tokens: int,
    limit: Limit,
) -> npt.NDArray[np.int64]:
    """Where what hangs together with each anchor begins; -1 where nothing does."""
    found = np.full(len(anchors), -1, np.int64)
    if not len(anchors):
        return found
    first, last = _spans(shard, documents)
    reach = max_diff_tokens * len(others)
    around = np.maximum(first, anchors - reach), np.minimum(last, anchors + reach + 1)
    positions = [clause.positions(*around, limit) for clause in others]
    starts = np.cumsum([0, *map(len, positions)], dtype=np.int64)
    joined = np.concatenate([*positions, np.zeros(0, np.int64)])
    _hang_together(anchors, first, last, joined, starts, max_diff_tokens, limit.flag, found)
    limit.check()
    return found


def _spans(shard: Shard, documents: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where documents begin, at their separators, and end."""
    starts = shard.document_starts
    following = np.minimum(documents + 1, len(starts) - 1)
    return starts[documents], np.where(documents + 1 < len(starts), starts[following], shard.size)


class _Clause:
    """A clause that is not the rarest, in one shard."""

    def __init__(self, shard: Shard, terms: Sequence[Ngram], ranges: Ranges) -> None:
        self._shard = shard
        self._ranges = ranges
        self._rows = sum(high - low for low, high in ranges)
        self._lengths = np.array([len(term) for term in terms], np.int64)
        self._terms = np.array([token for term in terms for token in term], shard.token_dtype)
        self._everywhere: npt.NDArray[np.int64] | None = None
        self._marked: npt.NDArray[np.bool_] | None = None

    def stands_in(self, documents: npt.NDArray[np.int64], limit: Limit) -> npt.NDArray[np.bool_]:
        """Whether each document has an occurrence."""
        shard = self._shard
        begins, ends = _spans(shard, documents)
        if self._marked is None and self._rows * TOKENS_PER_ROW <= int((ends - begins).sum()):
            self._marked = np.zeros(shard.documents, np.bool_)
            for low, high in self._ranges:
                for start in range(low, high, CHUNK_ROWS):
                    limit.check()
                    mark_documents(shard.suffix_rows, start, min(high, start + CHUNK_ROWS), self._marked)
        if self._marked is not None:
            return self._marked[documents]
        found = np.zeros(len(documents), np.bool_)
        _scan_documents(shard.ids, begins, ends, self._terms, self._lengths, limit.flag, found)
        limit.check()
        return found

    def positions(
        self, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], limit: Limit
    ) -> npt.NDArray[np.int64]:
        """Occurrences in order, at least all those in the stretches [begin, end), which come in order."""
        shard = self._shard
        if self._everywhere is None and self._rows <= MOST_ROWS:
            covered = int((ends - begins).sum())
            if self._rows * TOKENS_PER_ROW <= covered:
                rows = [shard.positions(low, high) for low, high in self._ranges]
                self._everywhere = np.sort(np.concatenate(rows))
        if self._everywhere is not None:
            return self._everywhere
        # Stretches overlap where the rarest clause is dense; each token is read once.
        first = np.append(True, begins[1:] > np.maximum.accumulate(ends)[:-1])
        joined = begins[first], np.maximum.reduceat(ends, np.flatnonzero(first))
        found = np.empty(int((joined[1] - joined[0]).sum()), np.int64)
        size = _scan(shard.ids, *joined, self._terms, self._lengths, limit.flag, found)
        limit.check()
        return found[:size]


@compiled()
def _term_at(ids: Array, at: Any, terms: Array, lengths: Array) -> Any:
    """Whether one of the terms starts at a position."""
    first = 0
    for term in range(lengths.size):
        length = lengths[term]
        if at + length <= ids.size:
            i = 0
            while i < length and ids[at + i] == terms[first + i]:
                i += 1
            if i == length:
                return True
        first += length
    return False


@compiled()
def _scan(ids: Array, begins: Array, ends: Array, terms: Array, lengths: Array, stop: Array, found: Array) -> Any:
    """Put the positions in the stretches where a term starts into ``found``; their number."""
    size = 0
    for stretch in range(begins.size):
        if stop[0]:
            break
        for at in range(begins[stretch], ends[stretch]):
            if _term_at(ids, at, terms, lengths):
                found[size] = at
                size += 1
    return size


@compiled()
def _scan_documents(
    ids: Array, begins: Array, ends: Array, terms: Array, lengths: Array, stop: Array, found: Array
) -> None:
    """Set ``found`` for the stretches in which a term starts."""
    for stretch in range(begins.size):
        if stop[0]:
            break
        for at in range(begins[stretch], ends[stretch]):
            if _term_at(ids, at, terms, lengths):
                found[stretch] = True
                break


@compiled()
def _not_before(positions: Array, low: Any, high: Any, wanted: Any) -> Any:
    """The first of ``positions[low:high]``, which are in order, that is not before ``wanted``."""
    while low < high:
        middle = (low + high) // 2
        if positions[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@compiled()
def _hang_together(
    anchors: Array, begins: Array, ends: Array, positions: Array, starts: Array, distance: int, stop: Array,
    found: Array,
) -> None:  # fmt: skip
    """Where what hangs together with each anchor begins (see :class:`Found`), -1 for an anchor with which nothing does.

    A stretch of text that begins and ends with chosen occurrences grows by one clause at a time, to either side and
    as far as may be: a shorter step could reach nothing that the longer one cannot, since whatever lies between is in
    the stretch. It is complete when every clause that is left has an occurrence inside.

    Args:
        anchors: positions, with where their documents begin and end.
        positions: of the other clauses, clause ``i`` at ``starts[i]:starts[i + 1]``, in order.
        distance: max_diff_tokens.
        found: int64, as many as anchors.
    """
    others = starts.size - 1
    # More states than can wait at once: each of at most 2 * others steps leaves its siblings behind.
    waiting_lefts = np.empty(2 * others * others + 1, np.int64)
    waiting_rights = np.empty(2 * others * others + 1, np.int64)
    waiting_sets = np.empty(2 * others * others + 1, np.int64)
    for i in range(anchors.size):
        if (i & 1023) == 0 and stop[0]:
            return
        anchor, begin, end = anchors[i], begins[i], ends[i]
        waiting_lefts[0], waiting_rights[0], waiting_sets[0] = anchor, anchor, (1 << others) - 1
        waiting = 1
        complete = False
        while waiting:
            waiting -= 1
            left, right, left_out = waiting_lefts[waiting], waiting_rights[waiting], waiting_sets[waiting]
            complete = True
            for j in range(others):
                if left_out >> j & 1:
                    at = _not_before(positions, starts[j], starts[j + 1], left)
                    if at == starts[j + 1] or positions[at] > right:
                        complete = False
                        break
            if complete:
                break
            for j in range(others):
                if not left_out >> j & 1:
                    continue
                at = _not_before(positions, starts[j], starts[j + 1], max(begin, left - distance))
                if at < starts[j + 1] and positions[at] < left:
                    waiting_lefts[waiting], waiting_rights[waiting] = positions[at], right
                    waiting_sets[waiting] = left_out & ~(1 << j)
                    waiting += 1
                at = _not_before(positions, starts[j], starts[j + 1], min(end, right + distance + 1)) - 1
                if at >= starts[j] and positions[at] > right:
                    waiting_lefts[waiting], waiting_rights[waiting] = left, positions[at]
                    waiting_sets[waiting] = left_out & ~(1 << j)
                    waiting += 1
        found[i] = -1
        if complete:
            found[i] = anchor
            for j in range(others):
                at = _not_before(positions, starts[j], starts[j + 1], anchor + 1) - 1
                if at >= starts[j] and positions[at] >= max(begin, anchor - distance):
                    found[i] = min(found[i], positions[at])
