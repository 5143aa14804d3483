"""The service's side of decoding: passing bodies to forks of the decoding process, and receiving checked tables."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO, Any

import pyarrow as pa

from factcensus.api.decoding import wire
from factcensus.api.decoding.bounds import FORMAT_NAMES, UNFOLDED, Bounds, Ending, Form
from factcensus.api.decoding.starting import PROCESS
from factcensus.api.decoding.types import WireError, schema_of_json
from factcensus.api.http.metrics import Metrics
from factcensus.api.http.problems import Problem, problem_of_validation
from factcensus.indexer import Deadline

log = logging.getLogger("factcensus.api")
#: Seconds between checks of the timeout while waiting for a free place.
LOOK_S = 0.05
#: Bytes of a frame in addition to those of a table.
FRAME_BYTES = 16 * 2**20


@dataclass
class Decoded:
    """A checked table.

    Attributes:
        facts: Number of rows.
        size: Bytes of the rows in memory.
        options: Fields of a JSON body other than the facts.
        schema: Schema of the pieces.
        pieces: The rows in pieces; they can be iterated once.
    """

    facts: int
    size: int
    options: dict[str, Any]
    schema: pa.Schema
    pieces: Iterator[pa.Table]

    def table(self) -> pa.Table:
        """Return all rows."""
        return pa.concat_tables(list(self.pieces))


class Decoders:
    """A limited number of forks that decode.

    Args:
        most: Maximum number of parallel forks; other bodies wait.
        metrics: Counts forks that ended without a response.
    """

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._places = threading.BoundedSemaphore(most)
        self._metrics = metrics

    @contextmanager
    def decoded(
        self, body: bytes | IO[bytes], ending: Ending, bounds: Bounds, deadline: Deadline, *, form: Form = "facts"
    ) -> Iterator[Decoded]:
        """Decode the table in a body or a file.

        Args:
            body: The bytes, or an open file whose position may change.
            ending: File ending of the format.
            bounds: Limits on the table.
            deadline: Stops the decoding.
            form: The kind of a JSON body.

        Raises:
            Problem: The body is not a table, or exceeds a limit.
            DeadlineError: The timeout was reached.
        """
        while not self._places.acquire(timeout=LOOK_S):
            deadline.check()
        try:
            request = json.dumps({"ending": ending, "form": form, "bounds": asdict(bounds)}).encode()
            with contextlib.ExitStack() as opened:
                channel = self._begun(opened, body, request, deadline)
                yield self._shown(channel, ending, bounds, deadline)
        finally:
            self._places.release()

    def _begun(
        self, opened: contextlib.ExitStack, body: bytes | IO[bytes], request: bytes, deadline: Deadline
    ) -> socket.socket:
        """Return a connection to a fork that has started to decode."""
        for _ in range(2):
            channel = opened.enter_context(self._fork(body))
            with contextlib.suppress(
                EOFError, ConnectionError
            ):  # the fork was killed before it started, which is not the fault of the body
                wire.send(channel, "request", [request])
                kind, _content = wire.receive(channel, 0, deadline.check)
                if kind == "begun":
                    return channel
        raise Problem("overloaded", "no further process can be started now; try again in a moment")

    def _shown(self, channel: socket.socket, ending: Ending, bounds: Bounds, deadline: Deadline) -> Decoded:
        with self._answering(ending):
            shown = json.loads(self._received(channel, "schema", bounds, deadline) or b"")
            schema = schema_of_json(shown["columns"])
            facts, size, options = int(shown["facts"]), int(shown["size"]), dict(shown["options"])
        return Decoded(facts, size, options, schema, self._pieces(channel, ending, bounds, deadline, schema, facts))

    def _pieces(
        self, channel: socket.socket, ending: Ending, bounds: Bounds, deadline: Deadline, schema: pa.Schema, facts: int
    ) -> Iterator[pa.Table]:
        with self._answering(ending):
            while (content := self._received(channel, "piece", bounds, deadline)) is not None:
                piece = wire.unpack_piece(content, schema)
                facts -= piece.num_rows
                if facts < 0:
                    break
                yield piece
            if facts:
                raise WireError("the number of rows differs from the announced number")

    def _received(
        self, channel: socket.socket, wanted: wire.Kind, bounds: Bounds, deadline: Deadline
    ) -> bytearray | None:
        """Return the content of the next frame, or None after the last piece; raise the error of an error frame."""
        most = UNFOLDED * bounds.sent_bytes + FRAME_BYTES
        kind, content = wire.receive(channel, most, deadline.check)
        if kind == wanted:
            return content
        if kind == "end" and wanted == "piece":
            return None
        if kind == "refused":
            said = json.loads(content)
            if findings := said.get("findings"):
                raise problem_of_validation(findings, said["number_of_findings"])
            raise Problem(str(said["kind"]), str(said["detail"]))
        if kind == "fault":
            raise _Fault(json.loads(content)["traceback"])
        raise WireError(f"got a frame of kind {kind}, expected {wanted}")

    @contextmanager
    def _answering(self, ending: Ending) -> Iterator[None]:
        """Turn every failure of a fork into a problem of its body."""
        try:
            yield
        except (EOFError, ConnectionError) as error:
            why = "its decoder crashed, because the body is damaged or needs far more memory than its size"
            raise self._undecodable(ending, why) from error
        except _Fault as error:
            log.warning("a body declared as %s cannot be decoded:\n%s", ending, error)
            raise self._undecodable(ending, "it is damaged") from error
        except (WireError, KeyError, TypeError, ValueError, RecursionError) as error:
            log.warning("the decoder's output for a body declared as %s cannot be read: %r", ending, error)
            raise self._undecodable(ending, "it is damaged") from error

    def _undecodable(self, ending: Ending, why: str) -> Problem:
        self._metrics.undecodable.inc()
        return Problem("malformed-body", f"the body cannot be read as {FORMAT_NAMES[ending]}: {why}")

    @contextmanager
    def _fork(self, body: bytes | IO[bytes]) -> Iterator[socket.socket]:
        """Return a connection to a fork that has the body."""
        with contextlib.ExitStack() as opened:
            ours, theirs = socket.socketpair()
            opened.enter_context(ours)
            with theirs, _file_of(body) as file:
                PROCESS.hand_over(theirs.fileno(), file.fileno())
            yield ours


class _Fault(Exception):
    """The traceback of a failed fork."""


@contextmanager
def _file_of(body: bytes | IO[bytes]) -> Iterator[IO[bytes]]:
    """Return an open file with the body."""
    if not isinstance(body, bytes):
        body.flush()
        yield body
        return
    with _memory_file() as file:
        file.write(body)
        file.flush()
        yield file


def _memory_file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):  # on Linux
        return os.fdopen(os.memfd_create("body"), "w+b")
    return tempfile.TemporaryFile()
