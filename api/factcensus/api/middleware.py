"""Around every request: its id, its size limit, its measurements, its line in the log, and the last resort.

Plain ASGI and not ``BaseHTTPMiddleware``, which would run each request in a task of its own.
"""

from __future__ import annotations

import logging
import re
import time
import uuid

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from factcensus.api.metrics import Metrics
from factcensus.api.problems import Problem, internal_error, problem_response

log = logging.getLogger("factcensus.api")
#: A caller's own request id, where it is fit for a log line and a header.
REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
#: Asked every few seconds by machines: their lines would bury the others.
QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})


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
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
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
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        started = time.perf_counter()
        with self.metrics.in_flight.track_inprogress():
            try:
                await self.app(scope, receive, send_with_id)
            except Exception:
                log.exception("request %s failed", request_id)
                if status:
                    raise  # half an answer is out: only closing the connection tells the client
                await internal_error(Request(scope))(scope, receive, send_with_id)
            finally:
                seconds = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", "unmatched")
                self.metrics.observe(route, method, status, seconds)
                # raw_path is percent-encoded, so a line break in it cannot forge a log line.
                path = scope.get("raw_path", b"").decode("latin-1")[:500]
                level = logging.DEBUG if route in QUIET_ROUTES else logging.INFO
                log.log(level, "%s %s %s %d %.1f ms", request_id, method[:20], path, status, 1000 * seconds)


class BodyLimit:
    """Refuses a body above the limit: by its announced length, or while it arrives without one."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; its body is counted as it is read."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced[:18]) > self.max_body_bytes:  # more digits would be an exabyte
            problem = self._problem()
            response = problem_response(Request(scope), problem.status_code, problem.detail, kind=problem.kind)
            await response(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_body_bytes:
                raise self._problem()
            return message

        await self.app(scope, counted, send)

    def _problem(self) -> Problem:
        return Problem(
            "body-too-large",
            f"the body has more than {self.max_body_bytes} bytes (FACTCENSUS_MAX_BODY_BYTES); "
            "send the facts in several requests",
        )
