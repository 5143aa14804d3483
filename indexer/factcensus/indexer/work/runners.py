"""Runners that need no cluster: all units in processes of this machine, or every N-th unit for a job array.

A further runner is a function with options and a :class:`~factcensus.indexer.work.job.Runner` as its result, such as
:mod:`ray_runner`. Packages add runners through the entry-point group ``factcensus.runners``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from factcensus.indexer.errors import InputError
from factcensus.indexer.names import suggestion
from factcensus.indexer.system.places import PlaceError
from factcensus.indexer.system.processes import map_tasks
from factcensus.indexer.work.folder import WorkFolder
from factcensus.indexer.work.job import Failure, Job, Run, Runner, Unit

_RUNNERS = {
    "local": "factcensus.indexer.work.runners:LocalRunner",
    "part": "factcensus.indexer.work.runners:LocalRunner",
    "ray": "factcensus.indexer.work.ray_runner:RayRunner",
}


def load_runner(name: str, **options: Any) -> Runner:
    """Return a runner by name, after importing its engine.

    Raises:
        InputError: There is no runner with this name.
    """
    found = {entry.name: entry.value for entry in entry_points(group="factcensus.runners")} | _RUNNERS
    if name not in found:
        raise InputError(f"unknown runner {name!r}{suggestion(name, found)}")
    module, _, function = found[name].partition(":")
    runner: Runner = getattr(import_module(module), function)(**options)
    return runner


class UnitWorker:
    """Runs units in one process: skips finished ones, writes the object of a unit, and reports a failure of a place."""

    def __init__(self, job: Job, folder: WorkFolder) -> None:
        self._job, self._folder = job, folder
        self._run: Callable[..., bytes] | None = None

    def __call__(self, unit: Unit, on_bytes: Callable[[int], None], notice: Callable[[str], None]) -> Failure | None:
        """Run one unit and return its failure, if a file could not be read or written."""
        try:
            if self._folder.has(unit):  # another machine was faster
                return None
            if self._run is None:
                self._run = self._job.start(self._folder)
            self._folder.finish(unit, self._run(unit, on_bytes, notice))
        except PlaceError as error:
            return self._failed(unit, error)
        return None

    def _failed(self, unit: Unit, error: PlaceError) -> Failure:
        with suppress(PlaceError):  # the work folder itself may be the place that fails
            self._folder.fail(unit, str(error))
        return Failure(unit, str(error))


@dataclass(frozen=True, slots=True)
class LocalRunner:
    """Runs units in processes of this machine.

    Attributes:
        jobs: Maximum number of processes.
        part: Run only the units whose number, divided by ``parts``, leaves this remainder.
        parts: The number of such shares.
    """

    jobs: int = 1
    part: int = 0
    parts: int = 1

    def __call__(self, job: Job, folder: WorkFolder, units: Sequence[Unit], run: Run) -> Sequence[Failure]:
        """Run the units of this share, the largest first, so that no large one runs alone at the end."""
        mine = sorted(
            (unit for unit in units if unit.number % self.parts == self.part), key=lambda unit: -unit.size_bytes
        )
        if not mine:
            return []
        stage = mine[0].stage
        results = map_tasks(
            partial(UnitWorker, job, folder),
            mine,
            [unit.size_bytes for unit in mine],
            jobs=self.jobs,
            progress=lambda done, total: run.progress(stage, done, total, "B"),
            notice=run.notice,
        )
        return [failure for failure in results if failure is not None]
