"""A job of a service, as its client sees it: how far it is, its end, its result. Part of the client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from io import BytesIO
from time import monotonic, sleep
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.api.client.replies import json_of
from factcensus.api.client.tables import SENT, counted_table
from factcensus.api.decoding.types import schema_to_json
from factcensus.api.errors import RejectedError, ServerFailureError, ServiceError

Json = dict[str, Any]
log = logging.getLogger("factcensus.api")
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
#: Seconds between two looks at a job: the first, and the longest.
FIRST_LOOK_S, LONGEST_LOOK_S = 0.05, 5.0


#: How the client asks: takes a method, a path and more, gives one successful answer, after retries where they may help.
Sends = Callable[..., httpx.Response]


class RemoteJob:
    """A table that a service counts in the background.

    Attributes:
        id: by which the service knows it, and by which another client can take it up.
    """

    def __init__(self, send: Sends, id: str) -> None:
        self._send = send
        self.id = id
        self._path = f"/v1/jobs/{id}"

    def status(self) -> Json:
        """Return the job: its state (``queued``, ``running``, ``done``, ``failed``, ``outdated``), facts counted, …"""
        return json_of(self._send("GET", self._path))

    def wait(self, progress: Callable[[int, int], None] | None = None, timeout_s: float | None = None) -> Json:
        """The job's last state, once it is done; ``progress`` is told (facts counted, all) now and then.

        Raises:
            RejectedError: it failed, or somebody removed it.
            ServerFailureError: it was not done within ``timeout_s``.
        """
        began, pause = monotonic(), FIRST_LOOK_S
        while True:
            status = self.status()
            if progress is not None:
                progress(status["counted"], status["facts"])
            if status["state"] == "done":
                return status
            if status["state"] in ("failed", "outdated"):
                raise RejectedError(f"job {self.id} {status['state']}: {status['error']}", detail=str(status["error"]))
            if timeout_s is not None and monotonic() - began > timeout_s:
                raise ServerFailureError(f"job {self.id} was not done within {timeout_s:g} s; it goes on")
            sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK_S)

    def result(self) -> pa.Table:
        """The counts table of a job that is done, with the columns that were sent."""
        content = self._send("GET", f"{self._path}/result", headers={"Accept": ARROW}).content
        try:
            with pa.ipc.open_stream(content) as stream:
                schema_to_json(stream.schema)  # raises for types that no service sends, which can crash their reader
                table = stream.read_all()
            table.validate(full=True)
            return table
        except (pa.ArrowException, TypeError, OSError, UnicodeDecodeError) as error:
            raise ServerFailureError(f"the result of job {self.id} is no Arrow stream ({error}); try again") from error

    def remove(self) -> None:
        """Cancel it, if it is not done, and have it forgotten together with its result."""
        self._send("DELETE", self._path)


def submit(send: Sends, path: str, facts: pa.Table, windows: Sequence[int]) -> RemoteJob:
    """Send a checked fact table as a job; only names and aliases travel."""
    body = BytesIO()
    pq.write_table(facts.select([name for name in SENT if name in facts.column_names]), body, compression="zstd")
    reply = send(
        "POST",
        path,
        params={"windows": [str(window) for window in windows]},
        content=body.getvalue(),
        headers={"Content-Type": PARQUET, "Prefer": "respond-async"},
    )
    if reply.status_code != 202:
        raise ServerFailureError("the service took no job; it may be of an older version", status=reply.status_code)
    return RemoteJob(send, json_of(reply)["id"])


def count_as_job(
    send: Sends,
    path: str,
    facts: pa.Table,
    windows: Sequence[int],
    digest: str | None,
    progress: Callable[[int, int], None] | None,
) -> pa.Table:
    """Count a checked fact table as a job."""
    return take_counts(submit(send, path, facts, windows), facts, windows, digest, progress)


def take_counts(
    job: RemoteJob,
    facts: pa.Table,
    windows: Sequence[int],
    digest: str | None,
    progress: Callable[[int, int], None] | None = None,
) -> pa.Table:
    """The counts of a table that was sent as a job, which is removed at the end, also when this is interrupted."""
    try:
        job.wait(progress)
        counts = job.result()
    finally:
        _forget(job)
    return counted_table(facts, counts.to_pylist(), windows, digest)


def _forget(job: RemoteJob) -> None:
    try:
        job.remove()
    except ServiceError:  # whatever ended the wait is what the caller wants to know
        log.warning("job %s could not be removed; the service keeps it until its time is over", job.id)
