"""Routes to inspect, fetch and remove jobs; ``POST …/facts:count`` creates them."""

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
from factcensus.api.jobs.remote import Jobs
from factcensus.api.jobs.runner import unknown_job
from factcensus.api.serving.caching import not_modified
from factcensus.api.streams import TableStream

router = new_router("jobs")
JobId = Annotated[str, Path(description="The job's id.")]


async def found_job(job: JobId, jobs: JobsOf, holder: HolderOf, indexes: IndexesOf) -> Job:
    """Return the job that the path names, if it was sent with the same key and the key may use its index."""
    found = await run_in_threadpool(jobs.job, job, holder)
    if not indexes.may_ask(found.index):
        raise unknown_job(job)
    return found


FoundJob = Annotated[Job, Depends(found_job)]


def accepted(job: Job, jobs: Jobs) -> JSONResponse:
    """Return the response 202 for a table that became a job, with the URL of the job."""
    shown = job.shown(jobs.retention_s)
    return JSONResponse(shown, 202, headers={"Location": shown["status_url"], "Retry-After": "1"})


@router.get("/v1/jobs", summary="List your jobs", responses={200: {"model": JobList}})
async def list_jobs(jobs: JobsOf, holder: HolderOf, indexes: IndexesOf) -> JSONResponse:
    """Return the jobs sent with the same key (all jobs if API keys are disabled), newest first."""
    found = await run_in_threadpool(jobs.jobs, holder)
    return JSONResponse({"jobs": [job.shown(jobs.retention_s) for job in found if indexes.may_ask(job.index)]})


@router.get("/v1/jobs/{job}", summary="Describe a job", responses={200: {"model": JobAnswer}})
async def describe_job(found: FoundJob, jobs: JobsOf) -> JSONResponse:
    """Return the state of the job, the number of facts counted, and the URL of the result once it is done."""
    headers = {"Retry-After": "1"} if found.state in UNFINISHED else {}
    return JSONResponse(found.shown(jobs.retention_s), headers=headers)


@router.delete(
    "/v1/jobs/{job}",
    summary="Cancel or remove a job",
    status_code=204,
    response_class=Response,
    responses={204: {"description": "The job and its result are removed."}},
)
async def remove_job(job: JobId, jobs: JobsOf, holder: HolderOf) -> Response:
    """Cancel an unfinished job, and remove the job with its result."""
    await run_in_threadpool(jobs.remove, job, holder)
    return Response(status_code=204)


@router.get(
    "/v1/jobs/{job}/result",
    summary="Fetch the counts of a job",
    response_class=Response,
    responses={
        200: {"model": FactsAnswer, "content": {"application/json": {}, **TABLE_CONTENT}},
        304: {"description": "The result with this ETag is still valid."},
    },
)
async def job_result(
    request: Request,
    found: FoundJob,
    jobs: JobsOf,
    service: ServiceOf,
    format: Annotated[
        Literal["json", "jsonl", "csv", "arrow", "parquet"] | None,
        Query(description="The format, for clients that cannot set `Accept`; it takes precedence over that header."),
    ] = None,
) -> Response:
    """Return the table of counts in the order of the facts, as ``facts:count`` returns it."""
    if found.state in UNFINISHED:
        raise Problem(
            "job-not-done",
            f"{found.counted} of {found.facts} facts are counted; try again when the state at {job_url(found)} is done",
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
    first = await run_in_threadpool(lambda: list(islice(pieces, 1)))  # the result may have been dropped in the meantime
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
    """Return the path of a job."""
    return f"/v1/jobs/{job.id}"


def _checked_schema(jobs: Jobs, job: Job, format: FactsFormat) -> Any:
    """Return the schema of a result after checking that the format can represent its values."""
    schema = None
    for piece in jobs.counts(job):
        schema = piece.schema
        if not check_writable(piece, format):
            break
    return schema
