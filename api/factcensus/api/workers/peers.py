"""Questions from one worker of a service to another, over Unix sockets in a folder that only this user can read."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from factcensus.api.workers.member import Member
from factcensus.indexer.errors import FactcensusError

log = logging.getLogger("factcensus.api")
#: Seconds a worker may take to answer a short question.
SHORT_S = 2.0
#: Seconds a worker may take to answer a long question, such as a reload, or to store a table.
LONG_S = 600.0


class PeerError(FactcensusError):
    """A worker does not answer, perhaps because it is restarting."""


class Peers:
    """The workers of one service. A single worker has no peers.

    A question is a method's name with arguments, and possibly a stream of further pieces. Its answer is a value, a
    stream, or an error, which is raised where the question was asked.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        self._methods: Mapping[str, Callable[..., Any]] = {}
        self._listener: Listener | None = None

    @property
    def others(self) -> list[int]:
        """Numbers of the other workers."""
        return [number for number in range(self.member.workers) if number != self.member.number]

    def answer(self, methods: Mapping[str, Callable[..., Any]]) -> None:
        """Answer the questions of the other workers in background threads, until :meth:`close`."""
        if not self.others:
            return
        self._methods = methods
        path = self._path(self.member.number)
        path.unlink(missing_ok=True)  # of a worker that crashed
        self._listener = Listener(str(path), "AF_UNIX", backlog=64)
        threading.Thread(target=self._accept, args=(self._listener,), name="peers", daemon=True).start()

    def close(self) -> None:
        """Stop answering questions."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):  # wake the thread that accepts
                Client(str(self._path(self.member.number)), "AF_UNIX").close()
            listener.close()

    def wait_for_others(self, seconds: float) -> None:
        """Wait until the other workers have stopped answering questions."""
        until = monotonic() + seconds
        while monotonic() < until and any(self._path(number).exists() for number in self.others):
            sleep(0.02)

    def ask(
        self, number: int, method: str, *arguments: Any, pieces: Iterable[Any] | None = None, seconds: float = LONG_S
    ) -> Any:
        """Ask a worker, and return its answer or an iterator over the pieces of its answer.

        Args:
            number: The worker's number.
            method: Name of the method.
            arguments: Arguments of the method.
            pieces: Further values, passed to the method as its last argument, an iterator.
            seconds: Timeout for the answer, or for each piece of it.

        Raises:
            PeerError: The worker does not answer.
            Exception: Any error of the method.
        """
        try:
            connection = Client(str(self._path(number)), "AF_UNIX")
        except OSError as error:
            raise PeerError(f"worker {number} is starting") from error
        try:
            with suppress(BrokenPipeError, ConnectionResetError):  # it refused before it had read everything
                connection.send((method, arguments, pieces is not None))
                for piece in pieces or ():
                    connection.send(("piece", piece))
                if pieces is not None:
                    connection.send(("end", None))
            kind, value = _next(connection, number, seconds)
        except BaseException:
            connection.close()
            raise
        if kind == "value":
            connection.close()
            return value
        return _pieces(connection, kind, value, number, seconds)

    def ask_others(self, method: str, *, seconds: float = SHORT_S) -> dict[int, Any]:
        """Return the answer of each other worker, or the :class:`PeerError`."""
        found: dict[int, Any] = {}
        for number in self.others:
            try:
                found[number] = self.ask(number, method, seconds=seconds)
            except PeerError as error:
                found[number] = error
        return found

    def _path(self, number: int) -> Path:
        assert self.member.folder is not None
        return self.member.folder / f"worker-{number}.sock"

    def _accept(self, listener: Listener) -> None:
        while self._listener is listener:
            try:
                connection = listener.accept()
            except OSError as error:
                if self._listener is listener:
                    log.warning("a question of another worker was not accepted: %s", error)
                    sleep(0.1)
                continue
            threading.Thread(target=self._handle, args=(connection,), name="peer", daemon=True).start()

    def _handle(self, connection: Connection[Any, Any]) -> None:
        with connection:
            try:
                method, arguments, streamed = connection.recv()
                if streamed:
                    arguments = (*arguments, _received(connection))
                found = self._methods[method](*arguments)
                if isinstance(found, Iterator):
                    for piece in found:
                        connection.send(("piece", piece))
                    connection.send(("end", None))
                else:
                    connection.send(("value", found))
            except Exception as error:
                with suppress(OSError):  # the worker that asked has given up
                    _send_error(connection, error)


def _send_error(connection: Connection[Any, Any], error: Exception) -> None:
    try:
        connection.send(("error", error))
    except (TypeError, AttributeError, ValueError):  # an error that cannot be pickled
        log.exception("a question of another worker failed")
        connection.send(("error", RuntimeError(str(error))))


def _received(connection: Connection[Any, Any]) -> Iterator[Any]:
    while True:
        kind, value = connection.recv()
        if kind == "end":
            return
        yield value


def _next(connection: Connection[Any, Any], number: int, seconds: float) -> tuple[str, Any]:
    try:
        if not connection.poll(seconds):
            raise PeerError(f"worker {number} did not answer within {seconds:g} s")
        kind, value = connection.recv()
    except (EOFError, OSError) as error:
        raise PeerError(f"worker {number} ended while it was asked") from error
    if kind == "error":
        raise value
    return kind, value


def _pieces(connection: Connection[Any, Any], kind: str, value: Any, number: int, seconds: float) -> Iterator[Any]:
    with connection:
        while kind != "end":
            yield value
            kind, value = _next(connection, number, seconds)
