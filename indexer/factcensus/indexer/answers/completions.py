"""Completions of a name from the words of an index."""

from __future__ import annotations

from dataclasses import dataclass, field

from factcensus.indexer.answers.record import Answer, html_table


@dataclass(frozen=True, slots=True)
class Completion(Answer):
    """One way to complete a text, with its counts."""

    text: str
    """The text with its last word completed."""
    occurrences: int
    """Positions in the corpus where it occurs."""
    documents: int
    """Documents that contain it."""


@dataclass(frozen=True, slots=True)
class CompletionAnswer(Answer):
    """The most frequent completions of a text."""

    index: str
    """Name of the index."""
    analyzer: str = field(repr=False)
    """Name and version of the analyzer."""
    text: str
    """The text to complete."""
    completions: list[Completion]
    """Completions that occur in the corpus, those in most documents first."""
    exact: bool
    """False if the counts are estimates."""

    def _repr_html_(self) -> str:
        rows = [(each.text, each.occurrences, each.documents) for each in self.completions]
        return html_table(f"{self.text} in {self.index}", ["completion", "occurrences", "documents"], rows)
