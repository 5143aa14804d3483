"""The page at ``/trace``: which spans of a text, such as the output of a model, occur in a corpus."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from factcensus.api.dependencies import IndexesOf, LimitsOf, new_router
from factcensus.api.http.problems import Problem
from factcensus.api.limits import check_text
from factcensus.api.pages.rendering import html, said
from factcensus.api.serving.deadlines import within
from factcensus.indexer.answers import TraceAnswer, TracedSpan
from factcensus.indexer.counting.trace import LEAST_TOKENS
from factcensus.indexer.errors import FactcensusError
from factcensus.indexer.numbers import whole_number

router = new_router("pages")
#: Documents shown for each span.
SHOWN = 1


class TraceForm(BaseModel):
    """The fields of the form as typed, not checked yet."""

    model_config = ConfigDict(frozen=True)

    index: str | None = Field(default=None, description="Name of an open index.")
    text: str = Field(default="", description="The text to trace.")
    least_tokens: str = Field(default=str(LEAST_TOKENS), description="Minimum length of a span in tokens.")

    @property
    def least(self) -> int:
        """The minimum length of a span.

        Raises:
            Problem: It is not a whole number of at least 1.
        """
        try:
            return whole_number(self.least_tokens.strip(), least=1, most=1000)
        except ValueError:
            raise Problem("invalid-request", "the minimum length must be a whole number from 1 to 1000") from None

    def curl(self, base_url: str) -> str:
        """Return the same query as a curl command."""
        address = f"{base_url}v1/indexes/{quote(self.index or '', safe='')}/trace"
        body = {"text": self.text, "least_tokens": self.least}
        return f"curl {shlex.quote(address)} --json {shlex.quote(json.dumps(body, ensure_ascii=False))}"


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive tokens of the text, inside or outside a span.

    Attributes:
        text: The tokens.
        span: Number of the span that starts here, from 1; None outside spans.
        documents: Documents that contain the span; None outside spans.
    """

    text: str
    span: int | None = None
    documents: int | None = None


@router.get("/trace", summary="Show the web page that traces a text", response_class=HTMLResponse)
async def trace_page(
    request: Request, indexes: IndexesOf, limits: LimitsOf, form: Annotated[TraceForm, Query()]
) -> HTMLResponse:
    """Return the form, and the spans of its text that occur in the corpus."""
    context: dict[str, Any] = {"names": indexes.names, "form": form}
    status = 200
    if form.index is not None:
        try:
            check_text(form.text, "the text", limits)
            index, least = indexes.get(form.index), form.least
            answer = await within(
                limits.deadline_seconds,
                request,
                lambda deadline: index.trace(form.text, least_tokens=least, documents=SHOWN, deadline=deadline),
            )
            context |= {"answer": answer, "pieces": pieces(answer), "curl": form.curl(str(request.base_url))}
        except (Problem, FactcensusError) as error:
            status, context["error"] = said(error)
    return html(request, "trace.html", context, status)


def pieces(answer: TraceAnswer) -> list[Piece]:
    """Split the tokens of a text at its spans; tokens in two spans belong to the first."""
    parts: list[Piece] = []
    at = 0
    for number, span in enumerate(answer.spans, 1):
        if span.start > at:
            parts.append(Piece(_joined(answer.tokens[at : span.start])))
        if span.end > max(at, span.start):
            parts.append(_piece(answer.tokens[max(at, span.start) : span.end], number, span))
        at = max(at, span.end)
    if at < len(answer.tokens):
        parts.append(Piece(_joined(answer.tokens[at:])))
    return parts


def _piece(tokens: Sequence[str], number: int, span: TracedSpan) -> Piece:
    return Piece(_joined(tokens), number, span.documents)


def _joined(tokens: Sequence[str]) -> str:
    return " ".join(tokens)
