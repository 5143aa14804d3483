"""Carry out the steps of the client with httpx: requests with retries, and pauses.

Requests change nothing, so they can be repeated safely: connection errors and the statuses 429 and 503 are retried with
increasing pauses. Read timeouts are not retried, because the service may still be working.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from time import sleep
from typing import Any

import httpx
import stamina

from factcensus.api.client.replies import LONGEST_PAUSE_S, error_of
from factcensus.api.client.steps import Answer, Pause, Request, Steps
from factcensus.api.errors import AddressError, NotReadyError, ServiceError, UnreachableError
from factcensus.indexer.errors import InputError

#: Pause before the second attempt; it doubles with each further attempt.
FIRST_PAUSE_S = 0.2

#: What httpx raises for a request; a URL that it cannot read is a ValueError too.
FAILURES = (httpx.TransportError, httpx.InvalidURL, ValueError)

# Otherwise every retry of a program without logging would print "stamina.retry_scheduled".
logging.getLogger("stamina").addHandler(logging.NullHandler())


class _Retries:
    """The attempts for one request; :meth:`options` are those of ``stamina.retry_context``."""

    def __init__(self, attempts: int) -> None:
        self._attempts = attempts
        self.next_wait_s = 0.0

    def options(self) -> dict[str, Any]:
        """Return which errors are retried, how often and after which pauses."""
        return {
            "on": self._pause_after,
            "attempts": self._attempts,
            "timeout": None,
            "wait_initial": FIRST_PAUSE_S,
            "wait_max": LONGEST_PAUSE_S,
            "wait_jitter": 0,
        }

    def _pause_after(self, error: Exception) -> bool | float:
        if isinstance(error, NotReadyError):
            return max(self.next_wait_s, error.retry_after_s)
        # A request that timed out may still be in progress.
        return isinstance(error, UnreachableError) and not isinstance(error.__cause__, httpx.TimeoutException)


class _Address:
    """The service and the settings of a client that both kinds of connection share.

    Args:
        base_url: URL of the service; it may have a path.
        timeout_s: Timeout for a connection, and for each response.
        attempts: Maximum number of attempts for a request.
        api_key: API key; ``$FACTCENSUS_API_KEY`` by default.
    """

    def __init__(self, base_url: str, timeout_s: float, attempts: int, api_key: str | None) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise AddressError(f"invalid service URL {base_url!r}; give one such as http://127.0.0.1:8080")
        _check_timeout(timeout_s)
        if attempts < 1:
            raise InputError(f"attempts must be at least 1, got {attempts!r}")
        self.arguments = (base_url, timeout_s, attempts, api_key)
        self.base_url = base_url.rstrip("/")
        self._timeout_s, self._attempts = timeout_s, attempts
        key = os.environ.get("FACTCENSUS_API_KEY") if api_key is None else api_key
        if key and not (key.isascii() and key.isprintable()):
            raise InputError("the API key has a line break or a character that is not ASCII; copy it again as one line")
        headers = {"User-Agent": "factcensus"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._options: dict[str, Any] = {"timeout": timeout_s, "headers": headers}

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings; the copy opens its own connections."""
        return type(self), self.arguments

    def _retries(self, request: Request) -> _Retries:
        return _Retries(self._attempts if request.attempts is None else request.attempts)

    def _arguments(self, request: Request) -> dict[str, Any]:
        """Return the arguments of httpx for a request."""
        own = request.timeout_s
        if own is not None:
            _check_timeout(own)
        return {
            "method": request.method,
            "url": self.base_url + request.path,
            "params": request.params,
            "json": request.json,
            "content": request.content,
            "headers": request.headers,
            "timeout": httpx.USE_CLIENT_DEFAULT if own is None else httpx.Timeout(own),
        }

    def _checked(self, reply: httpx.Response) -> httpx.Response:
        if not reply.is_success:
            raise error_of(reply, self.base_url)
        return reply

    def _explained(self, error: Exception, request: Request) -> ServiceError:
        """Return the error of the client for an error of httpx."""
        if isinstance(error, httpx.TimeoutException):
            seconds = self._timeout_s if request.timeout_s is None else request.timeout_s
            return UnreachableError(
                f"{self.base_url} did not respond within {seconds:g} s; "
                "use a longer timeout_s, or send smaller requests"
            )
        if isinstance(error, httpx.TransportError):
            return UnreachableError(
                f"nothing responds at {self.base_url} ({error}); "
                "start the service with `factcensus serve INDEX`, or correct the URL"
            )
        return ServiceError(f"invalid service URL {self.base_url!r}: {error}")


def _check_timeout(timeout_s: float) -> None:
    """Check a timeout.

    Raises:
        InputError: It is not a finite number above 0.
    """
    if not (isinstance(timeout_s, int | float) and 0 < timeout_s < math.inf):
        raise InputError(f"timeout_s must be a number of seconds above 0, got {timeout_s!r}")


class Connection(_Address):
    """Carries out steps in the calling thread."""

    def __init__(self, base_url: str, timeout_s: float, attempts: int, api_key: str | None) -> None:
        super().__init__(base_url, timeout_s, attempts, api_key)
        self._http = httpx.Client(**self._options)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def run(self, steps: Steps[Answer]) -> Answer:
        """Return the answer of the steps; they also handle the errors of their requests, such as an interruption."""
        reply: httpx.Response | None = None
        error: BaseException | None = None
        while True:
            try:
                step = steps.send(reply) if error is None else steps.throw(error)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]  # the return value of the generator
            reply = error = None
            try:
                if isinstance(step, Pause):
                    sleep(step.seconds)
                else:
                    reply = self._send(step)
            except BaseException as raised:
                error = raised

    def _send(self, request: Request) -> httpx.Response:
        retries, arguments = self._retries(request), self._arguments(request)
        for attempt in stamina.retry_context(**retries.options()):
            retries.next_wait_s = attempt.next_wait
            with attempt:
                try:
                    reply = self._http.request(**arguments)
                except FAILURES as error:
                    raise self._explained(error, request) from error
                return self._checked(reply)
        raise AssertionError("the last attempt returns or raises")


class AsyncConnection(_Address):
    """Carries out steps in an event loop, without blocking it."""

    def __init__(self, base_url: str, timeout_s: float, attempts: int, api_key: str | None) -> None:
        super().__init__(base_url, timeout_s, attempts, api_key)
        self._http = httpx.AsyncClient(**self._options)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def run(self, steps: Steps[Answer]) -> Answer:
        """Return the answer of the steps; they also handle the errors of their requests, such as a cancellation."""
        reply: httpx.Response | None = None
        error: BaseException | None = None
        while True:
            try:
                step = steps.send(reply) if error is None else steps.throw(error)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]  # the return value of the generator
            reply = error = None
            try:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                else:
                    reply = await self._send(step)
            except BaseException as raised:
                error = raised

    async def _send(self, request: Request) -> httpx.Response:
        retries, arguments = self._retries(request), self._arguments(request)
        async for attempt in stamina.retry_context(**retries.options()):
            retries.next_wait_s = attempt.next_wait
            with attempt:
                try:
                    reply = await self._http.request(**arguments)
                except FAILURES as error:
                    raise self._explained(error, request) from error
                return self._checked(reply)
        raise AssertionError("the last attempt returns or raises")
