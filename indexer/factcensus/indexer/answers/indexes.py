"""The properties of an index."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Literal

from factcensus.indexer.answers.record import Answer, html_table


@dataclass(frozen=True, slots=True)
class SourceSize(Answer):
    """The size of one source of a corpus."""

    documents: int
    tokens: int


@dataclass(frozen=True, slots=True)
class IndexSummary(Answer):
    """An index in a list."""

    name: str
    digest: str | None
    """Digest of the whole index; equal digests mean equal counts. Null if infini-gram built the index."""
    generation: int | None
    """Number of changes since the index was built. Null if infini-gram built the index."""
    analyzer: str
    """Name and version of the analyzer."""
    documents: int
    """Documents that are counted."""
    tokens: int


@dataclass(frozen=True, slots=True)
class IndexSlice(Answer):
    """The part of a whole index that a slice has."""

    whole: str
    """Digest of the whole index."""
    first_document: int
    """Documents, including deleted ones, in the shards before the slice."""
    first_token: int
    """Tokens of these documents."""
    first_shard: int
    """Shards before the slice."""
    whole_shards: int
    """Shards of the whole index."""


@dataclass(frozen=True, slots=True)
class IndexInfo(Answer):
    """The properties of one index."""

    name: str
    digest: str | None
    """Digest of the whole index; equal digests mean equal counts. Null if infini-gram built the index."""
    generation: int | None
    """Number of changes since the index was built. Null if infini-gram built the index."""
    analyzer: str
    """Name and version of the analyzer."""
    layout: Literal["suffix-array", "compact"]
    """The files of the index; an index that infini-gram built has suffix arrays."""
    documents: int
    """Documents that are counted."""
    repeated_documents: int | None
    """Documents with the text of an earlier one; they are counted."""
    deleted_documents: int | None
    """Documents in the files that are excluded from all counts."""
    tokens: int
    types: int | None
    """Distinct tokens, if the analyzer is words."""
    shards: int
    bytes: int
    """Size on disk."""
    text_bytes: int | None
    """Size of the corpus texts in UTF-8."""
    bytes_per_text_byte: float | None
    keeps_text: bool
    """Whether the index has the original texts, so that passages show them and exact strings can be found."""
    kept_bytes_per_text_byte: float | None
    """Size of the stored texts, which is part of ``bytes``. Null if the index stores only tokens."""
    skipped_lines: int | None
    """Unreadable lines of the corpus that were skipped."""
    sources: dict[str, SourceSize] | None
    slice: IndexSlice | None = None
    """Only for a slice of an index."""

    def summary(self) -> IndexSummary:
        """Return the properties shown in a list of indexes."""
        return IndexSummary(*(getattr(self, each.name) for each in fields(IndexSummary)))

    def _repr_html_(self) -> str:
        rows = [
            (name.replace("_", " "), value) for name, value in asdict(self).items() if name not in ("sources", "slice")
        ]
        return html_table(f"index {self.name}", ["property", "value"], rows)
