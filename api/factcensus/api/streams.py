"""Tables that are counted and sent piece by piece: the first rows are on their way while the last ones are counted.

Pieces double in size, so that the first comes soon and an entity of many facts is looked at a few times only; nothing
of a piece is kept once it is sent. What goes wrong after the first piece cannot be told by a status any more: the
connection is closed before the answer's end, which every client of HTTP/1.1 takes for the failure it is.
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
from factcensus.indexer import Limit
from factcensus.indexer.errors import FactcensusError

log = logging.getLogger("factcensus.api")
#: Rows of the first piece: what is no more than this is answered as a whole.
FIRST_PIECE = 1024
#: Rows of the largest piece.
LARGEST_PIECE = 4096
#: Seconds for which a client may leave what was sent untaken.
PATIENCE_S = 60.0


def pieces_of(rows: int) -> Iterator[tuple[int, int]]:
    """Where each piece of so many rows begins, and how many it has."""
    start, size = 0, FIRST_PIECE
    while start < rows:
        yield start, min(size, rows - start)
        start, size = start + size, min(2 * size, LARGEST_PIECE)


class Allowance:
    """Seconds that the pieces of one answer may be counted in all, and the way to stop the one that is counted now."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._now: Limit | None = None
        self._stopped = False

    def spend(self, count: Callable[..., pa.Table]) -> pa.Table:
        """What ``count`` gives, which takes a ``limit``.

        Raises:
            DeadlineError: the time is over, or somebody stopped it.
        """
        started = monotonic()
        with Limit(max(self._left, 1e-3)) as self._now:
            if self._stopped:
                self._now.cancel()
            table = count(limit=self._now)
        self._left -= monotonic() - started
        return table

    def stop(self) -> None:
        """Stop the count that is on, and those that would come."""
        self._stopped = True
        if self._now is not None:
            self._now.cancel()


class TableStream(Response):
    """An answer whose chunks are made one at a time, in a thread, as fast as the client takes them.

    Args:
        schema: of the pieces.
        pieces: counts each when it is asked for it.
        format: how the answer is written.
        stop: called when the client has gone, from the event loop.
        limiter: threads that may count at the same time.
        metrics: where it is told what became of it.
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
        """Send the chunks until the end, the deadline, or the client's leave."""
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
                # No end of the body is sent: the server closes the connection.
                if not gone:
                    why = f"the client took nothing for {PATIENCE_S:g} s" if not str(error) else str(error)
                    log.warning("request %s was broken off: %s", request_id, why)
                    self._metrics.broken_off.inc()
            finally:
                self._stop()
                with contextlib.suppress(ValueError):  # its thread still runs where the request was cancelled
                    self._chunks.close()  # type: ignore[attr-defined]  # every writer is a generator
                tasks.cancel_scope.cancel()
