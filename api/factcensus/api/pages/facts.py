"""The page at ``/``: how often a text or a fact occurs in a corpus, where, and its rank among other facts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from factcensus.api.bodies import scope_of
from factcensus.api.cursors import Cursors, cursors_of
from factcensus.api.dependencies import IndexesOf, LimitsOf, ServiceOf, new_router
from factcensus.api.http.negotiation import preferred
from factcensus.api.http.parameters import refuse_ignored
from factcensus.api.http.problems import KINDS, Problem, kind_of
from factcensus.api.limits import check_entity, check_groups, check_text
from factcensus.api.pages.asking import Question
from factcensus.api.pages.rendering import html
from factcensus.api.serving.deadlines import within
from factcensus.api.settings import Limits
from factcensus.indexer import CountIndex, Deadline
from factcensus.indexer.answers import CooccurrenceAnswer, DocumentsAnswer, GroupCounts
from factcensus.indexer.errors import FactcensusError

router = new_router("pages")
#: Documents per page.
SHOWN = 5
#: Maximum rows by source; the other sources are summed up in one row.
MOST_ROWS = 25


@router.get("/", summary="Show the web page, or list the index names", response_class=HTMLResponse)
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
    context: dict[str, Any] = {"names": names, "form": question}
    status = 200
    if question.index is not None:
        try:
            index = indexes.get(question.index)
            result = await within(
                limits.deadline_seconds, request, lambda deadline: _result(index, question, limits, deadline)
            )
            context |= result
            if "answer" in result:
                documents = result["answer"].cooccurrence.documents
                context |= service.fact_tables.standing(index.digest, documents, question.tokens_between)
            base = str(request.base_url)
            context |= {"curl": question.curl(base), "python": question.python(base)}
            context |= {"json_address": question.json_address(), "permalink": question.address(cursor="")}
        except (Problem, FactcensusError) as error:
            status, context["error"] = said(error)
    return html(request, "page.html", context, status)


@router.get("/docs", summary="Show this reference", response_class=HTMLResponse)
async def docs(request: Request) -> HTMLResponse:
    """Return the OpenAPI document as an HTML page."""
    return html(request, "reference.html", {"document": request.app.openapi()})


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> JSONResponse:
    """Return the OpenAPI document of this application."""
    return JSONResponse(request.app.openapi())


def said(error: Problem | FactcensusError) -> tuple[int, str]:
    """Return the status of an error, and its message for the page.

    Raises:
        FactcensusError: It is an internal error, which the error handler reports.
    """
    if isinstance(error, Problem):
        return error.status_code, error.detail
    kind = kind_of(error)
    if kind == "internal-error":
        raise error
    return KINDS[kind][0], str(error)


def _result(index: CountIndex, question: Question, limits: Limits, deadline: Deadline) -> dict[str, Any]:
    # An index that infini-gram built has no sources, so its page does not show them.
    by = (question.by or None) if index.manifest is not None else None
    check_groups(index, by, limits)
    scope = scope_of(question.filter)
    cursors = cursors_of(index, question.documents_body())
    start = cursors.start(question.cursor) if question.cursor else 0
    if question.alone is not None:
        check_text(question.alone, "the text", limits)
        counted = index.count(question.alone, by=by, scope=scope, deadline=deadline)
        found = index.find_documents(text=question.alone, limit=SHOWN, start=start, scope=scope, deadline=deadline)
        values = sorted((counted.groups or {}).items(), key=lambda each: (-each[1].documents, each[0]))
        context = {"counted": counted, "values": [each for each in values if each[1].documents][:MOST_ROWS]}
        return context | _page(question, cursors, found, start)
    (subject, object_), window = question.entities, question.tokens_between
    check_entity(subject, "the subject", limits)
    check_entity(object_, "the object", limits)
    answer = index.cooccurrence(subject, object_, window=window, by=by, scope=scope, deadline=deadline)
    found = index.find_documents(
        subject=subject, object=object_, window=window, limit=SHOWN, start=start, scope=scope, deadline=deadline
    )
    return {"answer": answer, "rows": _rows(answer)} | _page(question, cursors, found, start)


def _page(question: Question, cursors: Cursors, found: DocumentsAnswer, start: int) -> dict[str, Any]:
    """Return the documents of a page and the address of the next one."""
    cursor = cursors.next_of(found)
    following = None if cursor is None else question.address(cursor=cursor)
    return {"found": found, "start": start, "next_page": following}


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the table of counts by column value.

    Attributes:
        value: The value; None in the row that sums up ``others`` values.
        share: Documents with both, in percent of the largest row.
    """

    value: str | None
    counts: GroupCounts
    share: float | None
    others: int = 0


def _rows(answer: CooccurrenceAnswer) -> list[_Row]:
    """Return the counts by column value, most documents first; values after the first rows are summed in one row."""
    groups = sorted((answer.groups or {}).items(), key=lambda each: (-each[1].cooccurrence.documents, each[0]))
    most = max([1, *(counts.cooccurrence.documents for _, counts in groups)])
    rows = [
        _Row(value, counts, share=round(100 * counts.cooccurrence.documents / most, 1))
        for value, counts in groups[:MOST_ROWS]
    ]
    if rest := [counts for _, counts in groups[MOST_ROWS:]]:
        rows.append(_Row(None, reduce(add, rest), share=None, others=len(rest)))
    return rows
