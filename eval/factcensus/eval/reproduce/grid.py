"""A resumable grid of studies: arms × seeds, each study in a separate process, one record for the whole folder.

An *arm* is a preset: settings of a world and a model, and methods. Arms that share a world (models of several sizes)
also share its index and counts. Finished steps are kept, so the same command continues an interrupted grid, and the
same folder can be extended by further seeds.

    OUT/run.json               settings, seeds, versions, seconds
    OUT/ARM/seed-S/            the run folder of one study
    OUT/ARM/retrained-S/       the run folder of its oracle, for the seeds that have one
    OUT/work/                  worlds, indexes, counted facts, models, the log of the service
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.eval.study import Console, Study, count_worlds, processors, train_oracle
from factcensus.eval.workers import Task, run_tasks
from factcensus.indexer.numbers import duration_text
from factcensus.unlearn.progress import Progress, ProgressFunction
from factcensus.unlearn.run_folder import library_versions, open_run, read_record
from factcensus.unlearn.world.settings import described

if TYPE_CHECKING:
    from factcensus.unlearn import Preset

#: The stage that a task reports when its study is finished.
FINISHED = "finished"
#: Minimum time between two lines about unfinished tasks; a grid has hundreds of stages.
SHOW_EVERY_S = 15.0


@dataclass(frozen=True, slots=True)
class Grid:
    """A grid of studies.

    Attributes:
        name: What the grid is, such as ``controlled cpu``; a folder holds one kind of grid.
        arms: The arms, which differ in name.
        seeds: Seeds of worlds and models. The studies of one seed run before those of the next.
        run_study: Runs one study whose facts are counted: ``run_study(study, *arguments, progress)``. It is importable
            by name, and finished steps of it are kept.
        arguments: Further arguments of ``run_study``.
        oracle_seeds: Seeds at which every arm also gets a model retrained without the forget set.
        world_of: The name of the world of each arm; by default all arms share one world.
    """

    name: str
    arms: tuple[Preset, ...]
    seeds: tuple[int, ...]
    run_study: Callable[..., None]
    arguments: tuple[Any, ...] = ()
    oracle_seeds: tuple[int, ...] = ()
    world_of: dict[str, str] = field(default_factory=dict)

    def studies(self, out: Path) -> list[Study]:
        """Return the studies in the order in which they run: by seed, the arm with the largest model first."""
        arms = sorted(self.arms, key=_cost, reverse=True)
        return [Study(arm, seed, out, arm.name, self.world_of.get(arm.name, "")) for seed in self.seeds for arm in arms]

    def settings(self) -> dict[str, Any]:
        """Return everything that determines the result of a study, as plain JSON types."""
        arguments = [asdict(each) if hasattr(each, "__dataclass_fields__") else each for each in self.arguments]
        # Settings added later are left out while they have their defaults, so that earlier grids can be continued.
        arms = {
            arm.name: asdict(arm) | {"world": described(arm.world), "pretraining": described(arm.pretraining)}
            for arm in self.arms
        }
        plain: dict[str, Any] = json.loads(
            json.dumps({"name": self.name, "arms": arms, "arguments": arguments, "worlds": self.world_of})
        )
        return plain


def run_grid(
    grid: Grid, out: Path, conclude: Callable[[list[Study]], dict[str, Any]], *, jobs: int | None = None
) -> dict[str, Any]:
    """Run or continue all studies of a grid, and return the result of ``conclude``.

    Args:
        grid: The grid.
        out: The folder; a grid in it must have the same settings, but may have other seeds.
        conclude: Called with all studies when they are finished, while the folder is still locked.
        jobs: Maximum number of studies at a time; by default the number of processors.

    Raises:
        RunFolderError: ``out`` holds something else, or another process uses it.
        TaskError: a study failed; the others were stopped.
        InterruptedRunError: SIGTERM was received; the same call continues.
    """
    console, studies = Console(), grid.studies(out)
    before = float(read_record(out).get("seconds", 0.0))
    record = {
        "grid": grid.name,
        "seeds": list(grid.seeds),
        "versions": library_versions(),
        "commit": commit_of_code(),
        "seconds": before,
    }
    with open_run(out, {"settings": grid.settings()}, record) as run:
        count_worlds(studies, console)
        tasks = list(_tasks(grid, studies))
        remaining = _Remaining({task.name: cost for task, cost in tasks}, console)
        try:
            run_tasks([task for task, _ in tasks], jobs=jobs or processors(), report=remaining.report)
        finally:
            run.update(seconds=round(before + console.seconds(), 1))
        console.say("results and report")
        return conclude(studies)


def _tasks(grid: Grid, studies: list[Study]) -> Iterator[tuple[Task, float]]:
    """Yield the tasks with their relative costs: all studies, then the oracles."""
    for study in studies:
        yield Task(study.name, _finish_study, (study, grid.run_study, grid.arguments)), _cost(study.preset)
    for study in studies:
        if study.seed in grid.oracle_seeds:
            yield Task(f"{study.name} oracle", _finish_oracle, (study,)), _cost(study.preset) / 2


def _finish_study(
    study: Study, run_study: Callable[..., None], arguments: tuple[Any, ...], progress: ProgressFunction
) -> None:
    run_study(study, *arguments, progress)
    progress(Progress(FINISHED, 1, 1))


def _finish_oracle(study: Study, progress: ProgressFunction) -> None:
    train_oracle(study, progress)
    progress(Progress(FINISHED, 1, 1))


def _cost(preset: Preset) -> float:
    """Return the relative cost of an arm: a fixed part for small operations, and one per weight of the layers."""
    model = preset.pretraining
    weights = model.layers * model.width * (4 * model.width + 3 * model.feed_forward)
    return (1.0 + weights / 4e5) * preset.world.people * model.epochs


@dataclass
class _Remaining:
    """Shows the progress of the tasks, the number of finished ones and the remaining time.

    Attributes:
        costs: The relative cost of each task by its name.
        done: Names of the finished tasks.
        shown: Seconds at which the last line about an unfinished task was shown.
    """

    costs: dict[str, float]
    console: Console
    done: list[str] = field(default_factory=list)
    shown: float = 0.0

    def report(self, name: str, progress: Progress) -> None:
        """Show that a task is finished, and now and then what another one is doing."""
        if progress.stage != FINISHED:
            if self.console.seconds() - self.shown > SHOW_EVERY_S:
                self.shown = self.console.seconds()
                self.console.say(f"{name}: {progress.stage} {progress.done:,} of {progress.total:,}")
            return
        self.done.append(name)
        finished, total = sum(self.costs[each] for each in self.done), sum(self.costs.values())
        left = self.console.seconds() * (total - finished) / finished
        rest = f", {duration_text(left)} left" if len(self.done) < len(self.costs) else ""
        self.console.say(f"{name}: finished; {len(self.done)} of {len(self.costs)} studies{rest}")


def commit_of_code() -> str | None:
    """Return the commit of the checkout that this code runs from, with ``+`` if it has changes; None outside one."""
    folder = Path(__file__).parent
    git = ["git", "-C", os.fspath(folder)]
    try:
        found = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=20, check=True)
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() + ("+" if changes.stdout.strip() else "")
