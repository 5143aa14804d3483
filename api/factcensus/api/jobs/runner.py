"""Counting of jobs in background threads, oldest first; unfinished jobs continue after a restart."""

from __future__ import annotations

import contextlib
import errno
import logging
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import time

import pyarrow as pa

from factcensus.api.http.metrics import Metrics
from factcensus.api.http.problems import LACKING, Problem, problem_of_lack
from factcensus.api.jobs.records import UNFINISHED, Job, NewJob, State
from factcensus.api.jobs.store import JobStore
from factcensus.api.serving.catalog import Catalog
from factcensus.api.settings import Limits
from factcensus.indexer import CountIndex, Deadline
from factcensus.indexer.errors import DeadlineError, FactcensusError, InputError

log = logging.getLogger("factcensus.api")
#: Facts counted and stored together: enough to share the work on entities, few enough to lose little in a crash.
PIECE_FACTS = 5000
#: Seconds between checks for expired results.
SWEEP_S = 60.0
#: Seconds until jobs that lacked disk space are retried.
PAUSE_S = 5.0
#: Bytes that stay free on the disk, because the database writes its log in 16 MiB pieces and results need room too.
ROOM_BYTES = 64 * 2**20
#: Number of times the service may end during the same piece of a job before the job is considered the cause.
MOST_INTERRUPTIONS = 2
#: Maximum number of jobs in a list.
MOST_LISTED = 1000
_OUTDATED = "documents were deleted from the index after these facts were counted; send the table again"


class JobRunner:
    """The jobs of one service.

    Args:
        folder: Folder of the job database; None for a temporary folder that is removed with the process.
        catalog: The indexes.
        limits: Limits on the number, size and retention of jobs.
        metrics: Records the outcomes of jobs.
    """

    def __init__(self, folder: Path | None, catalog: Catalog, limits: Limits, metrics: Metrics) -> None:
        self._folder, self._catalog, self._limits, self._metrics = folder, catalog, limits, metrics
        self._temporary: str | None = None
        self._store: JobStore | None = None
        #: The reason why there is no store.
        self.reason_closed: str | None = "the job store is not open yet"
        self._changed = threading.Condition()
        self._closing = False
        self._threads: list[threading.Thread] = []
        #: Number and bytes of the tables being stored.
        self._coming = self._coming_bytes = 0
        #: For each running job: its deadline, and the facts counted so far, with those of the current piece.
        self._running: dict[str, Deadline] = {}
        self._live: dict[str, int] = {}
        #: For each unfinished job: the generation of the index on which it is counted.
        self._pinned: dict[str, CountIndex] = {}
        for state in UNFINISHED:
            metrics.follow(metrics.jobs.labels(state), partial(self._number, state))
        metrics.follow(metrics.jobs_bytes, lambda: float(self._store.size_bytes() if self._store else 0))

    @property
    def retention_s(self) -> float:
        """Seconds for which a result is kept."""
        return 3600.0 * self._limits.job_retention_hours

    def open(self) -> None:
        """Open the store, resume unfinished jobs, and start to count.

        If the store cannot be opened, the other routes still work; :attr:`reason_closed` has the reason.
        """
        try:
            folder = self._folder
            if folder is None:
                self._temporary = tempfile.mkdtemp(prefix="factcensus-jobs-")
                folder = Path(self._temporary)
            self._store = JobStore(folder)
        except (InputError, OSError) as error:
            log.error("jobs are not accepted: %s", error)
            self.reason_closed = "the jobs folder of the service cannot be used; the log has the reason"
            return
        self.reason_closed, self._closing = None, False
        for job in self._store.unfinished():
            self._take_up(job)
        self.drop_outdated()
        self._threads = [
            threading.Thread(target=self._work, name=f"jobs-{number}", daemon=True)
            for number in range(self._limits.max_parallel_jobs)
        ]
        for thread in self._threads:
            thread.start()

    def _take_up(self, job: Job) -> None:
        """Resume an unfinished job, unless it probably crashed the service."""
        if job.state == "running" and self.store.note_interruption(job.id) >= MOST_INTERRUPTIONS:
            error = (
                f"the service ended {MOST_INTERRUPTIONS} times while it counted the facts after the first "
                f"{job.counted} facts of this table; check those facts, and send the table again in smaller pieces"
            )
            self.store.set_state(job.id, "failed", time(), error)
            self._metrics.jobs_finished.labels("failed").inc()
            log.error("job %s failed: %s", job.id, error)
            return
        log.info("job %s resumes: %d of %d facts are counted", job.id, job.counted, job.facts)

    def close(self) -> None:
        """Stop counting and close the store; unfinished jobs continue when it is opened again."""
        with self._changed:
            self._closing = True
            for deadline in self._running.values():
                deadline.cancel()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        if self._store is not None:
            with contextlib.suppress(Problem):  # if the disk is full, this shutdown counts as an interruption
                for job in self._store.unfinished():
                    self._store.set_state(job.id, "queued", time())
            self._store.close()
            self._store, self.reason_closed = None, "the service is shutting down"
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None

    @property
    def store(self) -> JobStore:
        """The open store.

        Raises:
            Problem: ``jobs-unavailable``.
        """
        if self._store is None:
            raise Problem("jobs-unavailable", f"jobs are not available: {self.reason_closed}")
        return self._store

    def submit_pieces(self, index: CountIndex, pieces: Iterable[pa.Table], new: NewJob) -> Job:
        """Store a checked table as a job.

        Args:
            index: The index to count on.
            pieces: Pieces of the table, with the same schema.
            new: The job.

        Raises:
            Problem: ``too-many-jobs``, ``jobs-full``, or jobs are not available.
        """
        job = Job(
            id=uuid.uuid4().hex,
            owner=new.owner,
            index=index.name,
            digest=index.digest,
            media_type=new.media_type,
            windows=tuple(dict.fromkeys(new.windows)),
            state="queued",
            facts=new.facts,
            counted=0,
            created=time(),
            started=None,
            finished=None,
            error=None,
            generation=index.generation,
            name=new.name,
        )
        store = self.store
        with self._changed:  # so that two requests cannot both take the last place
            store.remove_finished(time() - self.retention_s)
            self._check_room(store, new.size)
            self._coming, self._coming_bytes = self._coming + 1, self._coming_bytes + new.size
        try:
            store.add_pieces(job.id, _cut(pieces))  # without the lock, because a large table takes a while
        except BaseException:
            with self._changed:
                self._coming, self._coming_bytes = self._coming - 1, self._coming_bytes - new.size
            raise
        with self._changed:
            self._coming, self._coming_bytes = self._coming - 1, self._coming_bytes - new.size
            store.add(job)
            self._pinned[job.id] = index
            self._changed.notify()
        log.info("job %s: %d facts in %s", job.id, job.facts, job.index)
        return job

    def _check_room(self, store: JobStore, size_bytes: int) -> None:
        """Check that another job with a table of this size is within the limits, and that the disk has space for it.

        Raises:
            Problem: ``too-many-jobs``, ``jobs-full``, or the disk is full.
        """
        if len(store.unfinished()) + self._coming >= self._limits.max_jobs:
            raise Problem(
                "too-many-jobs",
                f"{self._limits.max_jobs} jobs are waiting or running (FACTCENSUS_MAX_JOBS); try again later",
                headers={"Retry-After": "10"},
            )
        if store.size_bytes() + self._coming_bytes + size_bytes > self._limits.max_jobs_bytes:
            raise Problem(
                "jobs-full",
                f"all jobs together would use more than {self._limits.max_jobs_bytes} bytes "
                "(FACTCENSUS_MAX_JOBS_BYTES); DELETE jobs whose results you have, or wait until they expire",
                headers={"Retry-After": "60"},
            )
        if store.free_bytes() < self._coming_bytes + size_bytes + ROOM_BYTES:
            raise problem_of_lack(errno.ENOSPC)

    def job(self, id: str, owner: str) -> Job:
        """Return a job with the current number of counted facts.

        Raises:
            Problem: ``unknown-job``, also for a job of another owner.
        """
        live = self._live.get(id, 0)  # before the stored number, which includes a piece that is finished in between
        found = self.store.get(id)
        if found is None or found.owner != owner:
            raise unknown_job(id)
        return _as_of_now(found, live)

    def jobs(self, owner: str) -> list[Job]:
        """Return the jobs of an owner, newest first."""
        live = self._live.copy()
        return [_as_of_now(job, live.get(job.id, 0)) for job in self.store.of(owner, MOST_LISTED)]

    def remove(self, id: str, owner: str) -> None:
        """Cancel a job if it is unfinished, and remove it.

        Raises:
            Problem: ``unknown-job``.
        """
        job = self.job(id, owner)
        with self._changed:
            self.store.remove(id)
            self._pinned.pop(id, None)
            if id in self._running:
                self._running[id].cancel()
        if job.finished is None:
            self._metrics.jobs_finished.labels("cancelled").inc()
            log.info("job %s was cancelled at %d of %d facts", id, job.counted, job.facts)

    def counts(self, job: Job) -> Iterator[pa.Table]:
        """Return the counts of a finished job piece by piece; see :meth:`refuse_outdated`."""
        self.refuse_outdated(job)
        return self.store.counts(job.id)

    def refuse_outdated(self, job: Job) -> None:
        """Raise unless the result of a finished job is valid: no document was deleted from its index since.

        Raises:
            Problem: ``index-changed``; or ``index-not-open`` if the index is not served, so deletions are unknown.
        """
        if job.state == "outdated":
            raise Problem("index-changed", job.error or _OUTDATED)
        if job.state != "done":
            return
        try:
            index = self._catalog.get(job.index)
        except Problem as problem:
            raise Problem(
                "index-not-open",
                f"index {job.index!r} is not served now, so the service cannot check whether documents were deleted "
                "after the facts were counted; the result is kept until the job expires",
            ) from problem
        if job.digest not in index.held_digests:
            raise Problem("index-changed", _OUTDATED)

    def drop_outdated(self) -> None:
        """Remove the results of finished jobs that include documents deleted since."""
        store = self._store
        if store is None:
            return
        indexes = {index.name: index for index in self._catalog.indexes}
        # Otherwise a waiting job would keep the deleted documents on the disk.
        for id, begun in list(self._pinned.items()):
            if begun.name in indexes and begun.digest not in indexes[begun.name].held_digests:
                self._pinned.pop(id, None)
        for job in store.done():
            index = indexes.get(job.index)
            if index is not None and job.digest not in index.held_digests:
                store.drop_counts(job.id, time(), _OUTDATED)
                log.info("the result of job %s was removed: %s", job.id, _OUTDATED)

    def _number(self, state: State) -> float:
        return float(sum(job.state == state for job in self._store.unfinished())) if self._store else 0.0

    def _work(self) -> None:
        swept = 0.0
        while not self._closing:
            try:
                if (job := self._take()) is not None:
                    self._run(job)
                elif time() - swept > SWEEP_S:
                    swept = time()
                    self.store.remove_finished(swept - self.retention_s)
            except Problem as problem:  # the disk is full or there are no file handles; accepted jobs wait
                log.error("jobs are waiting: %s", problem.detail)
                self._pause()
            except Exception:  # a bug in the service; the other jobs continue
                log.exception("the job store failed")
                self._pause()

    def _pause(self) -> None:
        with self._changed:
            if not self._closing:
                self._changed.wait(PAUSE_S)

    def _take(self) -> Job | None:
        """Start the oldest waiting job and return it; None after a while or when the service shuts down."""
        with self._changed:
            for _ in range(2):
                if self._closing or self._store is None:
                    return None
                for job in self._store.unfinished():
                    if job.id not in self._running:  # also a job that could not be put back for lack of disk space
                        self._store.set_state(job.id, "running", time())
                        self._running[job.id] = Deadline()
                        return job
                self._changed.wait(SWEEP_S)
            return None

    def _run(self, job: Job) -> None:
        deadline, error, began = self._running[job.id], None, time()
        try:
            for index, before, number, facts in self._pieces(job.id):
                counts = self._counted(job, index, facts, before, deadline)
                self.store.put_counts(job.id, number, counts)
                self._live.pop(job.id, None)
                self._metrics.facts_counted.inc(counts.num_rows)
        except DeadlineError:
            return  # the job was removed, or the service shuts down and the job resumes after a restart
        except Problem as problem:
            if problem.kind in LACKING:
                raise
            error = problem.detail
        except InputError as refused:
            error = str(refused)
        except Exception:
            log.exception("job %s failed", job.id)
            error = f"internal error; the service's log has the cause under the job id {job.id}"
        finally:
            with self._changed:
                self._running.pop(job.id, None)
                self._live.pop(job.id, None)
        self._pinned.pop(job.id, None)
        if self.store.get(job.id) is None:
            return
        self.store.set_state(job.id, "failed" if error else "done", time(), error)
        self._metrics.jobs_finished.labels("failed" if error else "done").inc()
        self._metrics.job_seconds.observe(time() - began)
        log.info("job %s %s", job.id, f"failed: {error}" if error else "is done")

    def _pieces(self, id: str) -> Iterator[tuple[CountIndex, int, int, pa.Table]]:
        """Yield the uncounted pieces of a job.

        Each has the generation of the index to count on, and the number of facts counted before.
        """
        while (job := self.store.get(id)) is not None:
            index = self._index_of(job)  # which may restart the job
            piece, job = self.store.next_piece(id), self.store.get(id)
            if piece is None or job is None:
                return
            yield index, job.counted, *piece

    def _index_of(self, job: Job) -> CountIndex:
        """Return the generation of the index on which to count a job; restart the job after a deletion.

        Raises:
            InputError: Another index has taken the name.
            Problem: The index is not open.
        """
        now = self._catalog.get(job.index)
        if job.digest in now.held_digests:
            if now.digest == job.digest:
                return now
            begun = self._pinned.get(job.id)
            if begun is not None and begun.digest == job.digest:  # documents were added; the job continues without them
                return begun
        elif now.manifest is None or not now.manifest.descends_from(job.digest):
            raise InputError(
                f"index {job.index!r} was replaced by another index before the job was done; send the table again"
            )
        self.store.restart(job.id, now.digest, now.generation)
        self._pinned[job.id] = now
        log.info("job %s starts again: index %s has changed", job.id, job.index)
        return now

    def _counted(self, job: Job, index: CountIndex, facts: pa.Table, before: int, deadline: Deadline) -> pa.Table:
        def progress(done: int, _all: int) -> None:
            self._live[job.id] = before + done

        try:
            return index.count_facts(facts, windows=job.windows, deadline=deadline, progress=progress)
        except DeadlineError:
            raise
        except FactcensusError as error:
            if isinstance(error, InputError):
                raise
            log.error("job %s failed", job.id, exc_info=error)
            raise InputError(f"the index cannot be read; the service's log has the cause under {job.id}") from error


def _as_of_now(job: Job, live: int) -> Job:
    """Return a job with the number of facts counted so far, including those of the current piece."""
    return replace(job, counted=max(job.counted, live)) if job.state == "running" else job


def unknown_job(id: str) -> Problem:
    """Return the problem for an unknown job id, or one that belongs to another key."""
    return Problem("unknown-job", f"no job has the id {id[:100]!r}; it may have been removed or expired")


def _cut(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    for piece in pieces:
        for start in range(0, piece.num_rows, PIECE_FACTS):
            yield piece.slice(start, PIECE_FACTS)
