"""Models of responses for the OpenAPI document; those of the index are in :mod:`factcensus.indexer.answers`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from factcensus.indexer.answers import IndexSummary


class FactsAnswer(BaseModel):
    """The facts with their counts, in the order of the request."""

    facts: list[dict[str, Any]] = Field(
        description="The fact's own columns, then subject_mentions, object_mentions, subject_documents, "
        "object_documents, cooccurrence_documents, cooccurrence_pairs, for each window w "
        "cooccurrence_documents_w{w} and cooccurrence_pairs_w{w}, then index, index_digest, analyzer, exact."
    )


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


class IndexList(BaseModel):
    """The open indexes."""

    indexes: list[IndexSummary]


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
