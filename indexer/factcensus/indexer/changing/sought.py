"""A text to delete or to count, and how it is found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from factcensus.indexer.counting.scope import Scope
from factcensus.indexer.counting.string_search import search_strings
from factcensus.indexer.counting.strings import StringQuery, string_query

if TYPE_CHECKING:
    from factcensus.indexer.index import CountIndex


@dataclass(frozen=True, slots=True)
class SoughtText:
    """A text, which is found by its tokens, exactly as it is written, or in its usual spellings."""

    text: str
    verbatim: bool = False
    normalise: str | None = None
    region: str | None = None

    def query(self, index: CountIndex) -> StringQuery | None:
        """Return the query for a string; None if the text is found by its tokens.

        Raises:
            InputError: The text cannot be found in this way.
            EmptyQueryError: It has no tokens.
        """
        return string_query(index, self.text, verbatim=self.verbatim, normalise=self.normalise, region=self.region)

    def count(self, index: CountIndex) -> tuple[int, int]:
        """Return the number of occurrences in the remaining documents, and of documents with any.

        Raises:
            InputError: The text cannot be found in this way.
            EmptyQueryError: It has no tokens.
        """
        query = self.query(index)
        if query is None:
            answer = index.count(self.text)
            return answer.occurrences, answer.documents
        hits = search_strings(index, query, Scope()).hits
        return sum(int(each.occurrences.sum()) for each in hits), sum(len(each.documents) for each in hits)
