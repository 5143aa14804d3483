"""Counting facts in a shard with very many documents, part by part, so that memory does not grow with its size.

Compiled code marks documents with 12 bytes each per thread. Only infini-gram builds shards for which this is too much.
A span of their documents is counted like a separate shard: the rows of the needed forms that lie in the span are
gathered, and documents and positions are numbered from its beginning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Stop
from factcensus.indexer.kernels import search
from factcensus.indexer.kernels.entities import FormRanges
from factcensus.indexer.kernels.ngrams import Selection
from factcensus.indexer.storage.shard import Located, Occurrences, Shard
from factcensus.indexer.storage.suffix_shard import SuffixArrayShard

if TYPE_CHECKING:
    from factcensus.indexer.kernels.forms import Forms

#: Maximum number of documents that are marked at a time: 200 MB per thread.
MOST_DOCUMENTS = 1 << 24


def number_of_spans(shard: Shard) -> int:
    """Return the number of parts of a shard that are counted one after another."""
    return -(-shard.documents // MOST_DOCUMENTS) if isinstance(shard, SuffixArrayShard) else 1


def spans_of(shard: Shard, selection: Selection) -> Iterator[tuple[Shard | Span, Selection]]:
    """Yield the parts of a shard to count one after another, with the documents to count; usually the shard itself."""
    if number_of_spans(shard) <= 1 or not isinstance(shard, SuffixArrayShard):
        yield shard, selection
        return
    for first in range(0, shard.documents, MOST_DOCUMENTS):
        last = min(shard.documents, first + MOST_DOCUMENTS)
        # Stored counts are for the whole shard.
        yield (
            Span(shard, first, last),
            Selection(selection.documents[first:last], selection.groups[first:last], selection.frequent, -1),
        )


class Span:
    """The documents ``first`` … ``last - 1`` of a shard.

    Attributes:
        documents: Their number.
        begin: The position in the shard of the separator of the first one; ``end``, after the last one.
        starts: int64 (documents,): the separators, as positions from ``begin``.
    """

    def __init__(self, shard: SuffixArrayShard, first: int, last: int) -> None:
        self.shard, self.documents = shard, last - first
        self.begin, self.end = shard.document_span(first)[0] - 1, shard.document_span(last - 1)[1]
        self.starts = shard.starts_of(np.arange(first, last)) - self.begin

    def occurrences(self, forms: Forms, selection: Selection, reading: int) -> Occurrences:
        """Return the occurrences of forms; see :meth:`Shard.occurrences`."""
        del selection
        return _SpanOccurrences(self, forms, reading)


class _SpanOccurrences:
    def __init__(self, span: Span, forms: Forms, reading: int) -> None:
        self._span, self._forms, self._reading = span, forms, reading
        self._ranges = span.shard.find_all(forms.tokens, forms.starts)
        size = span.end - span.begin
        bits = search.block_bits(size, span.documents)
        self._blocks = search.block_documents(span.starts, size, bits)
        self.hits = forms.sums(self._ranges[:, 1] - self._ranges[:, 0])
        self.whole = False

    def locate(
        self,
        entities: npt.NDArray[np.int64],
        leaders: npt.NDArray[np.int64],
        partners: npt.NDArray[np.int64],
        threads: int,
        stop: Stop,
    ) -> Located:
        """Gather the rows of all forms of these entities."""
        del threads, stop
        span, forms = self._span, self._forms
        ranges = np.zeros_like(self._ranges)
        gathered = [np.zeros(0, np.int64)]
        at = 0
        for entity in np.unique(np.concatenate([entities, leaders, partners])).tolist():
            for form in range(forms.entities[entity], forms.entities[entity + 1]):
                low, high = self._ranges[form].tolist()
                gathered.append(search.positions_between(span.shard.suffix_rows, low, high, span.begin, span.end))
                ranges[form] = at, at + len(gathered[-1])
                at += len(gathered[-1])
        table = np.concatenate(gathered)
        size = span.end - span.begin
        rows = search.Rows(table, 1, 1, span.starts, self._blocks, size, search.block_bits(size, span.documents))
        return Located(
            rows,
            FormRanges(*forms.arrays, ranges, np.full(ranges.shape, -1, np.int64)),
            span.shard.ids[span.begin : span.end],
            np.full(len(forms), self._reading, np.int8),
        )
