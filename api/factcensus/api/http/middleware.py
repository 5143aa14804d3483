"""Middleware for every request: request id, compression, metrics, log line, and the handler of last resort.

It is plain ASGI, because ``BaseHTTPMiddleware`` would run each request in a separate task.
"""

from __future__ import annotations

import logging
import random
import re
import time

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from factcensus.api.http.headers import header_of
from factcensus.api.http.metrics import Metrics
from factcensus.api.http.problems import internal_error

log = logging.getLogger("factcensus.api")
#: Request ids of clients that are safe in a log line and a header.
REQUEST_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")
#: Headers of every response: no type sniffing, no framing or embedding, and no referrer from links.
PROTECTION = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
#: Statuses of requests without a key or above a rate, whose log lines show the route and the key's name.
REFUSED = frozenset({401, 429})
#: Minimum bytes of a response that is compressed.
LEAST_COMPRESSED = 1000
#: Routes that programs request every few seconds; their log lines would hide the others.
QUIET_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})


class Observation:
    """Assigns a request id, answers uncaught errors, and counts, times and logs every request."""

    def __init__(self, app: ASGIApp, metrics: Metrics, *, keyed: bool = False) -> None:
        self.app = app
        self.metrics = metrics
        self._keyed = keyed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process one request; pass the lifespan through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = header_of(scope, b"x-request-id") or ""
        request_id = given if REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        method = scope["method"]
        # HEAD is processed like GET; the server omits the body.
        scope = {**scope, "state": {**scope.get("state", {}), "request_id": request_id}}
        if method == "HEAD":
            scope["method"] = "GET"
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = message["headers"] = list(message.get("headers", ()))
                headers.append((b"x-request-id", request_id.encode()))
                _protect(headers, keyed=self._keyed)
            await send(message)

        started = time.perf_counter()
        self.metrics.in_flight += 1
        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            log.exception("request %s failed", request_id, extra={"request_id": request_id})
            if status:
                raise  # part of the response was sent, so the connection must be closed
            await internal_error(Request(scope))(scope, receive, send_with_id)
        finally:
            self.metrics.in_flight -= 1
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unmatched")
            state = scope["state"]
            self.metrics.observe(route, method, status, seconds, state.get("problem"))
            level = logging.DEBUG if route in QUIET_ROUTES and status not in REFUSED else logging.INFO
            if log.isEnabledFor(level):
                # raw_path is percent-encoded, so a line break in it cannot forge a log line.
                path = scope.get("raw_path", b"").decode("latin-1")[:500]
                known = {
                    "request_id": request_id,
                    "method": method[:20],
                    "path": path,
                    "route": route,
                    "status": status,
                    "milliseconds": round(1000 * seconds, 1),
                    "holder": state.get("holder"),
                }
                text = f"{request_id} {method[:20]} {path} {status} {1000 * seconds:.1f} ms"
                if status in REFUSED:
                    text += f" (route {route}, key {state.get('holder') or '-'})"
                log.log(level, "%s", text, extra=known)


def _protect(headers: list[tuple[bytes, bytes]], *, keyed: bool) -> None:
    """Add the security headers, and the headers that keep shared caches from storing the response.

    Args:
        headers: Headers of the response with names in lower case; the stricter ones of a page stay.
        keyed: Whether API keys are enabled, so that the response is for one key only.
    """
    present = {name for name, _ in headers}
    headers += [header for header in PROTECTION if header[0] not in present]
    if keyed:
        changed = MutableHeaders(raw=headers)
        held = changed.get("cache-control")
        changed["Cache-Control"] = f"private, {held}" if held else "private"
        changed.add_vary_header("Authorization, X-API-Key")


class Compression:
    """Compresses responses for clients that accept gzip; their ETags become weak, because the bytes differ.

    Most responses are too small to be compressed, and pass without the framework's layer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process one request; pass the lifespan through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start: Message | None = None
        compressing: Send | None = None

        async def sending(message: Message) -> None:
            nonlocal start, compressing
            if compressing is not None:
                await compressing(message)
            elif message["type"] == "http.response.start":
                start = message
            elif start is not None and _is_small(message):
                await send(start)
                await send(message)
            else:
                compressing = await _compressing(scope, receive, send)
                if start is not None:
                    await compressing(start)
                await compressing(message)

        await self.app(scope, receive, sending)


def _is_small(message: Message) -> bool:
    """Return whether a message is a whole body that is not worth compressing."""
    return (
        message["type"] == "http.response.body"
        and not message.get("more_body", False)
        and len(message.get("body", b"")) < LEAST_COMPRESSED
    )


async def _compressing(scope: Scope, receive: Receive, send: Send) -> Send:
    """Return a function that compresses the messages of a response and sends them."""
    found: list[Send] = []

    async def keep(_scope: Scope, _receive: Receive, compressing: Send) -> None:
        found.append(compressing)

    async def weakened(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if headers.get("content-encoding") == "gzip" and headers.get("etag", "").startswith('"'):
                headers["ETag"] = "W/" + headers["etag"]
        await send(message)

    # Level 4 takes a fifth of the time of level 9 and saves almost as much. Parquet is already compressed.
    layer = GZipMiddleware(
        keep,
        minimum_size=LEAST_COMPRESSED,
        compresslevel=4,
        exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/vnd.apache.parquet"),
    )
    await layer(scope, receive, weakened)
    return found[0]
