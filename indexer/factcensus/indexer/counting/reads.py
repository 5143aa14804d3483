"""The steps of queries for which an index at a URL reads many parts of its files together, as a folder runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from factcensus.indexer.arrays import Mask, Numbers
from factcensus.indexer.counting.original import texts_of
from factcensus.indexer.kernels.ngrams import EVERYTHING

if TYPE_CHECKING:
    from factcensus.indexer.analyzers import Analyzer
    from factcensus.indexer.arrays import TokenIds
    from factcensus.indexer.counting.deadline import Deadline
    from factcensus.indexer.counting.scope import Scope
    from factcensus.indexer.remote.reader import Reads
    from factcensus.indexer.storage.shard import Shard


class LocalReads:
    """An index whose files are mapped, so no step needs to wait for others."""

    analyzer: Analyzer

    @property
    def shards(self) -> Sequence[Shard]:
        """The open shards."""
        raise NotImplementedError

    def counted_shards(self, scope: Scope) -> Sequence[tuple[Shard, Mask]]:
        """Return each shard with bool (documents,): True for counted documents; of size 0 if all are counted."""
        raise NotImplementedError

    def usage(self) -> Reads | None:
        """Return the reads of an index at a URL so far; None for a local folder."""
        return None

    def asked_shards(
        self,
        ngrams: Callable[[], Iterable[Sequence[int]]],
        scope: Scope,
        *,
        reach: int = 0,
        stored: bool = False,
        deadline: Deadline | None = None,
    ) -> Sequence[tuple[Shard, Mask]]:
        """Run :meth:`counted_shards` for a query; an index at a URL first reads the parts of shards that it needs.

        Args:
            ngrams: Returns the n-grams of the query; only called if something must be read.
            scope: The documents to count.
            reach: The largest number of tokens between two mentions that matters.
            stored: Only occurrences and documents are counted, so counts stored in the index may replace the rows.
            deadline: Stops the reads.
        """
        del ngrams, reach, stored, deadline
        return self.counted_shards(scope)

    def read_texts(
        self, wanted: Sequence[tuple[Shard, Numbers]], *, every: bool = False, deadline: Deadline | None = None
    ) -> list[Iterator[bytes]]:
        """Return the original texts of some documents of shards, for one query; the index must have them.

        Args:
            wanted: Shards, and numbers of documents in ascending order.
            every: The query searches as many texts as the limits allow, so an index at a URL reads them when they are
                needed. Otherwise it needs all of them, and reads them together.
            deadline: Stops the reads before the first text.
        """
        del every, deadline
        return [texts_of(self.analyzer.name, shard, documents) for shard, documents in wanted]

    def longest_ends(self, ids: Sequence[int], deadline: Deadline | None = None) -> list[int] | None:
        """Return the end of the longest span from each token that occurs, for an index at a URL; None for a folder.

        Deleted documents and those out of a scope count as well. In a folder, testing one span after another is faster.
        """
        del ids, deadline
        return None

    def occurring(self, ngrams: Sequence[TokenIds], deadline: Deadline) -> list[bool]:
        """Return whether each token sequence may occur in a document, deleted ones included."""
        # The bound of the layout compact is loose for several words.
        return [
            any(
                shard.most_occurrences(ngram)
                and (len(ngram) == 1 or shard.count(ngram, EVERYTHING, -1, deadline.flag)[0])
                for shard in self.shards
            )
            for ngram in ngrams
        ]
