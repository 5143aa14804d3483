"""The jobs of a service as its other workers see them: worker 0 stores and counts them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

import pyarrow as pa

from factcensus.api.http.problems import Problem
from factcensus.api.jobs.records import Job, NewJob
from factcensus.api.jobs.runner import JobRunner
from factcensus.api.serving.catalog import Catalog
from factcensus.api.settings import Limits
from factcensus.api.workers.peers import PeerError, Peers
from factcensus.indexer import CountIndex

#: The worker that stores and counts the jobs.
COUNTING = 0


class Jobs(Protocol):
    """The jobs of a service, for its routes; :class:`~factcensus.api.jobs.runner.JobRunner` describes the methods."""

    @property
    def retention_s(self) -> float: ...  # noqa: D102
    @property
    def reason_closed(self) -> str | None: ...  # noqa: D102
    def submit_pieces(self, index: CountIndex, pieces: Iterable[pa.Table], new: NewJob) -> Job: ...  # noqa: D102
    def job(self, id: str, owner: str) -> Job: ...  # noqa: D102
    def jobs(self, owner: str) -> list[Job]: ...  # noqa: D102
    def remove(self, id: str, owner: str) -> None: ...  # noqa: D102
    def counts(self, job: Job) -> Iterator[pa.Table]: ...  # noqa: D102
    def refuse_outdated(self, job: Job) -> None: ...  # noqa: D102


class RemoteJobs:
    """Passes everything on to worker 0."""

    def __init__(self, peers: Peers, limits: Limits) -> None:
        self._peers, self._limits = peers, limits

    @property
    def retention_s(self) -> float:
        """Seconds for which a result is kept."""
        return 3600.0 * self._limits.job_retention_hours

    @property
    def reason_closed(self) -> str | None:
        """The reason why there is no store; None if there is one."""
        try:
            reason: str | None = self._ask("reason_closed")
        except Problem as problem:
            return problem.detail
        return reason

    def submit_pieces(self, index: CountIndex, pieces: Iterable[pa.Table], new: NewJob) -> Job:
        """Send a checked table to worker 0."""
        job: Job = self._ask("submit", index.name, index.digest, new, pieces=pieces)
        return job

    def job(self, id: str, owner: str) -> Job:
        """Return a job with the current number of counted facts."""
        job: Job = self._ask("job", id, owner)
        return job

    def jobs(self, owner: str) -> list[Job]:
        """Return the jobs of an owner, newest first."""
        jobs: list[Job] = self._ask("jobs", owner)
        return jobs

    def remove(self, id: str, owner: str) -> None:
        """Cancel a job if it is unfinished, and remove it."""
        self._ask("remove", id, owner)

    def counts(self, job: Job) -> Iterator[pa.Table]:
        """Return the counts of a finished job piece by piece."""
        pieces: Iterator[pa.Table] = self._ask("counts", job)
        return pieces

    def refuse_outdated(self, job: Job) -> None:
        """Raise unless the result of a finished job is valid."""
        self._ask("refuse_outdated", job)

    def _ask(self, method: str, *arguments: Any, pieces: Iterable[Any] | None = None) -> Any:
        try:
            return self._peers.ask(COUNTING, method, *arguments, pieces=pieces)
        except PeerError as error:
            raise Problem(
                "jobs-unavailable",
                f"jobs are not available now ({error}); try again in a moment",
                headers={"Retry-After": "1"},
            ) from error


def methods_for_peers(jobs: JobRunner, catalog: Catalog) -> Mapping[str, Callable[..., Any]]:
    """Return the methods of worker 0 that :class:`RemoteJobs` uses."""
    return {
        "reason_closed": lambda: jobs.reason_closed,
        "submit": partial(_submit, jobs, catalog),
        "job": jobs.job,
        "jobs": jobs.jobs,
        "remove": jobs.remove,
        "counts": jobs.counts,
        "refuse_outdated": jobs.refuse_outdated,
    }


def _submit(
    jobs: JobRunner,
    catalog: Catalog,
    name: str,
    digest: str | None,
    new: NewJob,
    pieces: Iterator[pa.Table],
) -> Job:
    """Store a table that another worker checked; that worker may know a newer generation of the index."""
    index = catalog.get(name)
    if digest not in index.held_digests:
        catalog.reload()
        index = catalog.get(name)
    if digest not in index.held_digests:
        raise Problem("index-changed", f"index {name!r} changed while the table was sent; send it again")
    return jobs.submit_pieces(index, pieces, new)
