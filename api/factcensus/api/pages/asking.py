"""The form at ``/`` for one fact: its fields, their interpretation, and equivalent URLs and commands."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict, Field

from factcensus.api.bodies import LARGEST_WINDOW, DocumentsBody, EntityBody
from factcensus.api.http.problems import Problem
from factcensus.api.pages.curl import curl_command
from factcensus.indexer import Entity
from factcensus.indexer.answers import IndexInfo
from factcensus.indexer.numbers import whole_number


class Question(BaseModel):
    """The fields of the form as typed, not checked yet."""

    model_config = ConfigDict(frozen=True)

    index: str | None = Field(default=None, description="Name of an open index.")
    subject: str = Field(default="", description="The name of an entity, or without an object any text.")
    subject_alias: list[str] = Field(default=[], description="May be given several times, or one alias per line.")
    object: str = Field(default="", description="The other entity; empty to count the subject alone.")
    object_alias: list[str] = Field(default=[], description="May be given several times, or one alias per line.")
    window: str = Field(
        default="", description="Maximum number of tokens between the two mentions; empty for the whole document."
    )
    by: str = Field(default="source", description="The column to group the counts by; empty for none.")
    only: str = Field(default="", description="Only documents with this value of that column; empty for all.")
    cursor: str = Field(default="", description="The page of documents; the previous page links to it.")
    compare: str = Field(default="", description="Another index, to show the same numbers side by side.")
    dates: str = Field(
        default="", description="The metadata field with the dates for the trend by year; empty for the usual ones."
    )

    @property
    def entities(self) -> tuple[Entity, Entity]:
        """Subject and object.

        Raises:
            Problem: A name is missing.
        """
        if not self.subject.strip():
            raise Problem("invalid-request", "enter the name of the subject")
        if not self.object.strip():
            raise Problem("invalid-request", "enter the name of the object, or clear its aliases")
        return _entity(self.subject, self.subject_alias), _entity(self.object, self.object_alias)

    @property
    def alone(self) -> str | None:
        """The text in the subject's field if the object is empty; it is counted as a text. None for a pair.

        Raises:
            Problem: The subject has aliases or there is a window, which a text cannot have.
        """
        if self.object.strip() or any(alias.strip() for alias in self.object_alias):
            return None
        if any(alias.strip() for alias in self.subject_alias) or self.window.strip():
            raise Problem(
                "invalid-request", "aliases and a window need an object; without an object, clear these fields"
            )
        if not self.subject.strip():
            raise Problem("invalid-request", "enter a subject: the name or phrase to count")
        return self.subject.strip()

    @property
    def tokens_between(self) -> int | None:
        """The window, or None if the field is empty.

        Raises:
            Problem: It is not a whole number.
        """
        text = self.window.strip()
        if not text:
            return None
        try:
            return whole_number(text, most=LARGEST_WINDOW)
        except ValueError:
            raise Problem(
                "invalid-request", "the window must be a whole number of tokens, or empty for whole documents"
            ) from None

    @property
    def filter(self) -> dict[str, Any]:
        """The filter of the documents, in the form of the routes.

        Raises:
            Problem: A value is given without the column that has it.
        """
        if self.only and not self.by:
            raise Problem("invalid-request", "'only' is a value of the column 'by'; give the column, or clear 'only'")
        return {self.by: [self.only]} if self.only else {}

    def documents_body(self) -> DocumentsBody:
        """Return the query for the documents route, whose cursors the links of the page contain."""
        if self.alone is not None:
            return DocumentsBody(text=self.alone, filter=self.filter)
        subject, object_ = self.entities
        return DocumentsBody(
            subject=EntityBody(name=subject.name, aliases=list(subject.aliases)),
            object=EntityBody(name=object_.name, aliases=list(object_.aliases)),
            window=self.tokens_between,
            filter=self.filter,
        )

    def address(self, **changes: str) -> str:
        """Return the query string of the page with some fields changed; defaults are left out."""
        changed = self.model_copy(update=changes).model_dump(exclude_defaults=True)
        return "?" + urlencode(changed, doseq=True)

    def json_address(self) -> str:
        """Return the relative URL that answers this query as JSON."""
        asked: list[tuple[str, str]]
        if self.alone is not None:
            asked = [("text", self.alone)]
        else:
            subject, object_ = self.entities
            asked = [("subject", subject.name), *(("subject_alias", alias) for alias in subject.aliases)]
            asked += [("object", object_.name), *(("object_alias", alias) for alias in object_.aliases)]
            asked += [("window", str(self.tokens_between))] if self.tokens_between is not None else []
        asked += [("by", self.by)] if self.by else []
        asked += [("filter", json.dumps(self.filter, ensure_ascii=False))] if self.filter else []
        return f"{self._route}?{urlencode(asked)}"

    @property
    def _route(self) -> str:
        """The relative URL of the route that answers this query."""
        return f"v1/indexes/{quote(self.index or '', safe='')}/{'cooccurrence' if self.alone is None else 'count'}"

    def curl(self, base_url: str, *, keyed: bool) -> str:
        """Return the same query as a curl command, with a key if the service requires one."""
        return curl_command(base_url + self._route, keyed=keyed, body=self._body())

    def python(self, base_url: str) -> str:
        """Return the same query as Python code that uses the client."""
        if self.alone is not None:
            call, named = "count", [repr(self.alone)]
        else:
            # With these words between them, names written from right to left do not change places.
            both = zip(("subject", "object"), self.entities, strict=True)
            call, named = "cooccurrence", [f"{role}={_python_entity(each)}" for role, each in both]
            named += [] if self.tokens_between is None else [f"window={self.tokens_between}"]
        named += [f"by={self.by!r}"] if self.by else []
        named += [f"filter={self.filter!r}"] if self.filter else []
        imported = "\nfrom factcensus.indexer import Entity" if any("Entity(" in each for each in named) else ""
        return (
            f"from factcensus.api.client import Client{imported}\n\n"
            f"with Client({base_url.rstrip('/')!r}) as client:\n"
            f"    print(client.{call}({', '.join([repr(self.index or ''), *named])}))"
        )

    def citation(self, info: IndexInfo, base_url: str, version: str, day: date) -> str:
        """Return a BibTeX entry for the numbers of this query."""
        notes = [f"index {info.name} with {info.documents:,} documents", f"analyzer {info.analyzer}"]
        notes += [f"digest {info.digest}"] if info.digest else []
        return (
            f"@software{{factcensus,\n  title = {{factcensus: exact counts of facts in pre-training corpora}},\n"
            f"  author = {{{{The factcensus authors}}}},\n  version = {{{version}}},\n  year = {{{day.year}}},\n"
            f"  url = {{{base_url}{self.address(cursor='')}}},\n  urldate = {{{day.isoformat()}}},\n"
            f"  note = {{{'; '.join(notes)}}}\n}}"
        )

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any]
        if self.alone is not None:
            body = {"text": self.alone}
        else:
            subject, object_ = self.entities
            body = {
                "subject": {"name": subject.name, "aliases": list(subject.aliases)},
                "object": {"name": object_.name, "aliases": list(object_.aliases)},
            }
            body |= {} if self.tokens_between is None else {"window": self.tokens_between}
        body |= {"by": self.by} if self.by else {}
        body |= {"filter": self.filter} if self.filter else {}
        return body


def _python_entity(entity: Entity) -> str:
    if not entity.aliases:
        return repr(entity.name)
    return f"Entity({entity.name!r}, {entity.aliases!r})"


def _entity(name: str, aliases: Sequence[str]) -> Entity:
    lines = (line.strip() for alias in aliases for line in alias.splitlines())
    return Entity(name.strip(), tuple(line for line in lines if line))
