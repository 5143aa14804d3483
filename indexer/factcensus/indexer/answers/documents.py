"""Documents that match a query, with highlighted passages."""

from __future__ import annotations

from dataclasses import dataclass, field

from factcensus.indexer.answers.record import Answer, Json, html_table


@dataclass(frozen=True, slots=True)
class Span(Answer):
    """A piece of a passage, highlighted or not."""

    text: str
    mention: str | None
    """Kind of mention: "text", "subject" or "object"; null for the text around mentions."""


#: Consecutive spans of a document; their joined texts are the text of the passage.
Passage = list[Span]


@dataclass(frozen=True, slots=True)
class Cut(Answer):
    """Whether a document has more text before and after a passage."""

    before: bool
    after: bool


def title_of(metadata: object, name: str = "title") -> str | None:
    """Return the title, or another text, in metadata; also if it is nested as in Dolma (``metadata.title``)."""
    if not isinstance(metadata, dict):
        return None
    text = metadata.get(name)
    return text.strip() or None if isinstance(text, str) else title_of(metadata.get("metadata"), name)


@dataclass(frozen=True, slots=True)
class FoundDocument(Answer):
    """One document that matches the query."""

    document: int
    """Its number in the index, from 0."""
    id: str | None
    """The id in the corpus."""
    source: str | None
    path: str | None
    """The corpus file that contains it."""
    record: int | None
    """Its number in that file, from 0."""
    metadata: Json = field(repr=False)
    tokens: int
    original: bool
    """Whether the passages show the original text; otherwise its normalised words, because the index keeps no text."""
    passages: list[Passage] = field(repr=False)
    cut: list[Cut] | None = field(default=None, repr=False)
    """For each passage, whether the document has more text before and after it."""

    @property
    def excerpts(self) -> list[Passage]:
        """The passages for people: with "…" where the document has more text."""
        cuts = self.cut or [Cut(True, True)] * len(self.passages)  # older services do not report it
        return [
            [*[Span("… ", None)] * cut.before, *passage, *[Span(" …", None)] * cut.after]
            for passage, cut in zip(self.passages, cuts, strict=True)
        ]

    @property
    def title(self) -> str | None:
        """The title in the metadata, also in nested metadata as in Dolma; None without one."""
        return title_of(self.metadata)


#: In the OpenAPI document: the service turns the start of the next page into an opaque cursor.
_CURSOR = {"json_schema_extra": {"anyOf": [{"type": "string"}, {"type": "null"}]}}


@dataclass(frozen=True, slots=True)
class DocumentsAnswer(Answer):
    """One page of documents."""

    index: str
    """Name of the index."""
    analyzer: str = field(repr=False)
    """Name and version of the analyzer."""
    documents: list[FoundDocument]
    total: int
    """Documents that match the query, on all pages."""
    next: int | str | None = field(metadata=_CURSOR)
    """The cursor of the next page (opaque); null on the last page. In Python, the ``start`` of the next page."""
    by: str | None = field(default=None, kw_only=True, repr=False, metadata={"exclude": True})
    """The column by which ``groups`` are formed."""
    groups: dict[str, int] | None = field(
        default=None, kw_only=True, repr=False, metadata={"serialization_alias": "by_source"}
    )
    """Only with by="source": matching documents of each source. For another column, the name is by_ and the column."""
    exact: bool
    """False if documents may be missing: a limit ended a search, or the tokens of a name are not certain."""
    verified: bool | None = field(default=None, kw_only=True, repr=False)
    """Only with verbatim or normalise: whether the original texts were compared, and not only token sequences."""
    searched: int | None = field(default=None, kw_only=True, repr=False)
    """Only with a pattern: documents whose texts were searched before the deadline, or the limit of network reads."""
    searched_of: int | None = field(default=None, kw_only=True, repr=False)
    """Only with a pattern: documents to search, those of the scope."""

    def _repr_html_(self) -> str:
        rows = [
            (each.document, each.id, each.source, each.title, each.tokens, " ".join(map(_text, each.excerpts)))
            for each in self.documents
        ]
        caption = f"{len(rows):,} of {self.total:,} documents in {self.index}"
        return html_table(caption, ["document", "id", "source", "title", "tokens", "passages"], rows)


def _text(passage: Passage) -> str:
    return "".join(span.text for span in passage)
