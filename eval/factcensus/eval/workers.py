"""Long tasks in parallel processes that report progress; if one fails, the others are stopped.

Processes are spawned, not forked, because the threads of torch do not survive a fork.
"""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from factcensus.eval.errors import EvaluationError
from factcensus.unlearn.progress import Progress, ProgressFunction
from factcensus.unlearn.stopping import stop_on_sigterm

STOP_TIMEOUT_S = 20.0
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Task:
    """A call ``run(*arguments, progress)``; the function is importable by name, and the arguments can be pickled."""

    name: str
    run: Callable[..., None]
    arguments: tuple[Any, ...]


class TaskError(EvaluationError):
    """The failure of a task; ``exit_code`` is that of the original error."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def run_tasks(tasks: Sequence[Task], *, jobs: int, report: Callable[[str, Progress], None]) -> None:
    """Run all tasks, at most ``jobs`` at a time, starting them in order.

    Args:
        report: Called with the name of a task and its progress.

    Raises:
        TaskError: a task failed (the first failure); the other processes were stopped.
        InterruptedRunError: the process received SIGTERM; all tasks were stopped.
    """
    context = multiprocessing.get_context("spawn")
    messages: multiprocessing.Queue[tuple[int, str, Any]] = context.Queue()
    waiting = list(enumerate(tasks))
    running: dict[int, BaseProcess] = {}
    with stop_on_sigterm() as stop:
        try:
            while waiting or running:
                stop.check()
                while waiting and len(running) < jobs:
                    number, task = waiting.pop(0)
                    running[number] = context.Process(target=_work, args=(messages, number, task), name=task.name)
                    running[number].start()
                _take_message(messages, tasks, running, report)
        finally:
            for process in running.values():
                process.terminate()
            for process in running.values():
                process.join(STOP_TIMEOUT_S)
                if process.is_alive():
                    process.kill()
                    process.join()


def _take_message(
    messages: multiprocessing.Queue[tuple[int, str, Any]],
    tasks: Sequence[Task],
    running: dict[int, BaseProcess],
    report: Callable[[str, Progress], None],
) -> None:
    """Handle one message, or detect a process that ended without a message."""
    try:
        number, kind, content = messages.get(timeout=POLL_S)
    except queue.Empty:
        for number, process in running.items():
            if process.exitcode is not None and messages.empty():
                raise TaskError(
                    f"{tasks[number].name}: the process ended with code {process.exitcode} without a message (out of "
                    "memory?); run the same command again to continue",
                    1,
                ) from None
        return
    if kind == "progress":
        report(tasks[number].name, content)
    elif kind == "done":
        running.pop(number).join()
    else:
        message, exit_code = content
        raise TaskError(f"{tasks[number].name}: {message}", exit_code)


def _work(messages: multiprocessing.Queue[tuple[int, str, Any]], number: int, task: Task) -> None:
    """Run one task in its process. Ctrl-C reaches every process of the group, and only the parent handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def report(progress: Progress) -> None:
        messages.put((number, "progress", progress))

    progress: ProgressFunction = report
    try:
        task.run(*task.arguments, progress)
    except Exception as error:  # any error must be sent to the parent process as a message
        text = " ".join(str(error).split()) or type(error).__name__
        messages.put((number, "failed", (text, getattr(error, "exit_code", 1))))
    else:
        messages.put((number, "done", None))
