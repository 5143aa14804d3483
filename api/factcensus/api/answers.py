"""Models of the responses, for the OpenAPI document; a test compares them with the responses of the core."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class TextNumbers(BaseModel):
    """Numbers of one text."""

    occurrences: int = Field(description="Positions where the tokens occur; overlapping occurrences all count.")
    documents: int = Field(description="Documents with at least one occurrence.")


class CountAnswer(TextNumbers):
    """How often a text occurs in the corpus."""

    index: str
    analyzer: str = Field(description="Name and version of the analyzer.")
    text: str
    tokens: list[str] = Field(description="The tokens of the text.")
    exact: bool
    by_source: dict[str, TextNumbers] | None = Field(default=None, description='Only with by="source".')


class EntityNumbers(BaseModel):
    """Numbers of one entity."""

    mentions: int = Field(description="Leftmost-longest, non-overlapping, over all surface forms.")
    documents: int = Field(description="Documents with at least one mention.")


class NameVariant(BaseModel):
    """One token sequence of a name, in an index of sub-word tokens."""

    form: str = Field(description="Where the name has these tokens: as written, at line start, after a space, …")
    text: str
    tokens: list[str]


class EntityAnswer(EntityNumbers):
    """One entity of the request, and its numbers."""

    name: str
    aliases: list[str]
    tokens: list[list[str]] = Field(description="The tokens of the name and of each alias.")
    variants: list[NameVariant] | None = Field(
        default=None, description="All token sequences that were counted, if tokens are parts of words."
    )


class CooccurrenceNumbers(BaseModel):
    """Numbers of two entities together."""

    documents: int = Field(description="Documents with a mention of each that do not overlap (within the window).")
    pairs: int = Field(description="Non-overlapping (subject mention, object mention) pairs.")


class SourceCooccurrence(BaseModel):
    """The numbers of one source."""

    subject: EntityNumbers
    object: EntityNumbers
    cooccurrence: CooccurrenceNumbers


class CooccurrenceAnswer(BaseModel):
    """How often subject and object are mentioned, and how often together."""

    index: str
    analyzer: str
    subject: EntityAnswer
    object: EntityAnswer
    cooccurrence: CooccurrenceNumbers
    window: int | None
    exact: bool
    by_source: dict[str, SourceCooccurrence] | None = Field(default=None, description='Only with by="source".')


class FactsAnswer(BaseModel):
    """The facts with their counts, in the order of the request."""

    facts: list[dict[str, Any]] = Field(
        description="The fact's own columns, then subject_mentions, object_mentions, subject_documents, "
        "object_documents, cooccurrence_documents, cooccurrence_pairs, for each window w "
        "cooccurrence_documents_w{w} and cooccurrence_pairs_w{w}, then index, index_digest, analyzer, exact."
    )


class Span(BaseModel):
    """A piece of a passage, highlighted or not."""

    text: str
    mention: str | None = Field(description='"text", "subject" or "object" for a mention; null for the text around it.')


class Document(BaseModel):
    """One document that matches the query."""

    document: int = Field(description="Its number in the index, from 0.")
    id: str | None = Field(description="The id in the corpus.")
    source: str | None
    path: str | None = Field(description="The corpus file that contains it.")
    record: int | None = Field(description="Its number in that file, from 0.")
    metadata: dict[str, Any]
    tokens: int
    passages: list[list[Span]]


class DocumentsAnswer(BaseModel):
    """One page of documents."""

    index: str
    analyzer: str
    documents: list[Document]
    total: int = Field(description="Documents that match the query, on all pages.")
    next: str | None = Field(description="The cursor of the next page (opaque); null on the last page.")
    exact: bool


class ReloadAnswer(BaseModel):
    """The changes of a reload, as names of indexes."""

    opened: list[str] = Field(description="Opened, or opened again because the content changed.")
    closed: list[str] = Field(description="No longer served.")
    unchanged: list[str]
    failed: list[str] = Field(description="Could not be opened; indexes that were open stay in service.")
    indexes: list[str] = Field(description="All open indexes.")


class JobAnswer(BaseModel):
    """A table counted in the background."""

    id: str
    state: Literal["queued", "running", "done", "failed", "outdated"]
    index: str
    index_digest: str | None = Field(
        description="Digest of the index generation on which all facts are counted: the generation at the time of the "
        "request, or a later one if documents were deleted before the job was done."
    )
    index_generation: int | None = Field(description="That generation.")
    windows: list[int]
    facts: int = Field(description="Rows of the table.")
    counted: int = Field(description="Rows counted so far.")
    created: str = Field(description="RFC 3339, like all times here.")
    started: str | None
    finished: str | None
    expires: str | None = Field(description="When the result will be removed.")
    error: str | None = Field(description="Why there is no result.")
    status_url: str
    result_url: str | None = Field(description="URL of the counts, once the job is done.")


class JobList(BaseModel):
    """Your jobs, newest first."""

    jobs: list[JobAnswer]


class IndexSummary(BaseModel):
    """An index in the list."""

    name: str
    digest: str | None = Field(
        description="Digest of the whole index; equal digests mean equal counts. Null if infini-gram built the index."
    )
    generation: int | None = Field(
        description="Number of changes since the index was built. Null if infini-gram built the index."
    )
    analyzer: str
    documents: int
    tokens: int


class IndexList(BaseModel):
    """The open indexes."""

    indexes: list[IndexSummary]


class SourceSize(BaseModel):
    """The size of one source of a corpus."""

    documents: int
    tokens: int


class IndexAnswer(IndexSummary):
    """The properties of one index."""

    repeated_documents: int | None = Field(description="Documents with the text of an earlier one; they are counted.")
    deleted_documents: int | None = Field(description="Documents in the files that are excluded from all counts.")
    types: int | None = Field(description="Distinct tokens, if the analyzer is words.")
    shards: int
    bytes: int = Field(description="Size on disk.")
    text_bytes: int | None = Field(description="Size of the corpus texts in UTF-8.")
    bytes_per_text_byte: float | None
    skipped_lines: int | None = Field(description="Unreadable lines of the corpus that were skipped.")
    sources: dict[str, SourceSize] | None


class Health(BaseModel):
    """The process is running."""

    status: str


class ServedGeneration(BaseModel):
    """The generation of an index in service; nulls if infini-gram built the index."""

    generation: int | None = Field(description="Number of changes since the index was built.")
    digest: str | None


class Ready(Health):
    """Every index is open and warm."""

    indexes: list[str]
    generations: dict[str, ServedGeneration] = Field(description="By index.")


class Version(BaseModel):
    """The running version."""

    name: str
    version: str
    api: str
    python: str
