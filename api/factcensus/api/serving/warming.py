"""Before its first user, an index is asked by the service itself: that compiles code and reads the files' beginnings.

And counts of so few rows that they are over before a thread would have taken them: a warm index is asked for those at
once, by the event loop. An index that had to wait for the disk is asked by threads again for a while.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from time import monotonic
from typing import TypeVar
from weakref import WeakKeyDictionary

from factcensus.indexer import CountIndex, Limit
from factcensus.indexer.errors import EmptyQueryError
from factcensus.indexer.warm_up import ask_everything

log = logging.getLogger("factcensus.api")
Answer = TypeVar("Answer")
#: Tokens of the first documents of which the rarest are asked for.
TOKENS = 64
#: Documents of an index whose counts by source are asked for as well: that reads the whole document table.
FEW_DOCUMENTS = 1_000_000
#: Rows of the suffix array that are counted in far less than a millisecond.
FEW_ROWS = 4096
#: Searches for them.
FEW_SEARCHES = 32
#: Seconds for which an index that waited for the disk is left to threads.
COLD_S = 1.0
_WHO = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


def _rare_words(index: CountIndex) -> list[str]:
    """Words, or other tokens, that can be asked for, the rarest first, out of the first documents."""
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
    return sum(high - low for shard in index.shards for low, high in map(shard.find, forms))


class ShortCounts:
    """Answers counts of few rows at once; only those of indexes that are warm."""

    def __init__(self) -> None:
        #: Of the warm indexes: from when on.
        self._from: WeakKeyDictionary[CountIndex, float] = WeakKeyDictionary()

    def warm_up(self, index: CountIndex, limit: Limit) -> None:
        """Ask an index every kind of question about two of its rarer words; what goes wrong is for the log."""
        started = monotonic()
        try:
            words = _rare_words(index)
            if len(words) > 1:
                about = index.info()
                by = "source" if about["sources"] and about["documents"] <= FEW_DOCUMENTS else None
                ask_everything(index, words[0], words[1], alias=words[-1], by=by, limit=limit)
        except Exception as error:  # whoever asks is told; a service that starts must not stop over it
            log.warning("index %r could not be warmed up: %s", index.name, error)
        else:
            log.info("index %r is warm, after %.1f s", index.name, monotonic() - started)
            self._from[index] = monotonic()

    def answer(
        self, index: CountIndex, forms: Callable[[], Sequence[Sequence[int]]], count: Callable[[Limit], Answer]
    ) -> Answer | None:
        """What ``count`` gives if it looks at few rows, those of the token sequences; else None: ask a thread."""
        if self._from.get(index, float("inf")) > monotonic():
            return None
        waits = resource.getrusage(_WHO).ru_majflt
        wanted = forms()
        few = len(wanted) * len(index.shards) <= FEW_SEARCHES and _rows(index, wanted) <= FEW_ROWS
        answer = count(Limit()) if few else None
        if resource.getrusage(_WHO).ru_majflt > waits:
            self._from[index] = monotonic() + COLD_S
        return answer
