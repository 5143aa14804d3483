"""Around every request: its id, its limits, its compression, its measurements, its line in the log, the last resort.

Plain ASGI and not ``BaseHTTPMiddleware``, which would run each request in a task of its own.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from factcensus.api.metrics import Metrics
from factcensus.api.problems import Problem, internal_error, problem_response
from factcensus.api.settings import Limits

log = logging.getLogger("factcensus.api")
#: A caller's own request id, where it is fit for a log line and a header.
REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
#: Asked every few seconds by machines: their lines would bury the others.
QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})
ALWAYS_ANSWERED = QUIET_ROUTES | {"/version"}


class Observation:
    """Gives a request its id, answers what nobody caught, then counts, times and logs it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan, which passes through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        method = scope["method"]
        # HEAD is answered like GET; the server leaves the body out, as HTTP wants it.
        scope = {**scope, "state": {**scope.get("state", {}), "request_id": request_id}}
        if method == "HEAD":
            scope["method"] = "GET"
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", []).append((b"x-request-id", request_id.encode()))
            await send(message)

        started = time.perf_counter()
        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception("request %s failed", request_id, extra={"request_id": request_id})
            if status:
                raise  # half an answer is out: only closing the connection tells the client
            await internal_error(Request(scope))(scope, receive, send_with_id)
        finally:
            self.metrics.in_flight.dec()
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unmatched")
            state = scope["state"]
            self.metrics.observe(route, method, status, seconds, state.get("problem"))
            level = logging.DEBUG if route in QUIET_ROUTES else logging.INFO
            if log.isEnabledFor(level):
                # raw_path is percent-encoded, so a line break in it cannot forge a log line.
                path = scope.get("raw_path", b"").decode("latin-1")[:500]
                known = {
                    "request_id": request_id, "method": method[:20], "path": path, "route": route, "status": status,
                    "milliseconds": round(1000 * seconds, 1), "holder": state.get("holder"),
                }  # fmt: skip
                log.log(
                    level, "%s %s %s %d %.1f ms", request_id, method[:20], path, status, 1000 * seconds, extra=known
                )


class Admission:
    """Refuses requests above a number that are answered at the same time; those of orchestrators always pass."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self._most, self._now = most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan, which passes through."""
        if scope["type"] != "http" or scope["path"] in ALWAYS_ANSWERED:
            await self.app(scope, receive, send)
            return
        if self._now >= self._most:
            detail = (
                f"{self._most} requests are being answered (FACTCENSUS_MAX_PARALLEL_REQUESTS); "
                "try again in a moment, or ask for many facts in one request"
            )
            refused = problem_response(Request(scope), 503, detail, kind="overloaded", headers={"Retry-After": "1"})
            await refused(scope, receive, send)
            return
        self._now += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._now -= 1


class Compression:
    """Compresses answers for clients that take gzip; the tag of such an answer is weak: it is not the same bytes."""

    def __init__(self, app: ASGIApp) -> None:
        # Level 4: of the time of level 9 a fifth, of its gain most. Parquet is compressed already.
        self.app = GZipMiddleware(
            app, minimum_size=1000, compresslevel=4,
            exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/vnd.apache.parquet"),
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan, which passes through."""

        async def weakened(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-encoding") == "gzip" and headers.get("etag", "").startswith('"'):
                    headers["ETag"] = "W/" + headers["etag"]
            await send(message)

        await self.app(scope, receive, weakened)


class BodyLimit:
    """Refuses a body above the limit: by its announced length, or while it arrives without one; and one that stalls."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; its body is counted as it is read."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most, variable = self._limits.max_body_bytes, "FACTCENSUS_MAX_BODY_BYTES"
        # A table of facts may be larger than anything else: it becomes a job.
        if scope["path"].endswith("/facts:count"):
            most, variable = self._limits.max_job_body_bytes, "FACTCENSUS_MAX_JOB_BODY_BYTES"
        elif scope["path"].endswith("/tables"):
            most, variable = self._limits.max_upload_bytes, "FACTCENSUS_MAX_UPLOAD_BYTES"
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced[:18]) > most:  # more digits would be an exabyte
            problem = _too_large(most, variable)
            response = problem_response(Request(scope), problem.status_code, problem.detail, kind=problem.kind)
            await response(scope, receive, send)
            return
        received, complete = 0, False

        async def counted() -> Message:
            nonlocal received, complete
            if complete:  # what comes now is the end of the connection, for which one may wait
                return await receive()
            try:
                async with asyncio.timeout(self._limits.deadline_seconds):
                    message = await receive()
            except TimeoutError:
                raise Problem(
                    "body-too-slow",
                    f"no more of the body came for {self._limits.deadline_seconds} s (FACTCENSUS_DEADLINE_SECONDS); "
                    "send the request again",
                ) from None
            complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > most:
                raise _too_large(most, variable)
            return message

        await self.app(scope, counted, send)


def _too_large(most: int, variable: str) -> Problem:
    return Problem(
        "body-too-large", f"the body has more than {most} bytes ({variable}); send the facts in several requests"
    )
