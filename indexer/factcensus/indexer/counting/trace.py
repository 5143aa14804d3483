"""The longest spans of a text that occur in the corpus, such as parts of a model's output that it memorised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from factcensus.indexer.analyzers import nothing_left
from factcensus.indexer.answers import TraceAnswer, TracedSpan
from factcensus.indexer.counting.deadline import NO_DEADLINE, Deadline
from factcensus.indexer.counting.passages import first_documents
from factcensus.indexer.counting.scope import EVERY_DOCUMENT, Scope, column_of
from factcensus.indexer.errors import EmptyQueryError, InputError
from factcensus.indexer.records import clean_text

if TYPE_CHECKING:
    from factcensus.indexer.arrays import Mask, TokenIds
    from factcensus.indexer.counting.searchable import SearchableIndex
    from factcensus.indexer.storage.shard import Shard

#: Minimum number of tokens of a span: shorter ones occur in every large corpus.
LEAST_TOKENS = 4
#: Maximum number of tokens of a traced text.
MOST_TOKENS = 20_000

#: Maximum number of spans in an answer, longest first, and of documents shown for each.
MOST_SPANS, MOST_DOCUMENTS = 50, 3

#: Ends of spans from one start that are tested together.
PROBES = 8

Ends = tuple[int, int]


def trace(
    index: SearchableIndex,
    text: str,
    *,
    least_tokens: int = LEAST_TOKENS,
    limit: int = MOST_SPANS,
    documents: int = MOST_DOCUMENTS,
    scope: Scope = EVERY_DOCUMENT,
    deadline: Deadline | None = None,
) -> TraceAnswer:
    """Find the maximal spans of a text that occur in the corpus, with their counts and first documents.

    Args:
        index: An open index.
        text: A text, such as the output of a model.
        least_tokens: Minimum number of tokens of a span.
        limit: Maximum number of spans in the answer; the longest ones are kept.
        documents: Maximum number of documents shown for each span.
        scope: The documents to search.
        deadline: Stops a search that takes too long.

    Raises:
        EmptyQueryError: The text has no tokens.
        InputError: A number is out of range, or the text has more than 20,000 tokens.
        DeadlineError: The deadline was reached.
    """
    if limit < 1 or documents < 0:
        raise InputError(f"limit must be at least 1 and documents at least 0, got {limit} and {documents}")
    text = clean_text(text)
    tokens = index.analyzer.tokens(text)
    if not tokens:
        raise EmptyQueryError(nothing_left(text, index.analyzer))
    ids = index.lexicon.ids(text, tokens)
    spans = maximal_spans(index, ids, least_tokens=least_tokens, scope=scope, deadline=deadline)
    kept = sorted(sorted(spans, key=lambda span: span[0] - span[1])[:limit])
    known = [tuple(ids[start:end]) for start, end in kept]
    asked = index.asked_shards(lambda: known, scope, deadline=deadline) if known else []
    counts = [_count(asked, span, scope, deadline) for span in known]
    shown = first_documents(index, asked, known, documents)
    found = [
        TracedSpan(start, end, index.text(span), *count, first)
        for (start, end), span, count, first in zip(kept, known, counts, shown, strict=True)
    ]
    covered = len({position for start, end in spans for position in range(start, end)})
    return TraceAnswer(index.name, index.analyzer.label, text, tokens, covered, len(spans), found, True)


def _count(
    asked: Sequence[tuple[Shard, Mask]], ids: TokenIds, scope: Scope, deadline: Deadline | None
) -> tuple[int, int]:
    """Return occurrences and documents of known tokens."""
    stop = NO_DEADLINE if deadline is None else deadline.flag
    counts = [shard.count(ids, counted, column_of(scope), stop) for shard, counted in asked]
    if deadline is not None:
        deadline.check()
    return sum(each for each, _ in counts), sum(each for _, each in counts)


def maximal_spans(
    index: SearchableIndex,
    ids: Sequence[int],
    *,
    least_tokens: int = LEAST_TOKENS,
    scope: Scope = EVERY_DOCUMENT,
    deadline: Deadline | None = None,
) -> list[Ends]:
    """Find the maximal spans of a token sequence that occur in the corpus.

    A span is maximal if it occurs in a counted document, and would no longer occur with one more token on either side.
    Spans may overlap, and no span contains another one.

    Args:
        index: An open index.
        ids: The token ids; -1 for a token that does not occur in the corpus.
        least_tokens: Minimum number of tokens of a span.
        scope: The documents to search.
        deadline: Stops a search that takes too long.

    Returns:
        (start, end) of each span in order, as positions in ``ids``; ``end`` is the position after the last token.

    Raises:
        InputError: ``least_tokens`` is below 1, or there are more than 20,000 tokens.
        DeadlineError: The deadline was reached.
    """
    if least_tokens < 1:
        raise InputError(f"the minimum length of a span must be at least 1 token, got {least_tokens}")
    if len(ids) > MOST_TOKENS:
        raise InputError(f"the text has {len(ids):,} tokens, and at most {MOST_TOKENS:,} can be traced; split it")
    ends = index.longest_ends(ids, deadline)
    if ends is not None:
        ends = ends[: max(0, len(ids) - least_tokens + 1)]
        if any(counted.size for counted in index.counted(scope)):
            ends = _counted_ends(index, ids, ends, least_tokens, scope, deadline)
        return _maximal(ends, least_tokens)
    occurs = _search(index, ids, scope, deadline)
    spans: list[Ends] = []
    end = 0
    for start in range(len(ids) - least_tokens + 1):
        # ids[start:end] occurs, because a longer span before it does. Only a later end makes a new maximal span.
        least = max(end + 1, start + least_tokens)
        if least <= len(ids) and occurs(start, least):
            end = _last_end(occurs, start, least, len(ids))
            spans.append((start, end))
    return spans


def _maximal(ends: Sequence[int], least_tokens: int) -> list[Ends]:
    """Return the maximal spans, given the end of the longest span from each start."""
    spans: list[Ends] = []
    for start, end in enumerate(ends):
        if end >= start + least_tokens and (not spans or end > spans[-1][1]):
            spans.append((start, end))
    return spans


def _counted_ends(
    index: SearchableIndex,
    ids: Sequence[int],
    most: Sequence[int],
    least_tokens: int,
    scope: Scope,
    deadline: Deadline | None,
) -> list[int]:
    """Return the end of the longest span from each start in a counted document, at most the given end.

    All starts are tested together: first at the given ends, which nearly always pass, then at several ends per start,
    to need few rounds.
    """
    low = [start + least_tokens - 1 for start in range(len(most))]  # the best end so far; this one stands for none
    high = [max(end, none) for end, none in zip(most, low, strict=True)]
    probes = 1
    while spans := _open_spans(low, high, probes):
        passed = _occurring_in(index, [tuple(ids[start:end]) for start, end in spans], scope, deadline)
        for (start, end), occurs in zip(spans, passed, strict=True):
            if occurs:
                low[start] = max(low[start], end)
            else:
                high[start] = min(high[start], end - 1)
        _tighten(low, high, least_tokens)
        probes = PROBES
    return low


def _open_spans(low: Sequence[int], high: Sequence[int], probes: int) -> list[Ends]:
    """Return the spans to test next: ``probes`` ends for each open start, except spans that end with another span."""
    spans: list[Ends] = []
    for start, (known, most) in enumerate(zip(low, high, strict=True)):
        if probes == 1 and spans and spans[-1][1] >= most:
            continue
        ends = {most - (most - known) * probe // probes for probe in range(probes)}
        spans += [(start, end) for end in sorted(ends) if known < end]
    return spans


def _occurring_in(
    index: SearchableIndex, spans: Sequence[TokenIds], scope: Scope, deadline: Deadline | None
) -> list[bool]:
    """Return whether each token sequence occurs in a counted document."""
    stop = NO_DEADLINE if deadline is None else deadline.flag
    asked = index.asked_shards(lambda: spans, scope, deadline=deadline)
    found = [any(shard.count(span, counted, -1, stop)[0] for shard, counted in asked) for span in spans]
    if deadline is not None:
        deadline.check()
    return found


def _tighten(low: list[int], high: list[int], least_tokens: int) -> None:
    """Narrow the ends: a part of a span that occurs also occurs."""
    for start in range(1, len(low)):
        if low[start - 1] >= start + least_tokens:
            low[start] = max(low[start], low[start - 1])
    for start in reversed(range(len(high) - 1)):
        high[start] = max(low[start], min(high[start], max(high[start + 1], start + least_tokens)))
    for start in range(len(high)):
        high[start] = max(low[start], high[start])


def _search(
    index: SearchableIndex, ids: Sequence[int], scope: Scope, deadline: Deadline | None
) -> Callable[[int, int], bool]:
    """Return a function that returns whether the tokens between two positions occur in a counted document."""
    stop = NO_DEADLINE if deadline is None else deadline.flag
    #: unknown[i] is the number of unknown tokens before the position i.
    unknown: npt.NDArray[np.int64] = np.concatenate([[0], np.cumsum(np.asarray(ids) == -1)])
    places = list(index.counted_shards(scope))

    def occurs(start: int, end: int) -> bool:
        if unknown[end] > unknown[start]:
            return False
        found = any(_occurs_in(shard, ids[start:end], counted, stop) for shard, counted in places)
        if deadline is not None:
            deadline.check()
        return found

    return occurs


def _occurs_in(shard: Shard, span: Sequence[int], counted: Mask, stop: npt.NDArray[np.uint8]) -> bool:
    return shard.most_occurrences(span) > 0 and shard.count(span, counted, -1, stop)[0] > 0


def _last_end(occurs: Callable[[int, int], bool], start: int, end: int, most: int) -> int:
    """Return the largest end in [end, most] for which the span from ``start`` occurs; up to ``end`` it does."""
    step = 1
    while end + step <= most and occurs(start, end + step):
        end += step
        step *= 2
    low, high = end, min(end + step - 1, most)  # the answer is in [low, high]
    while low < high:
        middle = (low + high + 1) // 2
        if occurs(start, middle):
            low = middle
        else:
            high = middle - 1
    return low
