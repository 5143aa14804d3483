"""Jobs of the service from the client's side: progress, result and removal."""

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
#: Seconds between two requests for the state of a job: the first pause, and the longest.
FIRST_LOOK_S, LONGEST_LOOK_S = 0.05, 5.0


#: The send function of the client: takes a method, a path and options, and returns a successful response.
Sends = Callable[..., httpx.Response]


class RemoteJob:
    """A table that the service counts in the background.

    Attributes:
        id: Id of the job; another client can continue with it.
    """

    def __init__(self, send: Sends, id: str) -> None:
        self._send = send
        self.id = id
        self._path = f"/v1/jobs/{id}"

    def status(self) -> Json:
        """Return the job with its state (``queued``, ``running``, ``done``, ``failed``, ``outdated``) and progress."""
        return json_of(self._send("GET", self._path))

    def wait(self, progress: Callable[[int, int], None] | None = None, timeout_s: float | None = None) -> Json:
        """Wait until the job is done and return its state; call ``progress`` with (facts counted, total).

        Raises:
            RejectedError: The job failed or was removed.
            ServerFailureError: The job was not done within ``timeout_s``.
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
                raise ServerFailureError(f"job {self.id} was not done within {timeout_s:g} s; it continues")
            sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK_S)

    def result(self) -> pa.Table:
        """Return the counts table of a finished job, with the columns that were sent."""
        content = self._send("GET", f"{self._path}/result", headers={"Accept": ARROW}).content
        try:
            with pa.ipc.open_stream(content) as stream:
                schema_to_json(
                    stream.schema
                )  # raises for types that the service never sends, which can crash their reader
                table = stream.read_all()
            table.validate(full=True)
            return table
        except (pa.ArrowException, TypeError, OSError, UnicodeDecodeError) as error:
            raise ServerFailureError(
                f"the result of job {self.id} is not an Arrow stream ({error}); try again"
            ) from error

    def remove(self) -> None:
        """Cancel the job if it is unfinished, and remove it with its result."""
        self._send("DELETE", self._path)


def submit(send: Sends, path: str, facts: pa.Table, windows: Sequence[int]) -> RemoteJob:
    """Send a checked fact table as a job; only names and aliases are sent."""
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
        raise ServerFailureError(
            "the service did not create a job; it may be an older version", status=reply.status_code
        )
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
    """Return the counts of a table sent as a job, and remove the job, also on interruption."""
    try:
        job.wait(progress)
        counts = job.result()
    finally:
        _forget(job)
    return counted_table(facts, counts.to_pylist(), windows, digest)


def _forget(job: RemoteJob) -> None:
    try:
        job.remove()
    except ServiceError:  # the caller needs the error that ended the wait, not this one
        log.warning("job %s could not be removed; the service keeps it until it expires", job.id)
