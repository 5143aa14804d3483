"""The search for strings: candidates from the index, each verified in its original text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from factcensus.indexer.arrays import Mask, Numbers
from factcensus.indexer.counting.deadline import Deadline
from factcensus.indexer.counting.scope import Scope
from factcensus.indexer.counting.strings import StringQuery
from factcensus.indexer.errors import RequestLimitError
from factcensus.indexer.kernels.pairs import Mentions
from factcensus.indexer.storage.manifest import keeps_no_text

if TYPE_CHECKING:
    from factcensus.indexer.counting.searchable import SearchableIndex
    from factcensus.indexer.storage.shard import Shard


@dataclass
class StringHits:
    """The documents of one shard with the strings of a query.

    Attributes:
        shard: The shard.
        documents: Their numbers in the shard, in ascending order.
        occurrences: The number of strings in each.
        mentions: If the texts were not verified, the mentions of all token sequences.
    """

    shard: Shard
    documents: Numbers
    occurrences: Numbers
    mentions: Mentions | None = None


@dataclass
class StringSearch:
    """The result of a search.

    Attributes:
        hits: By shard.
        verified: Whether the strings were found in the original texts; otherwise only their token sequences.
        searched: Number of documents whose texts were searched, and ``of`` the number of those to search.
        complete: Whether no document can be missing: the search was not stopped, and all candidates were known.
    """

    hits: list[StringHits] = field(default_factory=list)
    verified: bool = True
    searched: int = 0
    of: int = 0
    complete: bool = True


def check_text(index: SearchableIndex, query: StringQuery) -> bool:
    """Return whether the original texts can be read.

    Raises:
        InputError: They cannot, but the query needs them.
    """
    if query.needs_text and not index.keeps_text:
        raise keeps_no_text(index.name)
    return index.keeps_text


def search_strings(
    index: SearchableIndex, query: StringQuery, scope: Scope, deadline: Deadline | None = None
) -> StringSearch:
    """Find the documents with the strings of a query.

    A search of all documents returns what it found by the deadline, or by the limit of reads of an index at a URL.
    Other searches raise an error then.

    Raises:
        InputError: The index keeps no text, but the query needs it; or it is at a URL and needs too many reads.
        DeadlineError: The deadline was reached.
    """
    deadline = deadline or Deadline()
    verified = check_text(index, query)
    if query.forms is None:
        shards = index.counted_shards(scope)
    else:
        forms = query.forms
        shards = index.asked_shards(lambda: forms, scope, deadline=deadline)
    return search_shards(index, query, shards, deadline, verified=verified)


def search_shards(
    index: SearchableIndex,
    query: StringQuery,
    shards: Sequence[tuple[Shard, Mask]],
    deadline: Deadline,
    *,
    verified: bool,
) -> StringSearch:
    """Run :func:`search_strings` in these shards, and in the documents of these masks."""
    found = StringSearch(verified=verified, complete=query.complete)
    wanted: list[tuple[Shard, Numbers]] = []
    for shard, counted in shards:
        if query.forms is None:
            candidates = np.flatnonzero(counted) if len(counted) else np.arange(shard.documents)
        else:
            mentions = shard.mentions(query.forms, counted) if query.forms else _nothing()
            deadline.check()
            candidates, numbers = np.unique(mentions.documents, return_counts=True)
            if not verified:
                found.hits.append(StringHits(shard, candidates, numbers.astype(np.int64), mentions))
                continue
        found.of += len(candidates)
        wanted.append((shard, candidates.astype(np.int64)))
    every = query.forms is None
    for (shard, numbers), texts in zip(wanted, index.read_texts(wanted, every=every, deadline=deadline), strict=True):
        found.hits.append(_verified(query, shard, numbers, texts, deadline, found))
    if query.forms is None:
        found.complete = found.complete and found.searched == found.of
    return found


def _verified(
    query: StringQuery,
    shard: Shard,
    candidates: Numbers,
    texts: Iterator[bytes],
    deadline: Deadline,
    found: StringSearch,
) -> StringHits:
    """Return the candidates whose texts have a string, and add their number to ``found.searched``."""
    documents: list[int] = []
    occurrences: list[int] = []
    # If a limit ends a search of all texts, there are fewer texts than candidates.
    for document, content in zip(candidates.tolist(), _allowed(texts, every=query.forms is None), strict=False):
        if query.forms is not None:
            deadline.check()
        elif deadline.flag[0]:
            break
        found.searched += 1
        if not query.in_bytes(content):
            continue
        # The number of matches of a pattern is not needed, and there may be very many.
        number = 1 if query.forms is None else len(query.spans(content.decode(errors="replace")))
        if number:
            documents.append(document)
            occurrences.append(number)
    return StringHits(shard, np.array(documents, np.int64), np.array(occurrences, np.int64))


def _allowed(texts: Iterator[bytes], *, every: bool) -> Iterator[bytes]:
    """Yield texts; a search of every text ends at the limit of reads of an index at a URL."""
    try:
        yield from texts
    except RequestLimitError:
        if not every:
            raise


def _nothing() -> Mentions:
    nothing = np.zeros(0, np.int64)
    return Mentions(nothing, nothing, nothing)
