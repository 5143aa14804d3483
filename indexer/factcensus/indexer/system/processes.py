"""Processing of many files in several processes, with results as they are ready, progress in bytes, and quick stops.

Each process sends its results, notices and progress through its own pipe. Nothing is shared. So nothing is lost and
nothing hangs when a process ends through an error, Ctrl-C, or a lack of memory. The process pool of the standard
library lost notices, and could hang, if it was stopped while starting.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar, cast

from factcensus.indexer.errors import IndexerError, InputError

#: Below this number of bytes, starting processes would take longer than the work.
LEAST_BYTES = 16 << 20

#: The name of worker processes, and their exit status if the script of the user has no main guard.
_NAME, _UNGUARDED = "factcensus-worker", 97
_NO_GUARD = (
    "every worker process runs this script again from the start; put the call under  if __name__ == "
    "'__main__':  (or give jobs=1)"
)

Task = TypeVar("Task")
Result = TypeVar("Result")
#: A function that processes one task; it calls back with the number of bytes done, and with notices.
Work = Callable[[Task, Callable[[int], None], Callable[[str], None]], Result]


def check_main_guard() -> None:
    """Refuse to start work while a worker process imports the script of the user.

    A new process first imports the script that started it. Without a main guard, the script would start its work again
    in each process. A worker process exits silently in this case, and the process that started it reports the error.

    Raises:
        InputError: The script lacks a main guard.
    """
    current = multiprocessing.current_process()
    if getattr(current, "_inheriting", False):
        if current.name == _NAME:
            os._exit(_UNGUARDED)
        raise InputError(_NO_GUARD)


def map_tasks(
    start: Callable[[], Work[Task, Result]],
    tasks: Sequence[Task],
    sizes: Sequence[int],
    *,
    jobs: int,
    progress: Callable[[int, int], None],
    notice: Callable[[str], None],
) -> Iterator[Result]:
    """Process all tasks and yield their results in the order in which they are ready.

    Args:
        start: Called once in each process; returns the function that processes tasks. Picklable, like tasks and
        results.
        tasks: The tasks.
        sizes: The number of bytes of each task.
        jobs: Maximum number of processes; with one job, or little work, everything runs in this process.
        progress: Called with (bytes done, all bytes).
        notice: Called with the notices of the tasks.

    Raises:
        IndexerError: A process was killed.
        InputError: The calling script has no main guard.
        Exception: Any error raised by a task. By then all processes have ended, as they have when the generator closes.
    """
    total = sum(sizes)

    def report(done: int) -> None:
        if done < total:  # the end is reported only once
            progress(done, total)

    jobs = min(jobs, len(tasks))
    if jobs > 1 and total >= LEAST_BYTES:
        yield from _in_processes(start, tasks, sizes, jobs, report, notice)
    else:
        yield from _in_this_process(start, tasks, sizes, report, notice)
    progress(total, total)


def _in_this_process(
    start: Callable[[], Work[Task, Result]],
    tasks: Sequence[Task],
    sizes: Sequence[int],
    report: Callable[[int], None],
    notice: Callable[[str], None],
) -> Iterator[Result]:
    work = start()
    before = 0
    for task, size in zip(tasks, sizes, strict=True):
        yield work(task, lambda position, before=before: report(before + position), notice)  # type: ignore[misc]
        before += size


def _in_processes(
    start: Callable[[], Work[Task, Result]],
    tasks: Sequence[Task],
    sizes: Sequence[int],
    jobs: int,
    report: Callable[[int], None],
    notice: Callable[[str], None],
) -> Iterator[Result]:
    workers: dict[Connection, SpawnProcess] = {}
    current: dict[Connection, int] = {}
    bytes_done = [0] * len(tasks)
    waiting = iter(range(len(tasks)))
    try:
        with _interrupts_held_back():
            for _ in range(jobs):
                connection, process = _new_worker()
                workers[connection] = process
        for connection, process in workers.items():
            with _lives(process):
                connection.send(start)
        while workers:
            for connection in cast(list[Connection], wait(list(workers))):
                with _lives(workers[connection]):
                    kind, value = connection.recv()
                if kind == "bytes":
                    bytes_done[current[connection]] = value
                    report(sum(bytes_done))
                elif kind == "notice":
                    notice(value)
                elif kind == "error":
                    raise value
                else:
                    number = next(waiting, None)
                    with _lives(workers[connection]):
                        connection.send(None if number is None else (tasks[number],))
                    if kind == "result":
                        bytes_done[current[connection]] = sizes[current[connection]]
                        yield value
                    if number is None:
                        workers.pop(connection).join()
                    else:
                        current[connection] = number
    finally:
        for process in workers.values():
            process.terminate()
        for process in workers.values():
            process.join()


def _new_worker() -> tuple[Connection, SpawnProcess]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), name=_NAME, daemon=True)
    process.start()
    there.close()  # so that reading here ends when the process ends
    return here, process


@contextmanager
def _lives(process: SpawnProcess) -> Iterator[None]:
    """Report the end of a process while sending to it or receiving from it."""
    try:
        yield
    except (EOFError, BrokenPipeError, ConnectionResetError) as error:
        process.join()
        if process.exitcode == _UNGUARDED:
            raise InputError(_NO_GUARD) from error
        raise IndexerError(
            f"a worker process ended unexpectedly (exit code {process.exitcode}); if memory is short, give fewer --jobs"
        ) from error


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Block Ctrl-C, which a terminal sends to all processes, in processes started here; this process ends them."""
    resource_tracker.ensure_running()  # starting it later, with the first process, would unblock interrupts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection) -> None:
    """Process tasks in a worker until there are none, or until the main process is gone."""

    def sender(kind: str) -> Callable[[Any], None]:
        return lambda value: connection.send((kind, value))

    with suppress(EOFError, BrokenPipeError):
        try:
            work = connection.recv()()
            sender("ready")(None)
            while task := connection.recv():
                sender("result")(work(*task, sender("bytes"), sender("notice")))
        except Exception as error:
            error.add_note(f"in another process:\n{traceback.format_exc()}")
            sender("error")(error)
