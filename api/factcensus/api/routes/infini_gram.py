"""The routes ``POST /``, in the form of the public infini-gram API, and ``facts:replicate``."""

from __future__ import annotations

import json
import logging
import time
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import Depends, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from factcensus.api.bodies import ReplicationBody
from factcensus.api.dependencies import (
    IndexesOf,
    JsonBody,
    LimitsOf,
    OpenIndex,
    ServiceOf,
    VisibleIndexes,
    new_router,
)
from factcensus.api.http.problems import Problem
from factcensus.api.http.routes import DirectRoute
from factcensus.api.infini_gram.engines import Models
from factcensus.api.infini_gram.queries import ParsedRequest, answer
from factcensus.api.infini_gram.replication import NotebookSettings, count_as_notebook
from factcensus.api.infini_gram.tokens import query_of
from factcensus.api.infini_gram.wire import QUERY_TYPES, RANGES, Asked, Refusal, read
from factcensus.api.limits import bounds_of_body, check_entities, check_facts_number
from factcensus.api.serving.deadlines import within
from factcensus.indexer import CountIndex, Deadline
from factcensus.indexer.errors import (
    DeadlineError,
    FactcensusError,
    IndexChangedError,
    IndexFormatError,
    InputError,
    MissingExtraError,
)

router = new_router("infini-gram")
#: `POST /` ignores the query string, like the public API.
wire = new_router("infini-gram", route_class=DirectRoute)
log = logging.getLogger("factcensus.api")


async def models_of(request: Request) -> Models:
    """Return the language models of this application."""
    models: Models = request.app.state.models
    return models


ModelsOf = Annotated[Models, Depends(models_of)]

_INTEGER = {"type": "integer"}
_QUERY: dict[str, Any] = {
    "title": "InfiniGramQuery",
    "type": "object",
    "required": ["index", "query_type"],
    "properties": {
        "index": {"type": "string", "description": "Name of an open index; `corpus` is a synonym."},
        "query_type": {"type": "string", "enum": list(QUERY_TYPES)},
        "query": {
            "type": "string",
            "description": "A text; ` AND ` and ` OR ` split it into clauses and terms. Alternative: `query_ids`.",
        },
        "query_ids": {
            "type": "array",
            "items": {},
            "description": "A list of token ids, or of clauses of terms of token ids.",
        },
        **{name: {**_INTEGER, "minimum": 1, "maximum": RANGES[name][0], "default": RANGES[name][1]} for name in RANGES},
        **{name: {**_INTEGER, "minimum": 0} for name in ("s", "rank", "ptr")},
    },
    "examples": [{"index": "people", "query_type": "count", "query": "Marie Curie AND Warsaw"}],
}
_ERROR = {
    "content": {
        "application/json": {
            "schema": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
        }
    }
}


@wire.post(
    "/",
    summary="Query with the public infini-gram API's wire format",
    response_class=Response,
    responses={
        200: {
            "description": "The response of that API with sorted keys, or an `error`.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        },
        400: {"description": "The request does not have the form of that API.", **_ERROR},
        415: {"description": "The body is not declared as JSON.", **_ERROR},
        500: {"description": "An internal error.", **_ERROR},
        503: {"description": "The index is not open.", **_ERROR},
        504: {"description": "The query took too long.", **_ERROR},
    },
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _QUERY}}}},
)
async def infini_gram(request: Request, indexes: IndexesOf, limits: LimitsOf, models: ModelsOf) -> Response:
    """Answer a query with the names, limits, errors and statuses of that API; the counts are exact.

    The response to each query type is described in docs/infini-gram-api.md.
    """
    body = await request.body()
    content_type = request.headers.get("content-type")

    def answered(deadline: Deadline) -> tuple[dict[str, Any], int]:
        asked = read(body, content_type, partial(_is_index, indexes))
        return _answered(asked, indexes.get(asked.index), models, deadline)

    try:
        found, status = await within(limits.deadline_seconds, request, answered)
    except Refusal as refusal:
        found, status = {"error": refusal.error}, refusal.status
    except Problem as problem:
        request.state.problem = problem.kind  # for the metrics
        found, status = {"error": f"[Flask] {problem.detail}"}, problem.status_code
    except DeadlineError as error:
        request.state.problem = "deadline-exceeded"
        found, status = {"error": f"[Flask] Web request timed out: {error}"}, 504
    except IndexChangedError:
        request.state.problem = "index-changed"
        found, status = {"error": "[Flask] the index has just changed; try again"}, 503
    except FactcensusError:
        request_id = getattr(request.state, "request_id", "-")
        log.exception("request %s failed", request_id)
        found = {"error": f"[Flask] Internal server error: the service's log has the cause under {request_id}"}
        status = 500
    return Response(json.dumps(found, sort_keys=True), status, media_type="application/json")


def _is_index(indexes: VisibleIndexes, name: str) -> bool:
    try:
        indexes.get(name)
    except Problem as problem:
        if problem.kind == "unknown-index":
            return False
        raise
    return True


def _answered(asked: Asked, index: CountIndex, models: Models, deadline: Deadline) -> tuple[dict[str, Any], int]:
    query = query_of(asked, index)
    started = time.perf_counter()
    try:
        found = answer(ParsedRequest(index, asked, query, deadline, lambda: models.of(index)))
    except Refusal as refusal:
        found = {"error": refusal.error}
    except (InputError, MissingExtraError) as error:
        if isinstance(error, IndexFormatError):
            raise
        # The status is 200 because clients of that API retry endlessly on any other.
        found = {"error": str(error)}
    latency = 1000 * (time.perf_counter() - started)
    return {**found, "latency": latency, "token_ids": query.ids, "tokens": query.tokens}, 200


class ReplicationAnswer(BaseModel):
    """The facts with both counts."""

    facts: list[dict[str, Any]] = Field(
        description="The fact's own columns and those of facts:count, then paper_notebook_questions (query, count, "
        "approx, exact_count; or error), paper_notebook_count, paper_notebook_approx, paper_notebook_engine, "
        "exact_count, difference."
    )


@router.post(
    "/v1/indexes/{index}/facts:replicate",
    summary="Count facts like a published notebook, next to the exact counts",
    responses={200: {"model": ReplicationAnswer}},
    response_class=Response,
    dependencies=[JsonBody],
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ReplicationBody.model_json_schema()}},
        }
    },
)
async def replicate_facts(
    request: Request, index: OpenIndex, limits: LimitsOf, service: ServiceOf, models: ModelsOf
) -> Response:
    """Return the notebook's counts from infini-gram's engine, the exact counts, and the difference for each fact."""
    content = await request.body()

    def counted(deadline: Deadline) -> bytes:
        with service.decoders.decoded(content, "json", bounds_of_body(limits), deadline, form="replication") as table:
            check_facts_number(table.facts, limits)
            asked, facts = table.options, table.table()
        settings = NotebookSettings(asked["max_diff_tokens"], asked["max_clause_freq"])
        check_entities(facts, limits)
        rows = count_as_notebook(index, facts, models, deadline, settings)
        return orjson.dumps({"facts": rows})

    answered = await within(limits.deadline_seconds, request, counted, limiter=service.batch_limiter)
    return Response(answered, media_type="application/json")


router.routes += wire.routes
