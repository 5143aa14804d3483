"""Counting a whole batch of facts in one request."""

from __future__ import annotations

from typing import Annotated, Any

import pyarrow as pa
from anyio import to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from factcensus.api.answers import FactsAnswer
from factcensus.api.bodies import FactsBody, Window
from factcensus.api.dependencies import LimitsOf, OpenIndex, ServiceOf
from factcensus.api.formats import FactsFormat, format_of_answer, format_of_body
from factcensus.api.limits import check_batch, check_windows
from factcensus.api.settings import Limits
from factcensus.indexer import CountIndex

router = APIRouter(tags=["facts"])
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_TABLES = {
    "application/x-ndjson": {**_TEXT, "example": '{"subject":"Marie Curie","object":"Warsaw"}\n'},
    "text/csv": {**_TEXT, "example": "subject,object\nMarie Curie,Warsaw\n"},
}


@router.post(
    "/v1/indexes/{index}/facts:count",
    summary="Count a batch of facts",
    response_class=Response,
    responses={200: {"model": FactsAnswer, "content": dict.fromkeys(_TABLES, _TEXT)}},
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
    windows: Annotated[list[Window], Query(description="For NDJSON and CSV; may be given several times.")] = [],  # noqa: B006  # the framework copies it
) -> Response:
    """The facts with their counts, in the order they came; JSON, NDJSON or CSV in and out, by ``Accept``."""
    body_format = format_of_body(request.headers.get("content-type"))
    answer_format = format_of_answer(request.headers.get("accept"), body_format)
    body = await request.body()
    counts = await to_thread.run_sync(
        _counted, index, body_format, body, windows, limits, limiter=service.batch_limiter
    )
    service.metrics.facts_counted.inc(counts.num_rows)
    return Response(await run_in_threadpool(answer_format.write, counts), media_type=answer_format.media_type)


def _counted(index: CountIndex, body_format: FactsFormat, body: bytes, windows: list[int], limits: Limits) -> pa.Table:
    facts, own_windows = body_format.read(body)
    windows = windows if own_windows is None else own_windows
    check_windows(windows, limits)
    check_batch(facts, limits)
    return index.count_facts(facts, windows=windows)
