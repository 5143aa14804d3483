"""The results of verifying an index."""

from __future__ import annotations

from dataclasses import dataclass, field

from factcensus.indexer.answers.record import Answer


@dataclass(frozen=True, slots=True)
class FewerOccurrences(Answer):
    """A probe that occurs less often than recorded."""

    text: str
    recorded_occurrences: int
    recorded_documents: int
    occurrences: int
    documents: int


@dataclass(frozen=True, slots=True)
class Proof(Answer):
    """The result of verifying the record of a deletion."""

    documents: int
    """Documents in the record."""
    hidden: int
    """Documents in the record that are deleted but still in the files; compaction removes them."""
    same_text_left: int
    """Remaining documents with the text of a removed document."""
    probes: int
    """Probes in the record, none of which occurs more often than recorded."""
    descends: bool
    """Whether the index is a later generation of the one in the record, as far as its manifest shows."""
    fewer: list[FewerOccurrences] = field(default_factory=list)
    """The probes that occur less often than recorded."""
    later_deletions: int | None = None
    """Changes since the record that deleted or replaced documents; None if the manifest does not list them."""


@dataclass(frozen=True, slots=True)
class Verification(Answer):
    """What was checked in an intact index."""

    files: int
    """Files with the size and the checksum in the manifest; 0 without a manifest."""
    bytes: int
    """Size of these files."""
    rows_compared: int
    """Neighbouring suffixes that are in order."""
    record: Proof | None = None
    """Only if the record of a deletion was verified as well."""
