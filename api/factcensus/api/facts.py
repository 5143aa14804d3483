"""Counting a whole batch of facts in one request."""

from __future__ import annotations

from typing import Annotated, Any

import pyarrow as pa
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from factcensus.api.answers import FactsAnswer
from factcensus.api.bodies import FactsBody, Window
from factcensus.api.deadlines import within
from factcensus.api.dependencies import LimitsOf, OpenIndex, ServiceOf
from factcensus.api.formats import FactsFormat, format_of_answer, format_of_body
from factcensus.api.limits import check_batch, check_windows
from factcensus.api.settings import Limits
from factcensus.indexer import CountIndex, Limit

router = APIRouter(tags=["facts"])
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_BINARY: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_TABLES = {
    "application/x-ndjson": {**_TEXT, "example": '{"subject":"Marie Curie","object":"Warsaw"}\n'},
    "text/csv": {**_TEXT, "example": "subject,object\nMarie Curie,Warsaw\n"},
    "application/vnd.apache.arrow.stream": _BINARY,
    "application/vnd.apache.parquet": _BINARY,
}


@router.post(
    "/v1/indexes/{index}/facts:count",
    summary="Count a batch of facts",
    response_class=Response,
    responses={
        200: {"model": FactsAnswer, "content": {name: {"schema": table["schema"]} for name, table in _TABLES.items()}}
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": FactsBody.model_json_schema()}, **_TABLES},
        }
    },
)
async def count_facts(
    request: Request,
    index: OpenIndex,
    limits: LimitsOf,
    service: ServiceOf,
    windows: Annotated[list[Window], Query(description="For tables; may be given several times.")] = [],  # noqa: B006  # the framework copies it
) -> Response:
    """The facts with their counts, in the order they came.

    JSON, NDJSON, CSV, an Arrow stream or Parquet by ``Content-Type``; the same out, by ``Accept``.
    """
    body_format = format_of_body(request.headers.get("content-type"))
    answer_format = format_of_answer(request.headers.get("accept"), body_format)
    body = await request.body()
    counts = await within(
        limits.deadline_seconds,
        request,
        lambda limit: _counted(index, body_format, body, windows, limits, limit),
        limiter=service.batch_limiter,
    )
    service.metrics.facts_counted.inc(counts.num_rows)
    return Response(await run_in_threadpool(answer_format.write, counts), media_type=answer_format.media_type)


def _counted(
    index: CountIndex, body_format: FactsFormat, body: bytes, windows: list[int], limits: Limits, limit: Limit
) -> pa.Table:
    facts, own_windows = body_format.read(body, limits)
    windows = windows if own_windows is None else own_windows
    check_windows(windows, limits)
    check_batch(facts, limits)
    return index.count_facts(facts, windows=windows, limit=limit)
