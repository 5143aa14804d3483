"""Counting one text, or one subject with one object."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from factcensus.api.answers import CooccurrenceAnswer, CountAnswer
from factcensus.api.bodies import By, CooccurrenceBody, CountBody, scope_of
from factcensus.api.caching import cache_headers, not_modified
from factcensus.api.deadlines import within
from factcensus.api.dependencies import JsonBody, LimitsOf, OpenIndex
from factcensus.api.limits import check_entity, check_groups, check_text
from factcensus.api.problems import Problem
from factcensus.indexer import Limit

router = APIRouter(tags=["counts"])


@router.get(
    "/v1/indexes/{index}/count",
    summary="Count a text",
    responses={200: {"model": CountAnswer}, 304: {"description": "The answer with this ETag still holds."}},
)
async def count_by_address(
    request: Request,
    index: OpenIndex,
    limits: LimitsOf,
    text: Annotated[str, Query(description="The text, percent-encoded UTF-8: a bare + is a space.")],
    by: Annotated[By, Query(description='"source" or another column; adds the numbers of each of its values.')] = None,
) -> Response:
    """Occurrences of the text's tokens, and the documents that hold them; exact."""
    try:
        unquote_to_bytes(request.scope["query_string"]).decode("utf-8")
    except UnicodeDecodeError:  # the framework would put U+FFFD in its place, and another text would be counted
        raise Problem(
            "invalid-request", "text: the percent-encoded bytes are not UTF-8; encode the text as UTF-8"
        ) from None
    check_text(text, "the text", limits)
    headers = cache_headers(request, index)
    if (unchanged := not_modified(request, headers)) is not None:
        return unchanged

    def counted(limit: Limit) -> dict[str, Any]:
        check_groups(index, by, limits)
        return index.count(text, by=by, limit=limit)

    answer = await within(limits.deadline_seconds, request, counted)
    return JSONResponse(answer, headers=headers)


@router.post(
    "/v1/indexes/{index}/count",
    summary="Count a text",
    responses={200: {"model": CountAnswer}},
    dependencies=[JsonBody],
)
async def count(request: Request, index: OpenIndex, limits: LimitsOf, body: CountBody) -> JSONResponse:
    """Occurrences of the text's tokens, and the documents that hold them; exact."""
    check_text(body.text, "the text", limits)
    scope = scope_of(body.filter)

    def counted(limit: Limit) -> dict[str, Any]:
        check_groups(index, body.by, limits)
        return index.count(body.text, by=body.by, scope=scope, limit=limit)

    return JSONResponse(await within(limits.deadline_seconds, request, counted))


@router.post(
    "/v1/indexes/{index}/cooccurrence",
    summary="Count a subject and an object, alone and together",
    responses={200: {"model": CooccurrenceAnswer}},
    dependencies=[JsonBody],
)
async def cooccurrence(request: Request, index: OpenIndex, limits: LimitsOf, body: CooccurrenceBody) -> JSONResponse:
    """Mentions and documents of each, documents and pairs of both together, within the window if there is one."""
    subject, object_ = body.subject.entity(), body.object.entity()
    check_entity(subject, "the subject", limits)
    check_entity(object_, "the object", limits)
    scope = scope_of(body.filter)

    def counted(limit: Limit) -> dict[str, Any]:
        check_groups(index, body.by, limits)
        return index.cooccurrence(subject, object_, window=body.window, by=body.by, scope=scope, limit=limit)

    return JSONResponse(await within(limits.deadline_seconds, request, counted))
