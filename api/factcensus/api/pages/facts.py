"""The page at ``/``: how often a text or a fact occurs in a corpus, where, and its rank among other facts."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from factcensus.api.dependencies import IndexesOf, LimitsOf, ServiceOf, VisibleIndexes, new_router
from factcensus.api.http.negotiation import preferred
from factcensus.api.http.parameters import refuse_ignored
from factcensus.api.http.problems import Problem
from factcensus.api.pages.asking import Question
from factcensus.api.pages.plots import facts_by_count
from factcensus.api.pages.rendering import html, said
from factcensus.api.pages.results import results_of
from factcensus.api.serving.deadlines import within
from factcensus.api.serving.examples import examples_of
from factcensus.api.serving.fact_tables import Standing
from factcensus.api.settings import Limits
from factcensus.indexer import CountIndex
from factcensus.indexer.answers import Example
from factcensus.indexer.errors import FactcensusError

log = logging.getLogger("factcensus.api")
router = new_router("pages")
#: Maximum number of indexes whose size the page shows.
MOST_SIZES = 20


@router.get(
    "/",
    summary="Show the web page, or list the index names",
    response_class=HTMLResponse,
    responses={200: {"content": {"application/json": {"schema": {"type": "array", "items": {"type": "string"}}}}}},
)
async def page(
    request: Request, service: ServiceOf, indexes: IndexesOf, limits: LimitsOf, question: Annotated[Question, Query()]
) -> Response:
    """Return HTML if the client prefers it, as browsers do; otherwise a JSON list of index names."""
    names = indexes.names
    # JSON comes first, because clients of infini-gram's API request the names here and accept any type.
    match preferred(request.headers.get("accept"), ["application/json", "text/html"]):
        case "application/json":
            refuse_ignored(request)
            return JSONResponse(names)
        case None:
            raise Problem("not-acceptable", "this route returns text/html or application/json")
    uncompleted = {each.name: reason for each in indexes.indexes if (reason := each.no_completions) is not None}
    context: dict[str, Any] = {"names": names, "form": question, "uncompleted": uncompleted}
    status = 200
    if question.index is not None:
        try:
            context |= await _answered(request, service, indexes, limits, question)
        except (Problem, FactcensusError) as error:
            status, context["error"] = said(error)
    else:
        context |= {
            "sizes": [index.info() for index in indexes.indexes[:MOST_SIZES]],
            "hidden_sizes": max(0, len(names) - MOST_SIZES),
            "examples": await examples(request, limits, indexes),
        }
    return html(request, "page.html", context, status)


async def examples(request: Request, limits: Limits, indexes: VisibleIndexes) -> list[tuple[Example, Question]]:
    """Return the examples of the first index, each with its question; none if they take too long."""
    index = next(iter(indexes.indexes), None)
    if index is None:
        return []
    try:
        found = await within(limits.deadline_seconds, request, lambda deadline: examples_of(index, deadline))
    except FactcensusError as error:
        log.warning("no examples for the page of %s: %s", index.name, error)
        return []
    return [(each, Question(index=index.name, subject=each.subject, object=each.object or "")) for each in found]


async def _answered(
    request: Request, service: ServiceOf, indexes: VisibleIndexes, limits: Limits, question: Question
) -> dict[str, Any]:
    """Return the context of the template for a question about an index."""
    index = indexes.get(question.index or "")
    if question.compare == index.name:
        raise Problem(
            "invalid-request", f"{index.name!r} cannot be compared with itself; choose another index, or none"
        )
    other: CountIndex | None = indexes.get(question.compare) if question.compare else None
    context = await within(
        limits.deadline_seconds, request, lambda deadline: results_of(index, other, question, limits, deadline)
    )
    if "answer" in context:
        documents = context["answer"].cooccurrence.documents
        context |= service.fact_tables.standing(index.digest, documents, question.tokens_between)
        if (standing := context["standing"]) is not None:
            context["standing_figure"] = _standing_figure(standing, question.tokens_between)
    base, today = str(request.base_url), datetime.now(UTC).date()
    return context | {
        "curl": question.curl(base, keyed=service.keyed),
        "python": question.python(base),
        "citation": question.citation(index.info(), base, request.app.version, today),
        "json_address": question.json_address(),
        "permalink": question.address(cursor="") + "#answer",
    }


def _standing_figure(standing: Standing, window: int | None) -> Any:
    within_window = "" if window is None else f" at most {window} tokens apart"
    caption = f"Facts of {standing.table} by the documents that mention subject and object{within_window}"
    return facts_by_count(standing.picture, standing.legend, caption, f"this fact: {standing.count:,}")
