"""The pages at ``/tables``: upload a table of facts, watch its progress, see its strata, download it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from fastapi import Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from factcensus.api.bodies import LARGEST_WINDOW
from factcensus.api.dependencies import (
    HolderOf,
    IndexesOf,
    JobsOf,
    LimitsOf,
    Service,
    ServiceOf,
    VisibleIndexes,
    new_router,
)
from factcensus.api.formats import FILE_ENDINGS, format_of_body
from factcensus.api.http.origins import check_form_token, form_token
from factcensus.api.http.parameters import check_names
from factcensus.api.http.problems import Problem
from factcensus.api.jobs.incoming import submit_decoded
from factcensus.api.jobs.records import UNFINISHED, Job
from factcensus.api.jobs.remote import Jobs
from factcensus.api.limits import bounds_of_file, check_windows
from factcensus.api.pages.asking import Question
from factcensus.api.pages.plots import facts_by_count
from factcensus.api.pages.rendering import html, said
from factcensus.api.routes.jobs import FoundJob, JobId, found_job
from factcensus.api.serving.deadlines import within
from factcensus.api.serving.fact_tables import DOCUMENTS, spread_of
from factcensus.api.settings import Limits
from factcensus.indexer import CountIndex, Deadline, stratify
from factcensus.indexer.errors import FactcensusError, InputError
from factcensus.indexer.numbers import whole_number
from factcensus.indexer.tables.added import without_strata
from factcensus.indexer.tables.columns import STRATUM_COLUMNS

router = new_router("pages", include_in_schema=False)
#: Number of the most frequent, of the rarest, and of the unseen facts of a finished table on the page. Up to twice as
#: many facts that occur are shown in one list.
PREVIEW = 10
#: Fields of the upload form; none may be repeated.
UPLOAD_FIELDS: dict[str, bool] = dict.fromkeys(("index", "windows", "facts", "token"), False)


@router.get("/tables")
async def tables(
    request: Request, indexes: IndexesOf, jobs: JobsOf, holder: HolderOf, limits: LimitsOf
) -> HTMLResponse:
    """Show the form and the earlier tables."""
    return html(request, "tables.html", await _form(request, indexes, jobs, holder, limits))


@router.post("/tables")
async def upload(
    request: Request, service: ServiceOf, indexes: IndexesOf, jobs: JobsOf, holder: HolderOf, limits: LimitsOf
) -> Response:
    """Make a job of the uploaded table and redirect to its page."""
    typed = {"index": "", "windows": ""}
    try:
        try:
            form = await request.form(max_files=1, max_fields=10)
        except Problem:  # the body is too large
            raise
        except HTTPException as error:
            raise Problem("malformed-body", f"the form cannot be read ({error.detail})") from None
        except OSError as error:  # the file is stored on disk
            raise Problem("jobs-full", f"the service has no disk space for the file ({error.strerror})") from error
        try:
            check_names([name for name, _ in form.multi_items()], UPLOAD_FIELDS, "form field")
            check_form_token(request, form.get("token"))
            typed = {name: str(form.get(name) or "") for name in typed}
            chosen = form.get("facts")
            if not isinstance(chosen, UploadFile) or not chosen.filename:
                raise InputError("no file was chosen; choose a file with facts")
            index = indexes.get(typed["index"])
            windows = _windows(typed["windows"])
            job = await within(
                limits.deadline_seconds,
                request,
                partial(_submitted, service, index, chosen, windows, holder),
                limiter=service.batch_limiter,
            )
        finally:
            await form.close()
    except (Problem, FactcensusError) as error:
        status, message = said(error)
        context = await _form(request, indexes, jobs, holder, limits)
        return html(request, "tables.html", {**context, "typed": typed, "error": message}, status)
    return RedirectResponse(f"tables/{job.id}", status_code=303)


@router.get("/tables/{job}")
async def table(
    request: Request,
    job: JobId,
    jobs: JobsOf,
    holder: HolderOf,
    indexes: IndexesOf,
    by: Annotated[str, Query()] = DOCUMENTS,
    bins: Annotated[str, Query()] = "",
) -> HTMLResponse:
    """Show the progress of a table, and its strata and facts once it is done."""
    context: dict[str, Any] = {"by": by, "bins": bins, "token": form_token(request)}
    status = 200
    try:
        found = await found_job(job, jobs, holder, indexes)
        context |= {"job": found, "finished": found.state not in UNFINISHED, "formats": list(FILE_ENDINGS)}
        if found.state == "done":
            context |= await run_in_threadpool(_shown, jobs, found, by, bins)
    except (Problem, FactcensusError) as error:
        status, context["error"] = said(error)
    return html(request, "table.html", context, status)


@router.get("/tables/{job}/strata.{ending}")
async def strata(
    found: FoundJob,
    ending: Literal["csv", "jsonl"],
    jobs: JobsOf,
    by: Annotated[str, Query()] = DOCUMENTS,
    bins: Annotated[str, Query()] = "",
) -> Response:
    """Return the strata table, like ``factcensus facts stratify``."""
    jobs.refuse_outdated(found)
    if found.state != "done":
        raise Problem("job-not-done", f"{found.counted} of {found.facts} facts are counted; try again when all are")
    strata = await run_in_threadpool(lambda: _strata(jobs, found, by, bins))
    written = format_of_body(FILE_ENDINGS[ending]).write
    pieces = _stratified(jobs, found, strata.select(STRATUM_COLUMNS))
    headers = {"Content-Disposition": f'attachment; filename="strata-{found.id[:8]}.{ending}"'}
    media_type = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}[ending]
    first = await run_in_threadpool(next, pieces)
    return StreamingResponse(written(first.schema, chain([first], pieces)), media_type=media_type, headers=headers)


@router.post("/tables/{job}/remove")
async def remove(request: Request, job: JobId, jobs: JobsOf, holder: HolderOf) -> Response:
    """Cancel or remove a table; a form without scripts can use this route."""
    check_form_token(request, (await request.form()).get("token"))
    await run_in_threadpool(jobs.remove, job, holder)
    return RedirectResponse("../../tables", status_code=303)


async def _form(request: Request, indexes: VisibleIndexes, jobs: Jobs, holder: str, limits: Limits) -> dict[str, Any]:
    """Return the content of the form: the indexes, and this holder's tables if jobs are available."""
    context: dict[str, Any] = {
        "names": indexes.names,
        "typed": {"index": "", "windows": ""},
        "limits": limits,
        "jobs": [],
        "token": form_token(request),
    }
    if jobs.reason_closed is None:
        sent = await run_in_threadpool(jobs.jobs, holder)
        context["jobs"] = [job for job in sent if indexes.may_ask(job.index)]
    return context | {"closed": jobs.reason_closed}


def _windows(text: str) -> list[int]:
    """Parse windows separated by commas or spaces."""
    try:
        return [whole_number(word, most=LARGEST_WINDOW) for word in text.replace(",", " ").split()]
    except ValueError:
        raise InputError(
            f"invalid windows {text[:100]!r}; give whole numbers of tokens separated by commas, such as 10, 50"
        ) from None


def _submitted(
    service: Service, index: CountIndex, upload: UploadFile, windows: list[int], holder: str, deadline: Deadline
) -> Job:
    """Check an uploaded table and make a job of it."""
    name = upload.filename or ""
    ending = PurePosixPath(name).suffix.lower().removeprefix(".")
    if ending not in FILE_ENDINGS:
        endings = ", ".join(f".{each}" for each in FILE_ENDINGS)
        raise InputError(f"unsupported file {name[:100]!r}; upload a file whose name ends in {endings}")
    limits = service.settings.limits
    known = format_of_body(FILE_ENDINGS[ending])
    with service.decoders.decoded(upload.file, known.ending, bounds_of_file(limits), deadline) as table:
        own = table.options.get("windows") or []
        if windows and own:
            raise InputError("windows are given in the form and in the file; give them in one place")
        check_windows(windows or own, limits)
        return submit_decoded(
            service.jobs,
            index,
            table,
            windows or own,
            limits,
            media_type=known.media_type,
            owner=holder,
            name=file_name(name),
        )


def file_name(given: str) -> str:
    """Return the name of an uploaded file as a single line, without folders and at most 120 characters long."""
    name = given.encode(errors="replace").decode().replace("\\", "/").rpartition("/")[2]
    return "".join(each if each.isprintable() else " " for each in name).strip()[:120]


def _numbers(jobs: Jobs, job: Job) -> pa.Table:
    """Return only the counts of a finished table, because the facts may be too large for memory."""
    return pa.concat_tables(
        piece.select(
            [
                field.name
                for field in piece.schema
                if field.name.startswith(("cooccurrence_", "subject_", "object_")) and pa.types.is_integer(field.type)
            ]
        )
        for piece in jobs.counts(job)
    )


def _strata(jobs: Jobs, job: Job, by: str, bins: str) -> pa.Table:
    """Return only the strata of a finished table.

    Raises:
        InputError: The table already has columns with these names, or the bins are invalid.
    """
    without_strata(next(jobs.counts(job)).schema.empty_table())
    return stratify(_numbers(jobs, job), by, bins or "quantile:3")


def _stratified(jobs: Jobs, job: Job, strata: pa.Table) -> Iterator[pa.Table]:
    """Yield the pieces of a finished table with their strata."""
    start = 0
    for piece in jobs.counts(job):
        piece = piece.drop_columns([name for name in strata.column_names if name in piece.column_names])
        for name in strata.column_names:
            piece = piece.append_column(name, strata[name].slice(start, piece.num_rows))
        start += piece.num_rows
        yield piece


def _rows(jobs: Jobs, job: Job, wanted: Sequence[int]) -> pa.Table:
    """Return some rows of a finished table, in the given order."""
    start, found = 0, list[tuple[int, pa.Table]]()
    for piece in jobs.counts(job):
        end = start + piece.num_rows
        found += [(place, piece.slice(row - start, 1)) for place, row in enumerate(wanted) if start <= row < end]
        start = end
    return pa.concat_tables(row for _, row in sorted(found, key=lambda placed: placed[0]))


def _shown(jobs: Jobs, job: Job, by: str, bins: str) -> dict[str, Any]:
    """Return the figure and a few facts, or an error message if the bins are invalid."""
    counts = _numbers(jobs, job)
    context: dict[str, Any] = {"columns": counts.column_names}
    try:
        spread = spread_of(counts, by, bins or "quantile:3")
    except InputError as error:
        return context | {"error": str(error)}
    figure = facts_by_count(spread.picture(), spread.legend(), f"Facts by {by.replace('_', ' ')}")
    order = np.argsort(spread.counts, kind="stable")
    unseen, seen = (chosen.tolist() for chosen in np.split(order, [int((spread.counts == 0).sum())]))
    rarest = seen[:PREVIEW] if len(seen) > 2 * PREVIEW else []
    frequent = seen[-PREVIEW if rarest else 0 :][::-1]
    shown = [*frequent, *rarest, *unseen[:PREVIEW]]
    facts = list(_preview(_rows(jobs, job, shown), job, by)) if shown else []
    ends = np.cumsum([len(frequent), len(rarest)]).tolist()
    return context | {
        "figure": figure,
        "frequent": facts[: ends[0]],
        "rarest": facts[ends[0] : ends[1]],
        "unseen": facts[ends[1] :],
        "numbers": {"seen": len(seen), "unseen": len(unseen), "hidden": len(seen) - ends[1]},
    }


def _preview(rows: pa.Table, job: Job, by: str) -> Iterator[dict[str, Any]]:
    """Yield a few facts, each with the URL of the page for it."""
    shown = {"subject", "subject_aliases", "object", "object_aliases", by}
    for row in rows.select([name for name in rows.column_names if name in shown]).to_pylist():
        question = Question(
            index=job.index,
            subject=row["subject"],
            subject_alias=row.get("subject_aliases") or [],
            object=row["object"],
            object_alias=row.get("object_aliases") or [],
            window=by.rpartition("_w")[2] if by.startswith("cooccurrence_") and "_w" in by else "",
        )
        yield {**row, "count": row[by], "address": question.address()}
