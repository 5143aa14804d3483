"""Responses that send a table in pieces while the next pieces are counted.

Pieces double in size, so that the first one is sent soon and an entity of many facts is looked up only a few times. A
piece is dropped once it is sent. An error after the first piece can no longer change the status: the connection is
closed before the end of the response, which every HTTP/1.1 client reports as a failure.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from time import monotonic

import anyio
import pyarrow as pa
from anyio import CapacityLimiter, to_thread
from fastapi import Response
from starlette.types import Receive, Scope, Send

from factcensus.api.formats import FactsFormat
from factcensus.api.http.metrics import Metrics
from factcensus.indexer import Deadline
from factcensus.indexer.errors import FactcensusError

log = logging.getLogger("factcensus.api")
#: Rows of the first piece; a table with at most this many rows is sent in one piece.
FIRST_PIECE = 1024
#: Maximum rows of a piece.
LARGEST_PIECE = 4096
#: Seconds for which a client may read nothing.
PATIENCE_S = 60.0


def pieces_of(rows: int) -> Iterator[tuple[int, int]]:
    """Yield the start and the number of rows of each piece."""
    start, size = 0, FIRST_PIECE
    while start < rows:
        yield start, min(size, rows - start)
        start, size = start + size, min(2 * size, LARGEST_PIECE)


class Allowance:
    """The time left for counting the pieces of one response, and a way to stop the current count."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._now: Deadline | None = None
        self._stopped = False

    def spend(self, count: Callable[..., pa.Table]) -> pa.Table:
        """Call ``count`` with a ``deadline`` for the time left, and return its result.

        Raises:
            DeadlineError: The time is used up, or the count was stopped.
        """
        started = monotonic()
        with Deadline(max(self._left, 1e-3)) as self._now:
            if self._stopped:
                self._now.cancel()
            table = count(deadline=self._now)
        self._left -= monotonic() - started
        return table

    def stop(self) -> None:
        """Stop the current count and all later ones."""
        self._stopped = True
        if self._now is not None:
            self._now.cancel()


class TableStream(Response):
    """A response whose chunks are created one at a time, in a thread, as fast as the client reads them.

    Args:
        schema: Schema of the pieces.
        pieces: Iterator that counts each piece on demand.
        format: Format of the response.
        stop: Called from the event loop when the client has disconnected.
        limiter: Limits the number of threads that count at a time.
        metrics: Records responses that end early.
    """

    def __init__(
        self,
        schema: pa.Schema,
        pieces: Iterator[pa.Table],
        format: FactsFormat,
        *,
        stop: Callable[[], None],
        limiter: CapacityLimiter | None,
        metrics: Metrics,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(media_type=format.media_type, headers=headers)
        del self.headers["content-length"]
        self._chunks = format.write(schema, pieces)
        self._stop, self._limiter, self._metrics = stop, limiter, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the chunks until the end, the timeout, or the client disconnects."""
        request_id = scope.get("state", {}).get("request_id", "-")
        gone = False

        async def watch() -> None:
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            gone = True
            self._stop()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            try:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                while (chunk := await to_thread.run_sync(next, self._chunks, None, limiter=self._limiter)) is not None:
                    if gone:
                        break
                    if chunk:
                        with anyio.fail_after(PATIENCE_S):
                            await send({"type": "http.response.body", "body": chunk, "more_body": True})
                else:
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
            except (FactcensusError, TimeoutError) as error:
                # The end of the body is not sent, so the server closes the connection.
                if not gone:
                    why = f"the client read nothing for {PATIENCE_S:g} s" if not str(error) else str(error)
                    log.warning("request %s: the response ended early: %s", request_id, why)
                    self._metrics.broken_off.inc()
            finally:
                self._stop()
                with contextlib.suppress(ValueError):  # its thread still runs if the request was cancelled
                    self._chunks.close()  # type: ignore[attr-defined]  # every writer is a generator
                tasks.cancel_scope.cancel()
