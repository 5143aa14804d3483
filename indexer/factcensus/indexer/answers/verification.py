"""The results of verifying an index."""

from __future__ import annotations

from dataclasses import dataclass

from factcensus.indexer.answers.record import Answer


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
    """Probes with the recorded counts."""
    descends: bool
    """Whether the index is a later generation of the one in the record, as far as its manifest shows."""


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
