"""Example names and pairs that occur in an index."""

from __future__ import annotations

from dataclasses import dataclass

from factcensus.indexer.answers.record import Answer


@dataclass(frozen=True, slots=True)
class Example(Answer):
    """A name, or a pair of names, that occurs in the corpus."""

    subject: str
    """A name or phrase."""
    object: str | None
    """For a pair, the other name."""
    documents: int
    """Documents that contain the name, or mention both."""


@dataclass(frozen=True, slots=True)
class ExamplesAnswer(Answer):
    """Names and pairs from frequent to rare."""

    index: str
    """Name of the index."""
    examples: list[Example]
    """At most five; fewer for a tiny corpus."""
