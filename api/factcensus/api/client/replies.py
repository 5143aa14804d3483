"""Interpreting HTTP responses: JSON, errors, and pauses before the next attempt."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx

from factcensus.api.errors import NotReadyError, RejectedError, ServerFailureError, ServiceError, UnknownIndexError

Answer = TypeVar("Answer")
#: Maximum pause before the next attempt.
LONGEST_PAUSE_S = 60.0
UNKNOWN_INDEX = "urn:factcensus:problem:unknown-index"


def json_of(reply: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of a successful response.

    Raises:
        ServerFailureError: The response is not a JSON object; the URL is probably of another service.
    """
    try:
        content = reply.json()
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ServerFailureError(
            f"{reply.url} did not return a JSON object; is it the URL of a factcensus service?",
            status=reply.status_code,
        )
    return content


def answer_of(reply: httpx.Response, read: Callable[[dict[str, Any]], Answer]) -> Answer:
    """Return the answer in a successful response.

    Raises:
        ServerFailureError: The response is not a JSON object, or lacks a field.
    """
    content = json_of(reply)
    try:
        return read(content)
    except (KeyError, TypeError, AttributeError) as error:
        raise ServerFailureError(
            f"{reply.url} returned an unexpected answer ({error!r}); use a client of the same version as the service",
            status=reply.status_code,
        ) from error


def error_of(reply: httpx.Response, base_url: str) -> ServiceError:
    """Return the error for a response with status 400 or higher, or a redirect."""
    status = reply.status_code
    problem = _problem_of(reply)
    title = str(problem.get("title") or reply.reason_phrase or "no reason given")
    detail = str(problem.get("detail") or title)
    type_ = str(problem.get("type") or "about:blank")
    if not problem:
        detail = f"{title}; is {base_url} the URL of a factcensus service?"
    hint = ""
    path = httpx.URL(base_url).path.strip("/")
    if problem and status == 404 and type_ == "about:blank" and path:
        hint = f" (the client adds the path of each route; give the URL without '/{path}')"
    error = _class_of(status, type_)(
        f"{base_url} returned {status}: {detail}{hint}",
        status=status,
        title=title,
        detail=detail,
        type=type_,
        request_id=reply.headers.get("X-Request-ID"),
    )
    if isinstance(error, NotReadyError):
        error.retry_after_s = pause_s(reply)
    return error


def pause_s(reply: httpx.Response) -> float:
    """Return the seconds of a ``Retry-After`` header, given as a number or a date; 0 without one."""
    value = reply.headers.get("Retry-After", "")
    try:
        seconds = float(value) if value.isdecimal() else parsedate_to_datetime(value).timestamp() - time.time()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_PAUSE_S)


def _problem_of(reply: httpx.Response) -> dict[str, Any]:
    if not reply.headers.get("Content-Type", "").startswith("application/problem+json"):
        return {}
    try:
        problem = reply.json()
    except (ValueError, RecursionError):
        return {}
    return problem if isinstance(problem, dict) else {}


def _class_of(status: int, type_: str) -> type[ServiceError]:
    if type_ == UNKNOWN_INDEX:
        return UnknownIndexError
    if status in (429, 503):
        return NotReadyError
    return RejectedError if 400 <= status < 500 else ServerFailureError
