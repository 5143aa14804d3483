"""The form at ``/`` for one fact: its fields, their interpretation, and equivalent URLs and commands."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict, Field

from factcensus.api.bodies import LARGEST_WINDOW, DocumentsBody, EntityBody
from factcensus.api.http.problems import Problem
from factcensus.indexer import Entity
from factcensus.indexer.numbers import whole_number


class Question(BaseModel):
    """The fields of the form as typed, not checked yet."""

    model_config = ConfigDict(frozen=True)

    index: str | None = Field(default=None, description="Name of an open index.")
    subject: str = ""
    subject_alias: list[str] = Field(default=[], description="May be given several times, or one alias per line.")
    object: str = ""
    object_alias: list[str] = Field(default=[], description="May be given several times, or one alias per line.")
    window: str = Field(
        default="", description="Maximum number of tokens between the two mentions; empty for the whole document."
    )
    by: str = Field(default="source", description="The column to group the counts by; empty for none.")
    only: str = Field(default="", description="Only documents with this value of that column; empty for all.")
    cursor: str = Field(default="", description="The page of documents; the previous page links to it.")

    @property
    def entities(self) -> tuple[Entity, Entity]:
        """Subject and object; raises InputError if a name is missing."""
        return _entity(self.subject, self.subject_alias), _entity(self.object, self.object_alias)

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
        """The filter of the documents, in the form of the routes."""
        return {self.by: [self.only]} if self.by and self.only else {}

    def documents_body(self) -> DocumentsBody:
        """Return the query for the documents route, whose cursors the links of the page contain."""
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
        subject, object_ = self.entities
        asked = [("subject", subject.name), *(("subject_alias", alias) for alias in subject.aliases)]
        asked += [("object", object_.name), *(("object_alias", alias) for alias in object_.aliases)]
        asked += [("window", str(self.tokens_between))] if self.tokens_between is not None else []
        asked += [("by", self.by)] if self.by else []
        asked += [("filter", json.dumps(self.filter, ensure_ascii=False))] if self.filter else []
        return f"v1/indexes/{quote(self.index or '', safe='')}/cooccurrence?{urlencode(asked)}"

    def curl(self, base_url: str) -> str:
        """Return the same query as a curl command."""
        subject, object_ = self.entities
        body: dict[str, Any] = {
            "subject": {"name": subject.name, "aliases": list(subject.aliases)},
            "object": {"name": object_.name, "aliases": list(object_.aliases)},
        }
        body |= {} if self.tokens_between is None else {"window": self.tokens_between}
        body |= {"by": self.by} if self.by else {}
        body |= {"filter": self.filter} if self.filter else {}
        address = f"{base_url}v1/indexes/{quote(self.index or '', safe='')}/cooccurrence"
        return f"curl {shlex.quote(address)} --json {shlex.quote(json.dumps(body, ensure_ascii=False))}"


def _entity(name: str, aliases: Sequence[str]) -> Entity:
    lines = (line.strip() for alias in aliases for line in alias.splitlines())
    return Entity(name.strip(), tuple(line for line in lines if line))
