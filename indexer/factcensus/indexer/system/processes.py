"""Processing of many files, or of a few long tasks, in several processes.

Each process sends its results, notices and progress through its own pipe. Nothing is shared. So nothing is lost and
nothing hangs when a process ends through an error, Ctrl-C, or a lack of memory. The process pool of the standard
library lost notices, and could hang, if it was stopped while starting.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Literal, NamedTuple, TypeVar, cast

from factcensus.indexer.errors import IndexerError, InputError

#: Below this number of bytes, starting processes would take longer than the work.
LEAST_BYTES = 16 << 20
#: Seconds between two calls of ``check``, and seconds that a process gets to exit.
CHECK_EVERY_S, STOP_TIMEOUT_S = 0.2, 20.0

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


class WorkerError(IndexerError):
    """A process ended unexpectedly.

    Attributes:
        task: The position of its task; None if it had none.
        ended_with: Its exit code; negative for a signal.
    """

    def __init__(self, task: int | None, exit_code: int | None) -> None:
        super().__init__(
            f"a worker process ended unexpectedly (exit code {exit_code}); if memory is short, give fewer --jobs"
        )
        self.task = task
        self.ended_with = exit_code


class Message(NamedTuple):
    """A report of a process about a task: bytes done, a notice, or its result, which is the last message."""

    task: int
    kind: Literal["bytes", "notice", "result"]
    value: Any


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
        WorkerError: A process was killed.
        InputError: The calling script has no main guard.
        Exception: Any error raised by a task. By then all processes have ended, as they have when the generator closes.
    """
    total, bytes_done = sum(sizes), [0] * len(tasks)

    def report(number: int, done: int) -> None:
        bytes_done[number] = done
        if (together := sum(bytes_done)) < total:  # the end is reported only once
            progress(together, total)

    if min(jobs, len(tasks)) > 1 and total >= LEAST_BYTES:
        with closing(run_tasks(start, tasks, jobs=jobs)) as messages:
            for number, kind, value in messages:
                if kind == "bytes":
                    report(number, value)
                elif kind == "notice":
                    notice(value)
                else:
                    bytes_done[number] = sizes[number]
                    yield value
    else:
        work = start()
        for number, task in enumerate(tasks):
            yield work(task, partial(report, number), notice)
            bytes_done[number] = sizes[number]
    progress(total, total)


def run_tasks(
    start: Callable[[], Work[Task, Result]],
    tasks: Sequence[Task],
    *,
    jobs: int,
    fresh: bool = False,
    check: Callable[[], None] | None = None,
) -> Generator[Message, None, None]:
    """Process all tasks in other processes, starting them in order, and yield what the processes report.

    Args:
        start: Called once in each process; returns the function that processes tasks. Picklable, like tasks and
        results.
        tasks: The tasks.
        jobs: Maximum number of processes.
        fresh: Start a new process for every task.
        check: Called several times a second; an error that it raises stops all processes.

    Raises:
        WorkerError: A process was killed.
        InputError: The calling script has no main guard.
        Exception: Any error raised by a task. By then all processes have ended, as they have when the generator closes.
    """
    pool = _Pool(start, tasks, fresh)
    try:
        pool.add_workers(min(jobs, len(tasks)))
        while pool.workers:
            for connection in cast(list[Connection], wait(list(pool.workers), CHECK_EVERY_S if check else None)):
                message = pool.receive(connection)
                if message is not None:
                    yield message
            if check:
                check()
    finally:
        pool.stop()


class _Pool:
    """The processes, and the tasks that they work on."""

    def __init__(self, start: Callable[[], Work[Any, Any]], tasks: Sequence[Any], fresh: bool) -> None:
        self.workers: dict[Connection, SpawnProcess] = {}
        self._start, self._tasks, self._fresh = start, tasks, fresh
        self._current: dict[Connection, int] = {}
        self._waiting = deque(range(len(tasks)))

    def add_workers(self, number: int) -> None:
        added: list[Connection] = []
        with _interrupts_held_back():
            for _ in range(number):
                connection, self.workers[connection] = _new_worker()
                added.append(connection)
        for connection in added:
            self._send(connection, self._start)

    def receive(self, connection: Connection) -> Message | None:
        """Receive one message and, if the process is idle, send it the next task or let it end."""
        task = self._current.get(connection)
        with _lives(self.workers[connection], task):
            kind, value = connection.recv()
        message = None if task is None else Message(task, kind, value)
        if kind == "error":
            raise value
        if kind == "result" and self._fresh:
            self._dismiss(connection)
            self.add_workers(min(1, len(self._waiting) - self._starting()))
        elif kind in ("ready", "result"):
            self._continue(connection)
        return message

    def stop(self) -> None:
        """End all processes; they get some seconds to save their state."""
        for process in self.workers.values():
            process.terminate()
        for process in self.workers.values():
            process.join(STOP_TIMEOUT_S)
            if process.is_alive():
                process.kill()
                process.join()

    def _starting(self) -> int:
        """Return the number of processes that have no task yet."""
        return len(self.workers.keys() - self._current.keys())

    def _continue(self, connection: Connection) -> None:
        if not self._waiting:
            self._dismiss(connection)
            return
        number = self._waiting.popleft()
        self._send(connection, (self._tasks[number],))
        self._current[connection] = number

    def _dismiss(self, connection: Connection) -> None:
        self._send(connection, None)
        self._current.pop(connection, None)
        self.workers.pop(connection).join()

    def _send(self, connection: Connection, content: Any) -> None:
        with _lives(self.workers[connection], None):
            connection.send(content)


def _new_worker() -> tuple[Connection, SpawnProcess]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), name=_NAME, daemon=True)
    process.start()
    there.close()  # so that reading here ends when the process ends
    return here, process


@contextmanager
def _lives(process: SpawnProcess, task: int | None) -> Iterator[None]:
    """Report the end of a process while sending to it or receiving from it."""
    try:
        yield
    except (EOFError, BrokenPipeError, ConnectionResetError) as error:
        process.join()
        if process.exitcode == _UNGUARDED:
            raise InputError(_NO_GUARD) from error
        raise WorkerError(task, process.exitcode) from error


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
