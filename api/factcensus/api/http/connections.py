"""Connections: how many there may be, and how long one may wait for its client.

The server beneath has no limit on the time that a request's head may take, and when file descriptors run out, the
event loop logs thousands of tracebacks a second. Here, a connection that waits for its client is closed in time, and
when all connections are in use, one that waits makes room for a new one: of the address that holds most of them, the
one that has waited longest. So the health routes answer whatever others do.
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

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

log = logging.getLogger("factcensus.api.http.connections")
Reason = Literal["evicted", "too-slow", "refused"]
#: File descriptors that are kept for everything else: index files, jobs, uploads, connections not counted yet.
RESERVED = 32
#: Fewest connections, however few file descriptors there are.
FEWEST = 4
#: Connections that are accepted in one turn of the event loop; counting them follows in the next turn.
ACCEPTED_AT_ONCE = 8
#: Connections that wait in the kernel until they are accepted.
QUEUED = 1024
#: Seconds for which a client may leave the end of an answer untaken.
PATIENCE_S = 60.0
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def possible_connections(wanted: int) -> int:
    """Return how many of the wanted connections the process has file descriptors for."""
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
            "file descriptors suffice for %d connections, not for %d (FACTCENSUS_MAX_CONNECTIONS); "
            "raise their number (ulimit -n) if more are needed",
            possible,
            wanted,
        )
    return min(wanted, possible)


class Connections:
    """All open connections of one server.

    Args:
        most: How many there may be.
        header_seconds: Seconds for which a connection may wait for the head of a request.
        closed: Called with the reason for every connection that is closed or refused here.
    """

    def __init__(self, most: int, header_seconds: float, closed: Callable[[Reason], None] = lambda _: None) -> None:
        self.most, self._header_seconds, self.closed = most, header_seconds, closed
        self.open: set[GuardedProtocol] = set()

    def has_room(self) -> bool:
        """Return whether another connection fits; if not, close one that waits for its client."""
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
        """Close the connections whose clients are too slow with a request's head or with taking an answer."""
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
    """The server's settings, with the connections that its protocols report to."""

    def __init__(self, app: Any, connections: Connections, **options: Any) -> None:
        super().__init__(
            app,
            http=GuardedProtocol,
            ws="none",  # there are no such routes, and every attempt would be a line in the log
            loop="asyncio",  # others do not accept connections through the socket object (Listener)
            backlog=ACCEPTED_AT_ONCE,
            **options,
        )
        self.connections = connections


class GuardedProtocol(H11Protocol):
    """One HTTP connection that knows whether it waits for its client, and since when."""

    config: GuardedConfig

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        """Report a new connection."""
        super().connection_made(transport)
        self.waiting_since = monotonic()
        self.untaken_since: float | None = None
        self._heard = self._ended = False
        self.address = str((transport.get_extra_info("peername") or ("unknown",))[0])
        self.config.connections.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end of a connection."""
        self.config.connections.open.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in bytes; they do not extend the time that a request's head may take."""
        self._heard = True
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP; a request before it that is not answered yet gets no answer any more."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # an answer has begun
            self.transport.abort()

    def on_response_complete(self) -> None:
        """Wait for the next request from now on."""
        self.waiting_since = monotonic()
        self._heard = False
        super().on_response_complete()

    @property
    def is_between_requests(self) -> bool:
        """Whether the head of a request has to come next."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_waiting(self) -> bool:
        """Whether nothing happens until the client sends or takes something."""
        return self.is_between_requests or self.cycle.more_body

    def pause_writing(self) -> None:
        """Note that the client does not take what is sent."""
        self.untaken_since = monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client took what was sent."""
        self.untaken_since = None
        super().resume_writing()

    def end(self) -> None:
        """Close the connection; a client that began a request learns why. A second call sends nothing more."""
        if self._ended or self.transport.is_closing():  # the rest of an answer was not taken meanwhile
            self.transport.abort()
            return
        self._ended = True
        self.waiting_since = monotonic()
        if self._heard:
            self.transport.write(_TOO_SLOW)
        self.transport.close()


class Listener(socket.socket):
    """A listening socket that accepts a connection only if there is room for it, and never runs out of descriptors."""

    connections: Connections | None = None
    _spare: int | None = None

    def guard(self, connections: Connections) -> None:
        """Report to these connections from now on."""
        self.connections = connections
        self._spare = os.open(os.devnull, os.O_RDONLY)

    def listen(self, backlog: int = QUEUED, /) -> None:
        """Listen; the event loop asks for as many as it accepts at once, the kernel keeps more."""
        super().listen(max(backlog, QUEUED))

    def accept(self) -> tuple[socket.socket, Any]:
        """Return the next connection.

        Raises:
            BlockingIOError: there is none, or it has to wait until another one is closed.
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
            # Something else took the descriptors that are kept for it; the event loop would log this without end.
            log.warning("no file descriptor is left for a connection (%s); raise their number: ulimit -n", error)
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
        """Accept the next connection by the spare descriptor, and close it."""
        self._give_spare()
        with suppress(OSError):
            connection, _ = super().accept()
            connections.closed("refused")
            with connection:
                connection.setblocking(False)
                connection.send(_BUSY)
        with suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY)
