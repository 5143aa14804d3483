"""Jobs over HTTP: their state, their results, their end. ``POST …/facts:count`` makes them."""

from __future__ import annotations

from itertools import chain, islice
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from factcensus.api.answers import FactsAnswer, JobAnswer, JobList
from factcensus.api.dependencies import HolderOf, IndexesOf, JobsOf, ServiceOf, new_router
from factcensus.api.formats import (
    FILE_ENDINGS,
    TABLE_CONTENT,
    FactsFormat,
    check_writable,
    format_of_answer,
    format_of_body,
)
from factcensus.api.http.problems import Problem
from factcensus.api.jobs.records import UNFINISHED, Job
from factcensus.api.jobs.runner import JobRunner, unknown_job
from factcensus.api.serving.caching import not_modified
from factcensus.api.streams import TableStream

router = new_router("jobs")
JobId = Annotated[str, Path(description="The job's id.")]


async def found_job(job: JobId, jobs: JobsOf, holder: HolderOf, indexes: IndexesOf) -> Job:
    """The job that the path names: one that was sent with the same key, of an index that the key may ask."""
    found = await run_in_threadpool(jobs.job, job, holder)
    if not indexes.may_ask(found.index):
        raise unknown_job(job)
    return found


FoundJob = Annotated[Job, Depends(found_job)]


def accepted(job: Job, jobs: JobRunner) -> JSONResponse:
    """The answer to a table that became a job: 202, and where to look."""
    shown = job.shown(jobs.retention_s)
    return JSONResponse(shown, 202, headers={"Location": shown["status_url"], "Retry-After": "1"})


@router.get("/v1/jobs", summary="List your jobs", responses={200: {"model": JobList}})
async def list_jobs(jobs: JobsOf, holder: HolderOf, indexes: IndexesOf) -> JSONResponse:
    """The jobs that were sent with the same key, or without keys all; the newest first."""
    found = await run_in_threadpool(jobs.jobs, holder)
    return JSONResponse({"jobs": [job.shown(jobs.retention_s) for job in found if indexes.may_ask(job.index)]})


@router.get("/v1/jobs/{job}", summary="How far is a job?", responses={200: {"model": JobAnswer}})
async def describe_job(found: FoundJob, jobs: JobsOf) -> JSONResponse:
    """Its state, the facts counted so far, and, when it is done, where the result is."""
    headers = {"Retry-After": "1"} if found.state in UNFINISHED else {}
    return JSONResponse(found.shown(jobs.retention_s), headers=headers)


@router.delete(
    "/v1/jobs/{job}",
    summary="Cancel or remove a job",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "It is gone, and its result as well."}},
)
async def remove_job(job: JobId, jobs: JobsOf, holder: HolderOf) -> Response:
    """Stop it, if it is not done yet, and forget it together with its result."""
    await run_in_threadpool(jobs.remove, job, holder)
    return Response(status_code=204)


@router.get(
    "/v1/jobs/{job}/result",
    summary="Fetch the counts of a job",
    response_class=Response,
    responses={
        200: {"model": FactsAnswer, "content": TABLE_CONTENT},
        304: {"description": "The result with this ETag still holds."},
    },
)
async def job_result(
    request: Request,
    found: FoundJob,
    jobs: JobsOf,
    service: ServiceOf,
    format: Annotated[
        Literal["json", "jsonl", "csv", "arrow", "parquet"] | None,
        Query(description="The format, for those who cannot set `Accept`; it goes before that header."),
    ] = None,
) -> Response:
    """The counts table, as ``facts:count`` would have answered it, in the order of the facts."""
    if found.state in UNFINISHED:
        raise Problem(
            "job-not-done",
            f"{found.counted} of {found.facts} facts are counted; ask again when the state at {job_url(found)} is done",
            headers={"Retry-After": "1"},
        )
    if found.state == "failed":
        raise Problem("job-failed", found.error or "the job failed")
    await run_in_threadpool(jobs.refuse_outdated, found)
    own = format_of_body(found.media_type)
    chosen = format_of_body(FILE_ENDINGS[format]) if format else format_of_answer(request.headers.get("accept"), own)
    ending = next(ending for ending, media_type in FILE_ENDINGS.items() if media_type == chosen.media_type)
    headers = {
        "ETag": f'"{found.id}-{ending}"',
        "Vary": "Accept",
        "Content-Disposition": f'attachment; filename="counts-{found.id[:8]}.{ending}"',
    }
    if (unchanged := not_modified(request, headers)) is not None:
        return unchanged
    schema = await run_in_threadpool(_checked_schema, jobs, found, chosen)
    pieces = jobs.counts(found)
    first = await run_in_threadpool(lambda: list(islice(pieces, 1)))  # the result may have been dropped meanwhile
    return TableStream(
        schema,
        chain(first, pieces),
        chosen,
        stop=lambda: None,
        limiter=None,
        metrics=service.metrics,
        headers=headers,
    )


def job_url(job: Job) -> str:
    """Where a job's state is."""
    return f"/v1/jobs/{job.id}"


def _checked_schema(jobs: JobRunner, job: Job, format: FactsFormat) -> Any:
    """The schema of a result, whose values the format can hold."""
    schema = None
    for piece in jobs.counts(job):
        schema = piece.schema
        if not check_writable(piece, format):
            break
    return schema
