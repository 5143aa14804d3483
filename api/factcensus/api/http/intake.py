"""Receiving requests: limits on the size, time and total memory of bodies, and on parallel requests.

A request takes one of the slots (``max_parallel_requests``) only once its body has arrived, so slow senders do not
block others. Until then its bytes count against a budget that all bodies share.
"""

from __future__ import annotations

import asyncio
from time import monotonic

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from factcensus.api.http.gzip_bodies import Gunzip, body_encoding
from factcensus.api.http.headers import header_of
from factcensus.api.http.problems import Problem, problem_response
from factcensus.api.settings import Limits
from factcensus.api.workers.tally import BODY_BYTES, REQUESTS, Tally, column_of_address

#: Routes for orchestrators; these requests need no slot.
ALWAYS_ANSWERED = frozenset({"/healthz", "/readyz", "/metrics", "/version"})
#: An extension of the server, whose function ``has_arrived`` returns whether the server has the whole body.
BODY = "factcensus.body"
#: First bytes of every body that do not count, so that small requests are accepted when the budget is used up.
FREE_BYTES = 65_536


class Intake:
    """Receives requests; refuses too large or too slow bodies, and requests for which no slot is free."""

    def __init__(self, app: ASGIApp, limits: Limits, slots: Slots) -> None:
        self.app = app
        self._limits = limits
        self._slots = slots
        self._budget = _Budget(limits.max_bodies_bytes, slots.tally)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Receive one request; pass the lifespan through."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        slot = _Slot(self._slots, needed=scope["path"] not in ALWAYS_ANSWERED)
        body: _Body | None = None
        try:
            if scope["method"] != "GET" and _has_body(scope):
                body = _Body(scope, receive, self._limits, self._budget, slot)
                receive = body.receive
            else:
                slot.take()
        except Problem as problem:
            refused = problem_response(
                Request(scope), problem.status_code, problem.detail, kind=problem.kind, headers=problem.headers
            )
            await refused(scope, receive, send)
            return
        try:
            await self.app(scope, receive, send)
        finally:
            slot.give_back()
            if body is not None:
                body.give_back()


class Slots:
    """The maximum and the current number of requests being processed, by all workers."""

    def __init__(self, most: int, tally: Tally) -> None:
        self.most, self.tally = most, tally


class _Slot:
    """One request's claim to a slot."""

    def __init__(self, slots: Slots, *, needed: bool) -> None:
        self._slots, self._needed, self._held = slots, needed, False

    def take(self) -> None:
        """Take a slot unless this request has one.

        Raises:
            Problem: ``overloaded``.
        """
        if self._held or not self._needed:
            return
        if self._slots.tally.total(REQUESTS) >= self._slots.most:
            raise Problem(
                "overloaded",
                f"{self._slots.most} requests are being processed (FACTCENSUS_MAX_PARALLEL_REQUESTS); "
                "try again in a moment, or send many facts in one request",
                headers={"Retry-After": "1"},
            )
        self._slots.tally.add(REQUESTS, 1)
        self._held = True

    def give_back(self) -> None:
        """Release the slot if it was taken."""
        self._slots.tally.add(REQUESTS, -self._held)
        self._held = False


class _Budget:
    """The bytes of all bodies being received or processed; one address may use half of the maximum."""

    def __init__(self, most: int, tally: Tally) -> None:
        self._most, self._tally = most, tally

    def take(self, client: str, size: int) -> None:
        """Add bytes.

        Raises:
            Problem: ``overloaded``.
        """
        own = column_of_address(client)
        if self._tally.total(BODY_BYTES) + size > self._most or self._tally.total(own) + size > self._most / 2:
            raise Problem(
                "overloaded",
                f"the bodies of all requests would exceed {self._most} bytes, or those from your address half of "
                "that (FACTCENSUS_MAX_BODIES_BYTES); try again in a moment",
                headers={"Retry-After": "1"},
            )
        self._tally.add(BODY_BYTES, size)
        self._tally.add(own, size)

    def give_back(self, client: str, size: int) -> None:
        """Remove bytes."""
        self._tally.add(BODY_BYTES, -size)
        self._tally.add(column_of_address(client), -size)


class _Body:
    """The body of one request: counted, timed and decoded as it arrives.

    Raises:
        Problem: Its Content-Length exceeds the limit, or its encoding is not supported.
    """

    def __init__(self, scope: Scope, receive: Receive, limits: Limits, budget: _Budget, slot: _Slot) -> None:
        self._next, self._limits, self._budget, self._slot = receive, limits, budget, slot
        self._client = str((scope.get("client") or ("unknown", 0))[0])
        self._most, self._variable = _limit_of(scope["path"], limits)
        announced = header_of(scope, b"content-length") or ""
        if announced.isdecimal() and int(announced[:18]) > self._most:  # 19 digits would be an exabyte
            raise self._too_large()
        self._gunzip: Gunzip | None = None
        if body_encoding(scope) == "gzip":
            self._gunzip = Gunzip()
            # The application gets the decoded body, whose length is unknown.
            of_the_encoded = (b"content-encoding", b"content-length")
            scope["headers"] = [each for each in scope["headers"] if each[0] not in of_the_encoded]
        self._received = self._given = self._held = 0
        self._arrived = self._complete = False
        self._until: float | None = None
        self._has_arrived = (scope.get("extensions") or {}).get(BODY, {}).get("has_arrived", _unknown)

    async def receive(self) -> Message:
        """Return the next decoded piece of the body; after the last one, wait until the client disconnects."""
        if self._complete:
            return await self._next()
        while True:
            if self._gunzip is not None:
                if piece := self._gunzip.piece():
                    self._count(len(piece))
                    await asyncio.sleep(0)  # let other requests run between the pieces of a gzip body
                    return {"type": "http.request", "body": piece, "more_body": True}
                if self._arrived:
                    self._gunzip.check_end()
                    return self._last(b"")
            message = await self._in_time()
            if message["type"] != "http.request":
                self._complete = True
                return message
            self._arrived = not message.get("more_body", False)
            data = message.get("body", b"")
            self._received += len(data)
            if self._received > self._most:
                raise self._too_large()
            if self._gunzip is not None:
                self._gunzip.add(data)
                continue
            self._count(len(data))
            return self._last(data) if self._arrived else message

    def give_back(self) -> None:
        """Give the bytes of the body back to the budget."""
        if self._held:
            self._budget.give_back(self._client, self._held)
            self._held = 0

    def _last(self, data: bytes) -> Message:
        self._slot.take()
        self._complete = True
        return {"type": "http.request", "body": data, "more_body": False}

    def _count(self, size: int) -> None:
        self._given += size
        if self._given > self._most:
            raise self._too_large()
        more = max(0, self._given - FREE_BYTES) - self._held
        if more > 0:
            self._budget.take(self._client, more)
            self._held += more

    async def _in_time(self) -> Message:
        """Return the next message.

        Raises:
            Problem: ``body-too-slow``: The body stalled, or took too long in total.
        """
        if self._has_arrived():  # as usual for a short body; a timeout would cost more than the wait
            return await self._next()
        now = monotonic()
        if self._until is None:
            self._until = now + self._limits.body_seconds
        pause = self._limits.deadline_seconds
        try:
            async with asyncio.timeout(min(pause, self._until - now)):
                return await self._next()
        except TimeoutError:
            detail = (
                f"timed out after {pause} s without a byte of the body (FACTCENSUS_DEADLINE_SECONDS); send it again"
            )
            if monotonic() >= self._until:
                detail = (
                    f"the body did not arrive within {self._limits.body_seconds} s (FACTCENSUS_BODY_SECONDS); use a "
                    "faster connection, or split it into several requests"
                )
            raise Problem("body-too-slow", detail, headers={"Connection": "close"}) from None

    def _too_large(self) -> Problem:
        return Problem(
            "body-too-large",
            f"the body has more than {self._most} bytes ({self._variable}); split it into several requests",
        )


def _unknown() -> bool:
    return False


def _has_body(scope: Scope) -> bool:
    return header_of(scope, b"content-length") not in (None, "0") or header_of(scope, b"transfer-encoding") is not None


def _limit_of(path: str, limits: Limits) -> tuple[int, str]:
    """Return the maximum bytes of a body, and the variable that sets it."""
    # A table of facts may be larger than other bodies, because it becomes a job.
    if path.endswith("/facts:count"):
        return limits.max_job_body_bytes, "FACTCENSUS_MAX_JOB_BODY_BYTES"
    if path.endswith("/tables"):
        return limits.max_upload_bytes, "FACTCENSUS_MAX_UPLOAD_BYTES"
    return limits.max_body_bytes, "FACTCENSUS_MAX_BODY_BYTES"
