"""Reading request headers, and the check for those that two programs could read differently.

A proxy in front of the service may take the first of two values where the service takes the last one. Such differences
are how requests are smuggled past a proxy, so these requests are refused.
"""

from __future__ import annotations

from collections import Counter

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from factcensus.api.http.problems import problem_response

#: Headers that take one value (RFC 9110 and RFC 9112); lists such as ``Accept`` may be given several times.
SINGLE = (
    b"authorization",
    b"content-length",
    b"content-type",
    b"host",
    b"origin",
    b"transfer-encoding",
    b"x-api-key",
)


class UnambiguousHeaders:
    """Refuses requests with two values of a header that takes one, or with two lengths of the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or refuse one request."""
        detail = _ambiguity([name for name, _ in scope["headers"]]) if scope["type"] == "http" else None
        if detail is None:
            await self.app(scope, receive, send)
            return
        refused = problem_response(
            Request(scope), 400, detail, kind="ambiguous-headers", headers={"Connection": "close"}
        )
        await refused(scope, receive, send)


def header_of(scope: Scope, name: bytes) -> str | None:
    """Return the first value of a request header, or None without one.

    ``Headers`` of the framework takes several times as long.

    Args:
        scope: The request.
        name: The name in lower case.
    """
    for given, value in scope["headers"]:
        if given == name:
            text: str = value.decode("latin-1")
            return text
    return None


def _ambiguity(names: list[bytes]) -> str | None:
    """Return a description of the ambiguity, or None."""
    if len(set(names)) == len(names) and not (b"content-length" in names and b"transfer-encoding" in names):
        return None
    times = Counter(names)
    for name in SINGLE:
        if times[name] > 1:
            shown = name.decode().title()
            return f"the header {shown} is given {times[name]} times; give it once"
    if times[b"content-length"] and times[b"transfer-encoding"]:
        return "Content-Length and Transfer-Encoding are both given; give one of them"
    return None
