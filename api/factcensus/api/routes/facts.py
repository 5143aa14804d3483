"""The route that counts a table of facts: in one response, as a stream in row order, or as a job if it is large."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Annotated, Any

import pyarrow as pa
from fastapi import Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from factcensus.api.answers import FactsAnswer, JobAnswer
from factcensus.api.bodies import FactsBody, WindowText
from factcensus.api.dependencies import HolderOf, JobsOf, LimitsOf, OpenIndex, ServiceOf, new_router
from factcensus.api.formats import (
    TABLE_CONTENT,
    FactsFormat,
    check_writable,
    format_of_answer,
    format_of_body,
    row_bytes,
)
from factcensus.api.http.parameters import refused_name
from factcensus.api.jobs.incoming import submit_decoded
from factcensus.api.jobs.records import Job
from factcensus.api.limits import bounds_of_body, check_entities, check_windows, fits_in_answer
from factcensus.api.routes.jobs import accepted
from factcensus.api.serving.deadlines import within
from factcensus.api.settings import Limits
from factcensus.api.streams import Allowance, TableStream, pieces_of
from factcensus.indexer import CountIndex, Deadline
from factcensus.indexer.tables.counts import check_names

router = new_router("facts")
#: Approximate maximum bytes of a response in one piece; a longer one is sent in chunks.
WHOLE_BYTES = 16 * 2**20
_EXAMPLES = {
    "application/x-ndjson": '{"subject":"Marie Curie","object":"Warsaw"}\n',
    "text/csv": "subject,object\nMarie Curie,Warsaw\n",
}


def _example(media_type: str) -> dict[str, Any]:
    return {"example": _EXAMPLES[media_type]} if media_type in _EXAMPLES else {}


@dataclass(frozen=True)
class _Begun:
    """A checked table whose first rows are counted."""

    facts: pa.Table
    windows: list[int]
    first: pa.Table
    rest: list[tuple[int, int]]


@router.post(
    "/v1/indexes/{index}/facts:count",
    summary="Count a table of facts",
    response_class=Response,
    responses={
        200: {"model": FactsAnswer, "content": {"application/json": {}, **TABLE_CONTENT}},
        202: {"model": JobAnswer, "description": "The table is counted as a job; `Location` is its URL."},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": FactsBody.model_json_schema()},
                **{name: {**content, **_example(name)} for name, content in TABLE_CONTENT.items()},
            },
        },
        "parameters": [
            {
                "name": "Prefer",
                "in": "header",
                "schema": {"type": "string"},
                "description": "`respond-async` makes a job of any table (RFC 7240).",
            }
        ],
    },
)
async def count_facts(
    request: Request,
    index: OpenIndex,
    limits: LimitsOf,
    service: ServiceOf,
    jobs: JobsOf,
    holder: HolderOf,
    windows: Annotated[list[WindowText], Query(description="For table formats; may be given several times.")] = [],  # noqa: B006  # the framework copies it
) -> Response:
    """Return the facts with their counts, in the order of the request.

    `Content-Type` and `Accept` choose JSON, NDJSON, CSV, an Arrow stream or Parquet. A large table is sent while it is
    counted. A table with too many facts, or in too large a body, becomes a job.
    """
    body_format = format_of_body(request.headers.get("content-type"))
    answer_format = format_of_answer(request.headers.get("accept"), body_format)
    body = await request.body()
    as_job = len(body) > limits.max_body_bytes or "respond-async" in _preferences(request)
    began = monotonic()

    def begin(deadline: Deadline) -> _Begun | Job:
        bounds = bounds_of_body(limits)
        with service.decoders.decoded(body, body_format.ending, bounds, deadline) as table:
            own = table.options.get("windows")
            if windows and own is not None:
                raise refused_name("windows", "windows are given in the URL and in the body; give them in one place")
            asked = windows if own is None else own
            check_windows(asked, limits)
            if as_job or not fits_in_answer(table.facts, table.size, limits):
                media_type = body_format.media_type
                return submit_decoded(jobs, index, table, asked, limits, media_type=media_type, owner=holder)
            facts = table.table()
        return _begin(index, facts, asked, answer_format, limits, deadline)

    begun = await within(limits.deadline_seconds, request, begin, limiter=service.batch_limiter)
    if isinstance(begun, Job):
        return accepted(begun, jobs)
    service.metrics.facts_counted.inc(begun.first.num_rows)
    first = begun.first
    if not begun.rest and first.num_rows * row_bytes(first) <= WHOLE_BYTES:
        answer = await run_in_threadpool(lambda: b"".join(answer_format.write(first.schema, [first])))
        return Response(answer, media_type=answer_format.media_type)
    allowance = Allowance(limits.deadline_seconds - (monotonic() - began))

    def pieces() -> Iterator[pa.Table]:
        yield first
        for start, size in begun.rest:
            facts = begun.facts.slice(start, size)
            yield allowance.spend(partial(index.count_facts, facts, windows=begun.windows))
            service.metrics.facts_counted.inc(size)

    return TableStream(
        first.schema,
        pieces(),
        answer_format,
        stop=allowance.stop,
        limiter=service.batch_limiter,
        metrics=service.metrics,
    )


def _preferences(request: Request) -> set[str]:
    values = ",".join(request.headers.getlist("prefer")).split(",")
    return {value.partition(";")[0].strip().lower() for value in values}


def _begin(
    index: CountIndex,
    facts: pa.Table,
    windows: list[int],
    answer_format: FactsFormat,
    limits: Limits,
    deadline: Deadline,
) -> _Begun:
    check_entities(facts, limits)
    check_writable(facts, answer_format)
    (start, size), *rest = pieces_of(facts.num_rows)
    if rest:  # after the first piece it is too late to refuse
        check_names(index, facts)
    first = index.count_facts(facts.slice(start, size), windows=windows, deadline=deadline)
    return _Begun(facts, windows, first, rest)
