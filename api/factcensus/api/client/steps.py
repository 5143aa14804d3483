"""The steps of a method of the client, independent of how they are carried out.

Each method is a generator that yields requests and pauses, receives the responses, and returns its answer. A
:class:`~factcensus.api.client.connections.Connection` carries the steps out in the calling thread, an
:class:`~factcensus.api.client.connections.AsyncConnection` in an event loop, so both clients have the same requests,
answers, retries and errors.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import httpx

Json = dict[str, Any]
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Request:
    """A request to the service.

    Attributes:
        path: Path below the URL of the service, with slashes and other characters encoded.
        attempts: Maximum number of attempts; None for that of the client.
        timeout_s: Timeout of the response; None for that of the client.
    """

    method: str
    path: str
    params: Mapping[str, Any] | None = None
    json: Json | None = None
    content: bytes | None = None
    headers: Mapping[str, str] | None = None
    attempts: int | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause between two requests."""

    seconds: float


#: The steps of a method that returns an answer. A request is answered with its successful response, or raises.
Steps: TypeAlias = Generator[Request | Pause, httpx.Response | None, Answer]


def send(method: str, path: str, **options: Any) -> Steps[httpx.Response]:
    """Send a request and return its successful response; the options are those of :class:`Request`."""
    reply = yield Request(method, path, **options)
    assert reply is not None
    return reply


def pause(seconds: float) -> Steps[None]:
    """Wait."""
    yield Pause(seconds)
