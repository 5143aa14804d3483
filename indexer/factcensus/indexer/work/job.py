"""The protocol of a job (stages, units and result), and the loop that runs the stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from factcensus.indexer.errors import InputError
from factcensus.indexer.names import suggestion
from factcensus.indexer.system.places import Place, PlaceError

if TYPE_CHECKING:
    from factcensus.indexer.work.folder import WorkFolder
    from factcensus.indexer.work.plan import Plan

#: The function of each kind that returns its job for a plan, as ``module:function``; packages add kinds through the
#: entry-point group ``factcensus.jobs``.
KINDS: dict[str, str] = {
    "build": "factcensus.indexer.work.build.job:from_plan",
    "scan": "factcensus.indexer.work.scan:ScanJob.of_plan",
}


@dataclass(frozen=True, slots=True)
class Unit:
    """The smallest part of a job that is either finished or not; picklable.

    Attributes:
        stage: The stage it belongs to; a name that can be a folder's.
        number: Its number in the stage, from 0.
        size_bytes: Bytes to read, for progress and the order.
        what: What the job needs to run it.
        files: The names of the source files it covers, for messages.
    """

    stage: str
    number: int
    size_bytes: int
    what: Any = None
    files: tuple[str, ...] = ()


#: Runs a unit: it takes the unit, a callback for the number of bytes done, and one for notices, and returns the content
#: of the unit's object, which depends on the plan alone. Larger results are written to the folder before that, under
#: names that belong to the unit.
RunUnit = Callable[[Unit, Callable[[int], None], Callable[[str], None]], bytes]


class Job(Protocol):
    """A job of some kind; picklable, because runners send it to other processes.

    Attributes:
        stages: The stages, in order. A unit may read the objects of all earlier stages.
    """

    @property
    def stages(self) -> Sequence[str]:
        """The names of the stages."""
        ...

    def units(self, stage: str, folder: WorkFolder) -> Sequence[Unit]:
        """Return the units of a stage; all earlier stages are finished."""
        ...

    def start(self, folder: WorkFolder) -> RunUnit:
        """Return the function that runs units; called once per process."""
        ...

    def finish(self, folder: WorkFolder, out: Place, *, allow_missing: bool = False) -> str:
        """Make the result of all units, write it, and return one line about it.

        Raises:
            InputError: Units are missing, and ``allow_missing`` is false.
        """
        ...


def job_of(plan: Plan) -> Job:
    """Return the job for the plan of a work folder; it can finish but not run, because a plan has no credentials.

    Raises:
        InputError: The kind of job is unknown.
    """
    found = {entry.name: entry.value for entry in entry_points(group="factcensus.jobs")} | KINDS
    if plan.kind not in found:
        raise InputError(f"unknown kind of job {plan.kind!r}{suggestion(plan.kind, found)}")
    module, _, name = found[plan.kind].partition(":")
    job: Job = attrgetter(name)(import_module(module))(plan)
    return job


@dataclass(frozen=True, slots=True)
class Run:
    """The callbacks of a run, which do not change the result.

    Attributes:
        progress: Called with (stage, bytes done, all bytes, unit of measure).
        notice: Called with messages for the user.
    """

    progress: Callable[[str, int, int, str], None] = lambda *_: None
    notice: Callable[[str], None] = lambda _message: None


class Runner(Protocol):
    """Schedules the units of a job."""

    def __call__(self, job: Job, folder: WorkFolder, units: Sequence[Unit], run: Run) -> Sequence[Failure]:
        """Run the unfinished units of one stage, or this runner's share of them.

        Returns:
            The units that failed for a reason that may pass; the others are done all the same.

        Raises:
            Exception: A unit failed for good, such as with a bad line.
        """
        ...


@dataclass(frozen=True, slots=True)
class Failure:
    """A unit that could not read or write a file, after all attempts."""

    unit: Unit
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a job.

    Attributes:
        stage: The first stage that is not finished; None if all are.
        missing: The unfinished units of this stage.
        finished: Number of finished units by stage, as far as the units of a stage are known.
        units: Number of units by stage, likewise.
    """

    stage: str | None
    missing: tuple[Unit, ...] = ()
    finished: Mapping[str, int] = field(default_factory=dict)
    units: Mapping[str, int] = field(default_factory=dict)


def progress_of(job: Job, folder: WorkFolder) -> Progress:
    """Return the progress of a job."""
    finished, known = {}, {}
    for stage in job.stages:
        units, done = job.units(stage, folder), folder.done(stage)
        missing = tuple(unit for unit in units if unit.number not in done)
        known[stage], finished[stage] = len(units), len(units) - len(missing)
        if missing:
            return Progress(stage, missing, finished, known)
    return Progress(None, (), finished, known)


def run_job(
    job: Job, folder: WorkFolder, runner: Runner, run: Run | None = None, *, stages: Sequence[str] | None = None
) -> Progress:
    """Run the stages of a job one after another, as far as this runner can.

    Args:
        job: The job; its plan is in the folder.
        folder: The work folder.
        runner: Runs the units.
        run: Callbacks.
        stages: Run only these stages.

    Returns:
        How far the job is; another runner may have the missing units.

    Raises:
        PlaceError: Units failed because a file could not be read or written; the other units are done.
    """
    run = run or Run()
    while True:
        now = progress_of(job, folder)
        if now.stage is None or (stages is not None and now.stage not in stages):
            return now
        failures = runner(job, folder, now.missing, run)
        if failures:
            more = f"; {len(failures) - 1:,} more units failed" if len(failures) > 1 else ""
            raise PlaceError(f"{failures[0].message}{more}; all others are done, run the same command again")
        after = progress_of(job, folder)
        if after.stage == now.stage:
            return after
