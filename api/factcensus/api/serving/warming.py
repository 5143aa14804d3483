"""Warm-up of indexes before the first request, which compiles code and reads the beginnings of the files.

A warm index also answers counts of few rows directly in the event loop, since starting a thread would take longer. If
an index had to wait for the disk, its counts run in threads again for a while.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from time import monotonic
from typing import TypeVar
from weakref import WeakKeyDictionary

from factcensus.indexer import CountIndex, Deadline
from factcensus.indexer.counting.scope import EVERY_DOCUMENT, column_of
from factcensus.indexer.errors import EmptyQueryError
from factcensus.indexer.warm_up import ask_everything

log = logging.getLogger("factcensus.api")
Answer = TypeVar("Answer")
#: Tokens of the first documents, of which the rarest are counted.
TOKENS = 64
#: Maximum documents of an index for which counts by source are warmed up too; that reads the whole document table.
FEW_DOCUMENTS = 1_000_000
#: Rows of the suffix array that take far less than a millisecond to count.
FEW_ROWS = 4096
#: Maximum number of searches for these rows.
FEW_SEARCHES = 32
#: Seconds for which an index that waited for the disk is counted in threads.
COLD_S = 1.0
_WHO = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


def _rare_words(index: CountIndex) -> list[str]:
    """Return countable words (or other tokens) of the first documents, rarest first."""
    rows: dict[str, int] = {}
    for token in islice(_first_tokens(index), TOKENS):
        text = index.text([token])
        try:
            ids = index.token_ids(text)
        except EmptyQueryError:
            continue
        if ids:
            rows.setdefault(text, _rows(index, [ids]))
    return sorted(rows, key=rows.__getitem__)


def _first_tokens(index: CountIndex) -> Iterable[int]:
    for shard in index.shards:
        for document in range(min(shard.documents, TOKENS)):
            begin, end = shard.document_span(document)
            yield from shard.tokens(begin, min(end, begin + TOKENS)).tolist()


def _rows(index: CountIndex, forms: Sequence[Sequence[int]]) -> int:
    return sum(rows for shard in index.shards for rows in map(shard.most_occurrences, forms))


def _visited_rows(index: CountIndex, forms: Sequence[Sequence[int]]) -> int:
    """Return an upper bound of the rows visited to count texts in all documents."""
    column = column_of(EVERY_DOCUMENT)
    return sum(shard.most_visited(form, mask, column) for shard, mask in index.counted_shards() for form in forms)


class ShortCounts:
    """Answers counts of few rows directly, for warm indexes only."""

    def __init__(self) -> None:
        #: The time from which each warm index may be used.
        self._from: WeakKeyDictionary[CountIndex, float] = WeakKeyDictionary()

    def warm_up(self, index: CountIndex, deadline: Deadline) -> None:
        """Run every kind of query with two of the rarer words of an index; log failures."""
        if index.usage() is not None:  # at a URL, where no count is fast enough for the event loop
            return
        if index.manifest is None and index.digest is not None:
            return  # its slices are served, and warmed up, elsewhere
        started = monotonic()
        try:
            words = _rare_words(index)
            if len(words) > 1:
                about = index.info()
                by = "source" if about.sources and about.documents <= FEW_DOCUMENTS else None
                ask_everything(index, words[0], words[1], alias=words[-1], by=by, deadline=deadline)
        except Exception as error:  # real queries report the error; it must not stop the start of the service
            log.warning("index %r could not be warmed up: %s", index.name, error)
        else:
            log.info("index %r is warm, after %.1f s", index.name, monotonic() - started)
            self._from[index] = monotonic()

    def answer(
        self,
        index: CountIndex,
        forms: Callable[[], Sequence[Sequence[int]]],
        count: Callable[[Deadline], Answer],
        *,
        of_text: bool = False,
    ) -> Answer | None:
        """Return the result of ``count`` if the token sequences have few rows; otherwise None, to use a thread.

        Args:
            index: The index.
            forms: Returns the token sequences.
            count: Counts them in all documents.
            of_text: Whether only their occurrences and documents are counted, which the index stores if they are many.
        """
        if self._from.get(index, float("inf")) > monotonic():
            return None
        waits = resource.getrusage(_WHO).ru_majflt
        wanted = forms()
        few = len(wanted) * len(index.shards) <= FEW_SEARCHES and (
            (of_text and _visited_rows(index, wanted) <= FEW_ROWS) or _rows(index, wanted) <= FEW_ROWS
        )
        answer = count(Deadline()) if few else None
        if resource.getrusage(_WHO).ru_majflt > waits:
            self._from[index] = monotonic() + COLD_S
        return answer
