"""The page at ``/trace``: which spans of a text, such as the output of a model, occur in a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import Query, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from factcensus.api.dependencies import IndexesOf, LimitsOf, ServiceOf, new_router
from factcensus.api.http.problems import Problem
from factcensus.api.limits import check_text
from factcensus.api.pages.asking import Question
from factcensus.api.pages.curl import curl_command
from factcensus.api.pages.rendering import html, said
from factcensus.api.serving.deadlines import within
from factcensus.indexer import CountIndex
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

    def address(self) -> str:
        """Return the relative URL of the page with this answer."""
        return "trace?" + urlencode(self.model_dump(exclude_defaults=True))

    def curl(self, base_url: str, *, keyed: bool) -> str:
        """Return the same query as a curl command, with a key if the service requires one."""
        address = f"{base_url}v1/indexes/{quote(self.index or '', safe='')}/trace"
        return curl_command(address, keyed=keyed, body={"text": self.text, "least_tokens": self.least})

    def python(self, base_url: str) -> str:
        """Return the same query as Python code that uses the client."""
        return (
            f"from factcensus.api.client import Client\n\nwith Client({base_url.rstrip('/')!r}) as client:\n"
            f"    print(client.trace({self.index or ''!r}, {self.text!r}, least_tokens={self.least}))"
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive characters of the text that are in the same spans.

    Attributes:
        text: The characters.
        spans: Numbers of the spans that contain them, from 1; empty outside spans.
        ends: Number of the span that ends here; None if none does.
        documents: Documents that contain the rarest of the spans; 0 outside spans.
    """

    text: str
    spans: tuple[int, ...] = ()
    ends: int | None = None
    documents: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """A span in the list below the text: as written there, and the URL of the page with all its documents."""

    span: TracedSpan
    text: str
    address: str


@router.get("/trace", summary="Show the web page that traces a text", response_class=HTMLResponse)
async def trace_page(
    request: Request, service: ServiceOf, indexes: IndexesOf, limits: LimitsOf, form: Annotated[TraceForm, Query()]
) -> HTMLResponse:
    """Return the form, and the spans of the text that occur in the corpus."""
    context: dict[str, Any] = {"names": indexes.names, "form": form, "limits": limits}
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
            context |= _shown(index, answer)
            base = str(request.base_url)
            context |= {"curl": form.curl(base, keyed=service.keyed), "python": form.python(base)}
        except (Problem, FactcensusError) as error:
            status, context["error"] = said(error)
    return html(request, "trace.html", context, status)


def _shown(index: CountIndex, answer: TraceAnswer) -> dict[str, Any]:
    """Return the context of the template for an answer."""
    found = index.analyzer.spans(answer.text, range(len(answer.tokens)))
    places = [found[number] for number in range(len(answer.tokens))]
    listed = []
    for span in answer.spans:
        text = answer.text[places[span.start][0] : places[span.end - 1][1]]
        listed.append(Listed(span, text, Question(index=index.name, subject=text).address()))
    return {"answer": answer, "pieces": pieces(answer.text, places, answer.spans), "listed": listed}


def pieces(text: str, places: Sequence[tuple[int, int]], spans: Sequence[TracedSpan]) -> list[Piece]:
    """Split a text where spans begin and end; the joined pieces give the text.

    Args:
        text: The text.
        places: Start and end of each token in the text; neighbours may share a character.
        spans: Ranges of tokens in ascending order; they may overlap, but none contains another.
    """
    inside: list[list[int]] = [[] for _ in places]
    for number, span in enumerate(spans, 1):
        for token in range(span.start, span.end):
            inside[token].append(number)
    ends = {span.end - 1: number for number, span in enumerate(spans, 1)}
    parts: list[Piece] = []
    at, before = 0, set[int]()
    for token, (start, end) in enumerate(places):
        start, end = max(at, start), max(at, end)
        between = tuple(number for number in inside[token] if number in before)
        _add(parts, text[at:start], between, None, spans)
        _add(parts, text[start:end], tuple(inside[token]), ends.get(token), spans)
        at, before = end, set(inside[token])
    _add(parts, text[at:], (), None, spans)
    return parts


def _add(parts: list[Piece], text: str, inside: tuple[int, ...], ends: int | None, spans: Sequence[TracedSpan]) -> None:
    """Add characters to the last piece if they are in the same spans, otherwise as a new piece."""
    last = parts[-1] if parts else None
    if last is not None and last.ends is None and last.spans == inside:
        parts[-1] = replace(last, text=last.text + text, ends=ends)
    elif text or ends is not None:
        parts.append(Piece(text, inside, ends, min((spans[n - 1].documents for n in inside), default=0)))
