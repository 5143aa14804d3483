"""Work on many files in as many processes as asked for: results as they come, progress in bytes, a stop at once.

Each process has a pipe of its own to this one, over which come its results, its notices and how far it is. Nothing
is shared, so nothing is lost or waited for when a process ends, by an error, by Ctrl-C, or killed for its memory. The
standard library's pool of processes lost notices, and could hang, when it was stopped while it started.
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

#: Below this, starting processes would take longer than the work.
LEAST_BYTES = 16 << 20

#: The name of processes started here, and their exit status if the user's script has no main guard.
_NAME, _UNGUARDED = "factcensus-worker", 97
_NO_GUARD = (
    "this script starts its work again in every process that it starts; put the call under  if __name__ == "
    "'__main__':  (or give jobs=1)"
)

Task = TypeVar("Task")
Result = TypeVar("Result")
#: What is done with one task; it tells now and then how many bytes of the task are done, and what is to be noticed.
Work = Callable[[Task, Callable[[int], None], Callable[[str], None]], Result]


def check_main_guard() -> None:
    """Refuse to start work while a script is imported again by a process that it started.

    A new process first imports the script that started it. Without a main guard the script would get here again, and
    again in each further process. A process of ours ends without a word: the one that started it says what is wrong.

    Raises:
        InputError: the script lacks a main guard.
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
    """Do all tasks; their results in the order in which they are ready.

    Args:
        start: called once in each process; gives what does the tasks there. Picklable, as are tasks and results.
        tasks: what to do.
        sizes: the bytes of each task.
        jobs: most processes; with one, or little to do, the work is done in this one.
        progress: told (bytes done, all).
        notice: told what the work notices.

    Raises:
        IndexerError: a process was killed.
        InputError: the script that called this has no main guard.
        Exception: what the work raises. All processes have ended then, as they have when no more results are taken.
    """
    total = sum(sizes)

    def report(done: int) -> None:
        if done < total:  # the end is told once
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
    there.close()  # what is read here ends when the process does
    return here, process


@contextmanager
def _lives(process: SpawnProcess) -> Iterator[None]:
    """What is sent to a process or received from it."""
    try:
        yield
    except (EOFError, BrokenPipeError, ConnectionResetError) as error:
        process.join()
        if process.exitcode == _UNGUARDED:
            raise InputError(_NO_GUARD) from error
        raise IndexerError(
            f"a process ended before its work was done (exit code {process.exitcode}); where memory is short, give "
            "fewer --jobs"
        ) from error


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes that start here never see Ctrl-C, which a terminal sends to all of them: this one ends them."""
    resource_tracker.ensure_running()  # starting it with the first process would let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection) -> None:
    """What a process does: one task after another, until it is told that there is none, or whoever asks is gone."""

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
