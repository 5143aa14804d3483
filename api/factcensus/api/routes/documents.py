"""The routes that show text: the documents behind a number, page by page, and the spans of a text in the corpus."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from factcensus.api.bodies import DocumentsBody, TraceBody, scope_of
from factcensus.api.cursors import cursors_of
from factcensus.api.dependencies import JsonBody, LimitsOf, OpenIndex, new_router
from factcensus.api.http.problems import Problem
from factcensus.api.limits import check_entity, check_groups, check_text
from factcensus.api.serving.deadlines import within
from factcensus.api.settings import Limits
from factcensus.indexer import Deadline
from factcensus.indexer.answers import DocumentsAnswer, TraceAnswer

router = new_router("documents")


@router.post(
    "/v1/indexes/{index}/documents",
    summary="Find documents",
    responses={200: {"model": DocumentsAnswer}},
    dependencies=[JsonBody],
)
async def documents(request: Request, index: OpenIndex, limits: LimitsOf, body: DocumentsBody) -> JSONResponse:
    """Return documents with metadata and highlighted passages; ``next`` of a page is the ``cursor`` of the next."""
    if body.limit > limits.max_documents:
        raise Problem(
            "limit-exceeded",
            f"limit is {body.limit}, more than {limits.max_documents} (FACTCENSUS_MAX_DOCUMENTS); "
            'use smaller pages and follow "next"',
        )
    query = _query(body, limits)
    scope = scope_of(body.filter)
    cursors = cursors_of(index, body)
    start = 0 if body.cursor is None else cursors.start(body.cursor)

    def found(deadline: Deadline) -> DocumentsAnswer:
        check_groups(index, body.by, limits)
        return index.find_documents(**query, limit=body.limit, start=start, by=body.by, scope=scope, deadline=deadline)

    page = await within(limits.deadline_seconds, request, found)
    return JSONResponse(replace(page, next=cursors.next_of(page)).as_json())


@router.post(
    "/v1/indexes/{index}/trace",
    summary="Find the spans of a text that occur in the corpus",
    responses={200: {"model": TraceAnswer}},
    dependencies=[JsonBody],
)
async def trace(request: Request, index: OpenIndex, limits: LimitsOf, body: TraceBody) -> JSONResponse:
    """Return the longest spans of a text that occur in the corpus, with counts, and documents that contain them."""
    check_text(body.text, "the text", limits)
    scope = scope_of(body.filter)

    def found(deadline: Deadline) -> TraceAnswer:
        return index.trace(
            body.text,
            least_tokens=body.least_tokens,
            limit=body.limit,
            documents=body.documents,
            scope=scope,
            deadline=deadline,
        )

    return JSONResponse((await within(limits.deadline_seconds, request, found)).as_json())


def _query(body: DocumentsBody, limits: Limits) -> dict[str, Any]:
    if body.pattern is not None:
        check_text(body.pattern, "the pattern", limits)
        return {"pattern": body.pattern}
    if body.text is not None:
        check_text(body.text, "the text", limits)
        return {"text": body.text, "verbatim": body.verbatim, "normalise": body.normalise, "region": body.region}
    assert body.subject is not None  # the body was checked: a text, a pattern or a subject
    subject, object_ = body.subject.entity(), None if body.object is None else body.object.entity()
    check_entity(subject, "the subject", limits)
    if object_ is not None:
        check_entity(object_, "the object", limits)
    return {"subject": subject, "object": object_, "window": body.window}
