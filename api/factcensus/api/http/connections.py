"""Limits on the number of connections, and on the time a connection may wait for its client.

The HTTP server has no timeout for request headers, and when file descriptors run out, the event loop logs thousands of
tracebacks per second. This module closes connections that wait too long for their clients. If all connections are in
use, it closes a waiting one to make room: the one that has waited longest, of the address with the most connections. So
the health routes always respond.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import resource
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Literal

import uvicorn
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from factcensus.api.http.intake import BODY

log = logging.getLogger("factcensus.api.http.connections")
Reason = Literal["evicted", "too-slow", "refused"]
#: File descriptors reserved for other uses: index files, jobs, uploads, connections not counted yet.
RESERVED = 32
#: Minimum number of connections, even with few file descriptors.
FEWEST = 4
#: Connections accepted in one iteration of the event loop; they are counted in the next iteration.
ACCEPTED_AT_ONCE = 8
#: Length of the kernel's queue of connections to accept.
QUEUED = 1024
#: Seconds for which a client may leave the end of a response unread.
PATIENCE_S = 60.0
#: Bytes of the request line and the headers of a request.
MOST_HEAD_BYTES = 65_536
#: Requests that a client may send before it has the response to an earlier one.
MOST_AHEAD = 256
#: Bytes of the beginning of a body that are copied to be sent together with the headers.
MOST_JOINED_BYTES = 65_536
#: The response to ``Expect: 100-continue``, which precedes the actual one.
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def possible_connections(wanted: int) -> int:
    """Return the number of connections, at most ``wanted``, for which the process has file descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    try:
        used = len(os.listdir("/proc/self/fd"))
    except OSError:  # not on Linux
        used = RESERVED
    possible = max(FEWEST, soft - used - RESERVED)
    if possible < wanted:
        log.warning(
            "there are only enough file descriptors for %d connections, not for %d (FACTCENSUS_MAX_CONNECTIONS); "
            "raise the limit (ulimit -n) if you need more",
            possible,
            wanted,
        )
    return min(wanted, possible)


class Connections:
    """All open connections of one server.

    Args:
        most: Maximum number of connections.
        header_seconds: Seconds a connection may take to send the headers of a request.
        closed: Called with the reason for every connection closed or refused here.
    """

    def __init__(self, most: int, header_seconds: float, closed: Callable[[Reason], None] = lambda _: None) -> None:
        self.most, self._header_seconds, self.closed = most, header_seconds, closed
        self.open: set[GuardedProtocol] = set()

    def has_room(self) -> bool:
        """Return whether there is room for another connection; if not, close one that waits for its client."""
        if len(self.open) < self.most:
            return True
        self.evict()
        return False

    def evict(self) -> bool:
        """Close one connection that waits for its client; return False if there is none."""
        waiting = [each for each in self.open if each.is_waiting]
        if not waiting:
            return False
        held = Counter(each.address for each in self.open)
        least_welcome = min(waiting, key=lambda each: (-held[each.address], each.waiting_since))
        self.closed("evicted")
        least_welcome.transport.abort()
        return True

    def sweep(self) -> None:
        """Close connections whose clients are too slow to send request headers or to read a response."""
        now = monotonic()
        for each in list(self.open):
            if each.untaken_since is not None and now - each.untaken_since > PATIENCE_S:
                each.transport.abort()
            elif each.is_between_requests and now - each.waiting_since > self._header_seconds:
                each.end()
            else:
                continue
            self.closed("too-slow")


class GuardedConfig(uvicorn.Config):
    """The configuration of the server, with the connections its protocols report to."""

    def __init__(self, app: Any, connections: Connections, **options: Any) -> None:
        super().__init__(
            app,
            http=GuardedProtocol,
            ws="none",  # there are no WebSocket routes, and every attempt would be logged
            loop="asyncio",  # other event loops do not call accept on the socket object (Listener)
            backlog=ACCEPTED_AT_ONCE,
            **options,
        )
        self.connections = connections


class GuardedProtocol(HttpToolsProtocol):
    """One HTTP connection that records whether, and since when, it waits for its client.

    The parser limits neither the length of the headers nor the number of requests sent ahead, and accepts some requests
    that a proxy may read differently; this class refuses them.
    """

    config: GuardedConfig

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        """Report a new connection."""
        super().connection_made(transport)
        self.waiting_since = monotonic()
        self.untaken_since: float | None = None
        self._heard = self._ended = False
        #: Bytes received since the end of the last request, while the headers of the next one are incomplete.
        self._head_bytes: int | None = 0
        #: The request being answered; ``cycle`` is the last one received, which may wait for this one.
        self._answered: RequestResponseCycle | None = None
        self._output = _Output(transport)
        self.address = str((transport.get_extra_info("peername") or ("unknown",))[0])
        self.config.connections.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end of a connection."""
        self.config.connections.open.discard(self)
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process received bytes; they do not extend the timeout of the request headers."""
        self._heard = True
        if self._head_bytes is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes is not None and self._head_bytes > MOST_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The headers of the request are too long.")

    def on_headers_complete(self) -> None:
        """Start to process a request.

        Raises:
            ValueError: The request is refused; the parser reports an error to :meth:`data_received`.
        """
        self._head_bytes = None
        # The headers may have arrived in one piece, together with their end.
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MOST_HEAD_BYTES:
            raise ValueError("the headers are too long")
        names = {name for name, _ in self.headers}
        encodings = [value.strip().lower() for name, value in self.headers if name == b"transfer-encoding"]
        assert self.parser is not None
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1") or (version == "1.1" and b"host" not in names):
            raise ValueError("an unknown version of HTTP, or no Host header")
        if encodings and (encodings != [b"chunked"] or version == "1.0" or b"content-length" in names):
            raise ValueError("an unknown encoding of the body, or two lengths")
        if len(self.pipeline) >= MOST_AHEAD:
            raise ValueError("too many requests sent ahead")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Expect the headers of the next request."""
        self._head_bytes = 0
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        self._output.begin()
        cycle.transport = self._output
        cycle.scope["extensions"] = {BODY: {"has_arrived": self._has_body}}
        super()._start_asgi_task(cycle, app)

    def _has_body(self) -> bool:
        """Return whether the whole body of the request that is being answered has arrived."""
        return self._answered is not None and not self._answered.more_body

    def send_400_response(self, msg: str) -> None:
        """Refuse invalid HTTP; earlier requests without a response on this connection are cancelled."""
        self.pipeline.clear()
        if (begun := self._cancel()) is not None and begun.response_started:
            self.transport.abort()
        else:
            super().send_400_response(msg)

    def _cancel(self) -> RequestResponseCycle | None:
        """Cancel the request being answered, if any, and return it."""
        cycle = self._answered
        if cycle is None or cycle.response_complete:
            return None
        cycle.disconnected = True
        cycle.message_event.set()
        return cycle

    def on_response_complete(self) -> None:
        """Start to wait for the next request."""
        self._output.flush()
        self.waiting_since = monotonic()
        self._heard = False
        super().on_response_complete()

    @property
    def is_between_requests(self) -> bool:
        """Whether the headers of a request must come next."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_waiting(self) -> bool:
        """Whether the connection waits for the client to send something."""
        return self.is_between_requests or (self.cycle.more_body and not self.pipeline)

    def pause_writing(self) -> None:
        """Record that the client does not read."""
        self.untaken_since = monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Record that the client reads again."""
        self.untaken_since = None
        super().resume_writing()

    def end(self) -> None:
        """Close the connection, with a 408 response if a request had started; a second call aborts it."""
        if self._ended or self.transport.is_closing():  # the client has not read the rest of a response
            self.transport.abort()
            return
        self._ended = True
        self.waiting_since = monotonic()
        if self._heard:
            self.transport.write(_TOO_SLOW)
        self.transport.close()


class _Output(asyncio.Transport):
    """The output of a connection, which sends the headers of a response together with the beginning of its body.

    Sending is one of the most expensive steps of a short response, and the server would send the two separately.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        #: The headers of a response, until they are sent.
        self._headers: bytes | None = None
        #: Whether the next data are the headers of a response.
        self._before = True

    def begin(self) -> None:
        """Expect the headers of a response."""
        self._before = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send the data, or keep them if they are headers."""
        if self._before:
            if data == CONTINUE:
                self._transport.write(data)
            else:
                self._headers, self._before = bytes(data), False
        elif self._headers is not None and len(data) <= MOST_JOINED_BYTES:
            headers, self._headers = self._headers, None
            self._transport.write(headers + data)
        else:
            self.flush()
            self._transport.write(data)

    def flush(self) -> None:
        """Send headers that are not followed by a body."""
        if self._headers is not None:
            headers, self._headers = self._headers, None
            self._transport.write(headers)

    def close(self) -> None:
        """Send the rest, and close the connection."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Return whether the connection is being closed."""
        return self._transport.is_closing()


class Listener(socket.socket):
    """A listening socket that accepts connections only if there is room, and never runs out of file descriptors."""

    connections: Connections | None = None
    _spare: int | None = None

    def guard(self, connections: Connections) -> None:
        """Set the connections to report to."""
        self.connections = connections
        self._spare = os.open(os.devnull, os.O_RDONLY)

    def listen(self, backlog: int = QUEUED, /) -> None:
        """Listen; ``backlog`` is the number accepted at once, and the kernel's queue is longer."""
        super().listen(max(backlog, QUEUED))

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection.

        Raises:
            BlockingIOError: There is none, or it must wait until another connection is closed.
        """
        if self.connections is None:
            return super().accept()
        if not self.connections.has_room():
            if not any(each.is_waiting for each in self.connections.open):
                self._refuse_one(self.connections)
            raise BlockingIOError
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in _NO_DESCRIPTORS:
                raise
            # Other uses took all reserved descriptors; the event loop would log this error endlessly.
            log.warning("no file descriptor is left for a connection (%s); raise the limit with ulimit -n", error)
            self.connections.evict()
            self._refuse_one(self.connections)
            raise BlockingIOError from error

    def close(self) -> None:
        """Close the socket and the spare descriptor."""
        self._give_spare()
        super().close()

    def _give_spare(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _refuse_one(self, connections: Connections) -> None:
        """Accept the next connection with the spare descriptor, and close it."""
        self._give_spare()
        with suppress(OSError):
            connection, _ = super().accept()
            connections.closed("refused")
            with connection:
                connection.setblocking(False)
                connection.send(_BUSY)
        with suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY)
