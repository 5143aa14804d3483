"""Spans of a text that occur in the corpus."""

from __future__ import annotations

from dataclasses import dataclass, field

from factcensus.indexer.answers.documents import FoundDocument
from factcensus.indexer.answers.record import Answer, html_table


@dataclass(frozen=True, slots=True)
class TracedSpan(Answer):
    """A maximal part of the text that occurs in the corpus: with one more token on either side, it would not."""

    start: int
    """Position of its first token in the text, from 0."""
    end: int
    """Position after its last token."""
    text: str
    """Its tokens as readable text."""
    occurrences: int
    """Positions in the corpus where it occurs."""
    documents: int
    """Documents that contain it."""
    found: list[FoundDocument] = field(repr=False)
    """The first of these documents, with passages."""


@dataclass(frozen=True, slots=True)
class TraceAnswer(Answer):
    """The maximal spans of a text that occur in the corpus, in the order of the text."""

    index: str
    """Name of the index."""
    analyzer: str = field(repr=False)
    """Name and version of the analyzer."""
    text: str = field(repr=False)
    """The text as it was searched."""
    tokens: list[str] = field(repr=False)
    """The tokens of the text."""
    covered: int
    """Tokens that are part of at least one span."""
    total: int
    """Maximal spans of at least ``least_tokens`` tokens."""
    spans: list[TracedSpan]
    """These spans; only the longest ones if there are more than ``limit``."""
    exact: bool
    """False if the counts are estimates."""

    def _repr_html_(self) -> str:
        rows = [(span.text, span.end - span.start, span.occurrences, span.documents) for span in self.spans]
        caption = f"{self.covered} of {len(self.tokens)} tokens are in spans that occur in {self.index}"
        return html_table(caption, ["span", "tokens", "occurrences", "documents"], rows)
