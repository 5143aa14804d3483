"""Long tasks in parallel processes that report progress; if one fails, the others are stopped.

Processes are spawned, not forked, because the threads of torch do not survive a fork.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from factcensus.eval.errors import EvaluationError
from factcensus.indexer.system import processes
from factcensus.unlearn.progress import Progress
from factcensus.unlearn.stopping import stop_on_sigterm


@dataclass(frozen=True, slots=True)
class Task:
    """A call ``run(*arguments, progress)``; the function is importable by name, and the arguments can be pickled."""

    name: str
    run: Callable[..., None]
    arguments: tuple[Any, ...]


class TaskError(EvaluationError):
    """The failure of a task; ``exit_code`` is that of the original error."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run_tasks(tasks: Sequence[Task], *, jobs: int, report: Callable[[str, Progress], None]) -> None:
    """Run all tasks, each in a new process, at most ``jobs`` at a time, starting them in order.

    Args:
        tasks: The tasks.
        jobs: Maximum number of processes.
        report: Called with the name of a task and its progress.

    Raises:
        TaskError: a task failed (the first failure); the other processes were stopped.
        InterruptedRunError: the process received SIGTERM; all tasks were stopped.
    """
    with stop_on_sigterm() as stop:
        running = processes.run_tasks(_worker, tasks, jobs=jobs, fresh=True, check=stop.check)
        try:
            with closing(running) as messages:
                for number, kind, value in messages:
                    if kind == "notice":
                        report(tasks[number].name, value)
        except processes.WorkerError as error:
            name = "a task" if error.task is None else tasks[error.task].name
            raise TaskError(
                f"{name}: the process ended with code {error.ended_with} without a message (out of memory?); run the "
                "same command again to continue"
            ) from error


def _worker() -> Callable[[Task, Callable[[int], None], Callable[[Any], None]], None]:
    return _work


def _work(task: Task, _on_bytes: Callable[[int], None], report: Callable[[Progress], None]) -> None:
    """Run one task in its process."""
    try:
        task.run(*task.arguments, report)
    except Exception as error:  # any error, because it might not be possible to send it to the other process
        text = " ".join(str(error).split()) or type(error).__name__
        raise TaskError(f"{task.name}: {text}", getattr(error, "exit_code", 1)) from error
