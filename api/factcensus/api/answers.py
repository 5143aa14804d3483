"""What the routes answer, for the OpenAPI document. The core makes the answers; a test compares them with these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class TextNumbers(BaseModel):
    """Numbers of one text."""

    occurrences: int = Field(description="Positions where the tokens stand; overlapping ones all count.")
    documents: int = Field(description="Documents with at least one occurrence.")


class CountAnswer(TextNumbers):
    """How often a text stands in the corpus."""

    index: str
    analyzer: str = Field(description="Name and version of the analyzer.")
    text: str
    tokens: list[str] = Field(description="The tokens that the text was taken as.")
    exact: bool
    by_source: dict[str, TextNumbers] | None = Field(default=None, description='Only with by="source".')


class EntityNumbers(BaseModel):
    """Numbers of one entity."""

    mentions: int = Field(description="Leftmost-longest, non-overlapping, over all surface forms.")
    documents: int = Field(description="Documents with at least one mention.")


class NameVariant(BaseModel):
    """One token sequence that a name stands as, in an index of sub-word tokens."""

    form: str = Field(description="Where it stands so: as written, at line start, after a space, …")
    text: str
    tokens: list[str]


class EntityAnswer(EntityNumbers):
    """One entity as it was asked for, and its numbers."""

    name: str
    aliases: list[str]
    tokens: list[list[str]] = Field(description="What the name and each alias was taken as.")
    variants: list[NameVariant] | None = Field(
        default=None, description="All token sequences that were looked for, where tokens are parts of words."
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
    """The facts, each with its counts, in the order they came."""

    facts: list[dict[str, Any]] = Field(
        description="The fact's own columns, then subject_mentions, object_mentions, subject_documents, "
        "object_documents, cooccurrence_documents, cooccurrence_pairs, for each window w "
        "cooccurrence_documents_w{w} and cooccurrence_pairs_w{w}, then index, index_digest, analyzer, exact."
    )


class Span(BaseModel):
    """A piece of a passage, highlighted or not."""

    text: str
    mention: str | None = Field(description='"text", "subject", "object", or null for what stands around them.')


class Document(BaseModel):
    """One document that fits the query."""

    document: int = Field(description="Its number in the index, from 0.")
    id: str | None = Field(description="As the corpus gives it.")
    source: str | None
    path: str | None = Field(description="The corpus file that it comes from.")
    record: int | None = Field(description="Its number in that file, from 0.")
    metadata: dict[str, Any]
    tokens: int
    passages: list[list[Span]]


class DocumentsAnswer(BaseModel):
    """One page of documents."""

    index: str
    analyzer: str
    documents: list[Document]
    total: int = Field(description="Documents that fit the query, on all pages.")
    next: str | None = Field(description="Opaque: the cursor of the next page; null on the last one.")
    exact: bool


class ReloadAnswer(BaseModel):
    """What a reload changed, by names of indexes."""

    opened: list[str] = Field(description="Opened, or opened anew because their content is another one.")
    closed: list[str] = Field(description="No longer served.")
    unchanged: list[str]
    failed: list[str] = Field(description="Cannot be opened; served as before if they were open.")
    indexes: list[str] = Field(description="All that are open now.")


class JobAnswer(BaseModel):
    """A table that is counted in the background."""

    id: str
    state: Literal["queued", "running", "done", "failed", "outdated"]
    index: str
    index_digest: str | None = Field(
        description="Of the content in which all facts are counted: that of when the job came, or a later one if "
        "documents were deleted before it was done."
    )
    index_generation: int | None = Field(description="Of that content.")
    windows: list[int]
    facts: int = Field(description="Rows of the table.")
    counted: int = Field(description="Rows that are counted.")
    created: str = Field(description="RFC 3339, as all moments here.")
    started: str | None
    finished: str | None
    expires: str | None = Field(description="When the result will be removed.")
    error: str | None = Field(description="Why it has no result.")
    status_url: str
    result_url: str | None = Field(description="Where the counts are, once it is done.")


class JobList(BaseModel):
    """Your jobs, the newest first."""

    jobs: list[JobAnswer]


class IndexSummary(BaseModel):
    """An index in the list."""

    name: str
    digest: str | None = Field(
        description="Of the whole index: equal digests, equal counts. Null where infini-gram built it."
    )
    generation: int | None = Field(
        description="Changes of the index since it was built. Null where infini-gram built it."
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
    """All that is known of one index."""

    repeated_documents: int | None = Field(description="Documents whose text an earlier one has; counted with all.")
    deleted_documents: int | None = Field(description="Documents in the files that no count takes notice of.")
    types: int | None = Field(description="Distinct tokens, where the analyzer is words.")
    shards: int
    bytes: int = Field(description="Size on disk.")
    text_bytes: int | None = Field(description="Size of the corpus texts in UTF-8.")
    bytes_per_text_byte: float | None
    skipped_lines: int | None = Field(description="Lines of the corpus that could not be read and were left out.")
    sources: dict[str, SourceSize] | None


class Health(BaseModel):
    """The process answers."""

    status: str


class ServedGeneration(BaseModel):
    """Which content of an index answers now; nulls where infini-gram built it."""

    generation: int | None = Field(description="Changes of the index since it was built.")
    digest: str | None


class Ready(Health):
    """Every index is open and warm."""

    indexes: list[str]
    generations: dict[str, ServedGeneration] = Field(description="By index.")


class Version(BaseModel):
    """What is running."""

    name: str
    version: str
    api: str
    python: str
