"""Error responses as problem details (RFC 9457), created here for all routes.

A response names the error in the request and the remedy. The cause of an internal error goes to the log, under the
request id that the response also has.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from factcensus.api.errors import SliceError
from factcensus.api.http.negotiation import preferred
from factcensus.indexer.errors import (
    DeadlineError,
    EmptyQueryError,
    FactcensusError,
    IndexChangedError,
    InputError,
    UnknownNameError,
)
from factcensus.indexer.system.places import PlaceError

log = logging.getLogger("factcensus.api")

#: The type of the validator's error for an unknown field; its context has the ``name``.
UNKNOWN_FIELD = "unknown_field"
MEDIA_TYPE = "application/problem+json"
#: Status and title of every problem type.
KINDS: dict[str, tuple[int, str]] = {
    "malformed-body": (400, "The request body cannot be read"),
    "ambiguous-headers": (400, "The headers are ambiguous"),
    "unauthorized": (401, "An API key is required"),
    "forbidden": (403, "The request is not allowed"),
    "unknown-index": (404, "No index has this name"),
    "unknown-job": (404, "No job has this id"),
    "not-acceptable": (406, "None of the accepted formats is available"),
    "body-too-slow": (408, "Timed out while reading the request body"),
    "job-not-done": (409, "The job is not done"),
    "job-failed": (409, "The job failed"),
    "index-changed": (410, "The index has changed"),
    "body-too-large": (413, "The request body is too large"),
    "unsupported-format": (415, "The format of the request body is not supported"),
    "unknown-host": (421, "The host name is not accepted"),
    "unsupported-encoding": (415, "The encoding of the request body is not supported"),
    "invalid-request": (422, "The request is invalid"),
    "invalid-input": (422, "A value is invalid"),
    "empty-query": (422, "The query has no tokens"),
    "unknown-name": (422, "A name is unknown"),
    "limit-exceeded": (422, "The request exceeds a limit"),
    "too-many-requests": (429, "Too many requests"),
    "internal-error": (500, "The service failed"),
    "overloaded": (503, "The service is busy"),
    "too-many-jobs": (503, "Too many jobs are waiting"),
    "jobs-unavailable": (503, "Jobs are not available"),
    "index-not-open": (503, "The index is not open"),
    "slice-unavailable": (503, "A slice of the index is not available"),
    "not-ready": (503, "The service is not ready"),
    "deadline-exceeded": (504, "The count took too long"),
    "jobs-full": (507, "The jobs use too much storage"),
}


#: Errors of the operating system for missing resources: problem type and remedy by error number.
LACKS = {
    errno.EMFILE: ("overloaded", "the service has too many open files and connections; try again in a moment"),
    errno.ENFILE: ("overloaded", "this machine has too many open files; try again in a moment"),
    errno.ENOSPC: (
        "jobs-full",
        "the disk of the service is full; DELETE jobs whose results you have, or try again later",
    ),
    errno.EDQUOT: ("jobs-full", "the disk quota of the service is exhausted; DELETE jobs whose results you have"),
    errno.EFBIG: ("jobs-full", "a file of the service has reached its size limit; DELETE jobs whose results you have"),
}
LACKING = frozenset(kind for kind, _ in LACKS.values())


class Problem(HTTPException):
    """An error response of one of the :data:`KINDS`."""

    def __init__(
        self,
        kind: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(KINDS[kind][0], detail, headers)
        self.kind = kind
        self.errors = list(errors)


def problem_of_lack(number: int) -> Problem:
    """Return the problem for an error number of the operating system in :data:`LACKS`."""
    kind, detail = LACKS[number]
    return Problem(kind, detail, headers={"Retry-After": "1" if kind == "overloaded" else "60"})


def problem_response(
    request: Request,
    status: int,
    detail: str,
    *,
    kind: str | None = None,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a problem as a response; without a kind its type is ``about:blank``.

    Browsers, which prefer HTML, get the page that the application sets as ``app.state.problem_page``.
    """
    request.state.problem = kind  # for the metrics
    content: dict[str, Any] = {
        "type": f"urn:factcensus:problem:{kind}" if kind else "about:blank",
        "title": KINDS[kind][1] if kind else HTTPStatus(status).phrase,
        "status": status,
        "detail": _printable(detail),
        "instance": request.scope.get("raw_path", b"").decode("latin-1") or request.url.path,
        "request_id": getattr(request.state, "request_id", None),
    }
    if errors:
        content["errors"] = [{key: _printable(value) for key, value in error.items()} for error in errors]
    page = getattr(request.app.state, "problem_page", None) if "app" in request.scope else None
    offers = [MEDIA_TYPE, "application/json", "text/html"]
    if page is not None and preferred(request.headers.get("accept"), offers) == "text/html":
        shown: Response = page(request, content)
        shown.headers.update(headers or {})
        return shown
    return JSONResponse(content, status, headers={**(headers or {}), "Vary": "Accept"}, media_type=MEDIA_TYPE)


def add_problem_handlers(app: FastAPI) -> None:
    """Turn every error of an application into a problem."""

    @app.exception_handler(FactcensusError)
    async def from_core(request: Request, error: FactcensusError) -> Response:
        kind = kind_of(error)
        if kind == "internal-error":
            return lacking(request, error) or internal_error(request, error)
        return problem_response(request, KINDS[kind][0], _detail_of(request, error), kind=kind)

    @app.exception_handler(OSError)
    async def from_system(request: Request, error: OSError) -> Response:
        return lacking(request, error) or internal_error(request, error)

    @app.exception_handler(RequestValidationError)
    async def from_validation(request: Request, error: RequestValidationError) -> Response:
        problem = problem_of_validation(error.errors())
        return problem_response(request, problem.status_code, problem.detail, kind=problem.kind, errors=problem.errors)

    @app.exception_handler(ClientDisconnect)
    async def from_the_connection(request: Request, _: ClientDisconnect) -> Response:
        # Nobody reads this response. It keeps client behaviour out of the service's own errors in metrics and log.
        return problem_response(request, 400, "the connection ended before the end of the body", kind="malformed-body")

    @app.exception_handler(HTTPException)
    async def from_http(request: Request, error: HTTPException) -> Response:
        if isinstance(error, Problem):
            return problem_response(
                request, error.status_code, error.detail, kind=error.kind, errors=error.errors, headers=error.headers
            )
        if error.status_code == 405:
            return _method_not_allowed(request, error)
        if error.status_code == 400:  # the framework reports JSON that its parser cannot handle
            detail = "the body is not readable as JSON"
            return problem_response(request, 400, detail, kind="malformed-body")
        detail = "there is no such route; GET /docs lists the routes" if error.status_code == 404 else str(error.detail)
        return problem_response(request, error.status_code, detail, headers=error.headers)


def problem_of_validation(errors: Sequence[Mapping[str, Any]], number: int | None = None) -> Problem:
    """Return the errors of the validator as a problem, without the values, which may be huge or not be text.

    Args:
        errors: All errors, or the first ones.
        number: Number of all errors; None if ``errors`` has all of them.
    """
    number = len(errors) if number is None else number
    if errors and errors[0]["type"] == "json_invalid":
        position = errors[0]["loc"][-1]
        return Problem("malformed-body", f"the body is not JSON: {errors[0]['ctx']['error']} at character {position}")
    found = [_finding(error) for error in errors[:20]]
    more = f" (and {number - 1} more)" if number > 1 else ""
    first = found[0]
    place = first.get("parameter") or first["pointer"].removeprefix("#/").replace("/", ".").replace("#", "body")
    return Problem("invalid-request", f"{place}: {first['detail']}{more}", errors=found)


def lacking(request: Request, error: BaseException) -> Response | None:
    """Return the response to an error caused by missing file handles or disk space; None for other errors."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in LACKS:
            log.error("request %s: %s", getattr(request.state, "request_id", "-"), cause)
            lack = problem_of_lack(cause.errno)
            return problem_response(request, lack.status_code, lack.detail, kind=lack.kind, headers=lack.headers)
        cause = cause.__cause__
    return None


def internal_error(request: Request, error: BaseException | None = None) -> Response:
    """Return the response to an internal error: no details, only the id under which the log has them."""
    request_id = getattr(request.state, "request_id", "-")
    if error is not None:
        log.error("request %s failed", request_id, exc_info=error)
    detail = f"internal error; the service's log has the cause under the request id {request_id}"
    return problem_response(request, 500, detail, kind="internal-error")


def _printable(text: str) -> str:
    # JSON may contain halves of surrogate pairs, which cannot be encoded; they are shown as escapes.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _detail_of(request: Request, error: FactcensusError) -> str:
    """Return the message for the client; a failure to read an index at a URL is described only in the log."""
    if not isinstance(error, PlaceError):
        return str(error)
    log.error("request %s: %s", getattr(request.state, "request_id", "-"), error)
    return "the index cannot be read at its URL; the service's log has the reason"


def kind_of(error: FactcensusError) -> str:
    """Return the kind (one of :data:`KINDS`) of an error of the core."""
    if isinstance(error, EmptyQueryError):
        return "empty-query"
    if isinstance(error, UnknownNameError):
        return "unknown-name"
    if isinstance(error, DeadlineError):
        return "deadline-exceeded"
    if isinstance(error, IndexChangedError):
        return "index-changed"
    if isinstance(error, PlaceError):
        return "index-not-open"
    if isinstance(error, SliceError):
        return "slice-unavailable"
    return "invalid-input" if isinstance(error, InputError) else "internal-error"


def _finding(error: Mapping[str, Any]) -> dict[str, str]:
    where, *path = error["loc"]
    if path[:1] == ["filter"] and len(path) > 2:
        del path[2]  # the validator's label for the form of the condition, not a step into the body
    if error["type"] == UNKNOWN_FIELD:
        path.append(error["ctx"]["name"])
    detail = str(error["msg"]).removeprefix("Value error, ")
    if where == "body":
        steps = (str(step)[:100].replace("~", "~0").replace("/", "~1") for step in path)  # RFC 6901
        return {"detail": detail, "pointer": "#" + "".join(f"/{step}" for step in steps)}
    return {"detail": detail, "parameter": str(path[0])[:100] if path else str(where)}


def _method_not_allowed(request: Request, error: HTTPException) -> Response:
    # The framework's Allow header has the methods of one route at this path; the OpenAPI document has all.
    template = getattr(request.scope.get("route"), "path", "")
    methods = [method.upper() for method in request.app.openapi()["paths"].get(template, {})]
    allowed = ", ".join(methods) or (error.headers or {}).get("Allow", "GET")
    allowed = re.sub(r"\bGET\b", "GET, HEAD", allowed)  # every route of GET answers HEAD
    detail = f"{request.method[:20]} is not allowed here; allowed: {allowed}"
    return problem_response(request, 405, detail, headers={"Allow": allowed})
