"""Jobs of the service from the client's side: progress, result and removal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from io import BytesIO
from time import monotonic

import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.api.client.connections import AsyncConnection, Connection
from factcensus.api.client.replies import json_of
from factcensus.api.client.steps import Json, Steps, pause, send
from factcensus.api.client.tables import SENT, counted_table
from factcensus.api.decoding.types import schema_to_json
from factcensus.api.errors import RejectedError, ServerFailureError, ServiceError
from factcensus.indexer.tables.arrow import ArrowTable

log = logging.getLogger("factcensus.api")
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
#: Seconds between two requests for the state of a job: the first pause, and the longest.
FIRST_LOOK_S, LONGEST_LOOK_S = 0.05, 5.0
#: Called with the number of facts counted and the total.
ProgressFunction = Callable[[int, int], None]


class RemoteJob:
    """A table that the service counts in the background.

    Attributes:
        id: Id of the job; another client can continue with it.
    """

    def __init__(self, connection: Connection, id: str) -> None:
        self._connection = connection
        self.id = id

    def status(self) -> Json:
        """Return the job with its state (``queued``, ``running``, ``done``, ``failed``, ``outdated``) and progress."""
        return self._connection.run(status_of(self.id))

    def wait(self, progress: ProgressFunction | None = None, timeout_s: float | None = None) -> Json:
        """Wait until the job is done and return its state; call ``progress`` with (facts counted, total).

        Raises:
            RejectedError: The job failed or was removed.
            ServerFailureError: The job was not done within ``timeout_s``.
        """
        return self._connection.run(wait_for(self.id, progress, timeout_s))

    def result(self) -> ArrowTable:
        """Return the counts table of a finished job, with the columns that were sent."""
        return self._connection.run(result_of(self.id))

    def remove(self) -> None:
        """Cancel the job if it is unfinished, and remove it with its result."""
        self._connection.run(remove(self.id))


class AsyncRemoteJob:
    """A :class:`RemoteJob` whose methods are coroutines.

    Attributes:
        id: Id of the job; another client can continue with it.
    """

    def __init__(self, connection: AsyncConnection, id: str) -> None:
        self._connection = connection
        self.id = id

    async def status(self) -> Json:
        """Return the state of the job; see :meth:`RemoteJob.status`."""
        return await self._connection.run(status_of(self.id))

    async def wait(self, progress: ProgressFunction | None = None, timeout_s: float | None = None) -> Json:
        """Wait until the job is done; see :meth:`RemoteJob.wait`."""
        return await self._connection.run(wait_for(self.id, progress, timeout_s))

    async def result(self) -> ArrowTable:
        """Return the counts table of the finished job; see :meth:`RemoteJob.result`."""
        return await self._connection.run(result_of(self.id))

    async def remove(self) -> None:
        """Cancel the job, or remove its result; see :meth:`RemoteJob.remove`."""
        await self._connection.run(remove(self.id))


def status_of(id: str) -> Steps[Json]:
    """Ask for the state of a job."""
    return json_of((yield from send("GET", f"/v1/jobs/{id}")))


def wait_for(id: str, progress: ProgressFunction | None = None, timeout_s: float | None = None) -> Steps[Json]:
    """Wait until a job is done; see :meth:`RemoteJob.wait`."""
    began, seconds = monotonic(), FIRST_LOOK_S
    while True:
        status = yield from status_of(id)
        if progress is not None:
            progress(status["counted"], status["facts"])
        if status["state"] == "done":
            return status
        if status["state"] in ("failed", "outdated"):
            raise RejectedError(f"job {id} {status['state']}: {status['error']}", detail=str(status["error"]))
        if timeout_s is not None and monotonic() - began > timeout_s:
            raise ServerFailureError(f"job {id} was not done within {timeout_s:g} s; it continues")
        yield from pause(seconds)
        seconds = min(2 * seconds, LONGEST_LOOK_S)


def result_of(id: str) -> Steps[pa.Table]:
    """Fetch the counts table of a finished job."""
    reply = yield from send("GET", f"/v1/jobs/{id}/result", headers={"Accept": ARROW})
    try:
        with pa.ipc.open_stream(reply.content) as stream:
            schema_to_json(stream.schema)  # raises for types that the service never sends, which can crash their reader
            table = stream.read_all()
        table.validate(full=True)
        return table
    except (pa.ArrowException, TypeError, OSError, UnicodeDecodeError) as error:
        raise ServerFailureError(f"the result of job {id} is not an Arrow stream ({error}); try again") from error


def remove(id: str) -> Steps[None]:
    """Remove a job."""
    yield from send("DELETE", f"/v1/jobs/{id}")


def submit(path: str, facts: pa.Table, windows: Sequence[int]) -> Steps[str]:
    """Send a checked fact table as a job and return the id of the job; only names and aliases are sent."""
    body = BytesIO()
    pq.write_table(facts.select([name for name in SENT if name in facts.column_names]), body, compression="zstd")
    reply = yield from send(
        "POST",
        path,
        params={"windows": [str(window) for window in windows]},
        content=body.getvalue(),
        headers={"Content-Type": PARQUET, "Prefer": "respond-async"},
    )
    if reply.status_code != 202:
        raise ServerFailureError(
            "the service did not create a job; it may be an older version", status=reply.status_code
        )
    return str(json_of(reply)["id"])


def take_counts(
    id: str,
    facts: pa.Table,
    windows: Sequence[int],
    digest: str | None,
    progress: ProgressFunction | None = None,
) -> Steps[pa.Table]:
    """Return the counts of a table sent as a job, and remove the job, also on interruption."""
    try:
        yield from wait_for(id, progress)
        counts = yield from result_of(id)
    finally:
        try:
            yield from remove(id)
        except ServiceError:  # the caller needs the error that ended the wait, not this one
            log.warning("job %s could not be removed; the service keeps it until it expires", id)
    return counted_table(facts, counts.to_pylist(), windows, digest)
