"""Several workers on one socket: start them, restart those that end, pass signals on, and stop them in order."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from types import FrameType

from factcensus.api.app import create_app
from factcensus.api.errors import WorkerError
from factcensus.api.http import logs
from factcensus.api.http.connections import Listener
from factcensus.api.jobs.remote import COUNTING
from factcensus.api.server import GRACE_S, Server, handled_signals, print_url, url_of
from factcensus.api.settings import Settings
from factcensus.api.workers.member import Member
from factcensus.indexer.errors import FactcensusError, InputError

log = logging.getLogger("factcensus.api")
#: Seconds before a worker that ended is started again; doubled while it ends within :data:`STEADY_S`.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
STEADY_S = 60.0
#: Seconds after which a worker that does not stop is killed.
STOP_S = GRACE_S + 4.0
#: Characters of the folder that the workers share; the path of a socket may have 107.
LONGEST_PATH = 90
#: The library of the metrics reads this variable when it is imported.
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_SPAWN = multiprocessing.get_context("spawn")


@dataclass
class _Worker:
    """One worker.

    Attributes:
        member: Its number and the state that it shares.
        process: The running process; None while it waits to be started again.
        pipe: The supervisor's end of a pipe, whose closing tells the worker that the supervisor is gone.
        began: Time of the last start.
        listens: Whether it has reported that it listens.
        pause_s: Seconds before the next start.
        start_at: Time of the next start, if it is not running.
    """

    member: Member
    process: SpawnProcess | None = None
    pipe: Connection | None = None
    began: float = 0.0
    listens: bool = False
    pause_s: float = FIRST_PAUSE_S
    start_at: float = 0.0
    names: Sequence[str] = field(default_factory=list)


class Supervisor:
    """The parent of the workers; it answers no requests itself.

    Args:
        settings: Settings of the whole service.
        listener: The listening socket that the workers share.
    """

    def __init__(self, settings: Settings, listener: Listener) -> None:
        self._settings, self._listener, self._url = settings, listener, url_of(listener)
        self._workers: list[_Worker] = []
        self._announced = self._stopping = False
        self._woken, self._wake = os.pipe()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            InputError: The folder for temporary files has too long a path.
            WorkerError: A worker ended during its first start.
        """
        with (
            TemporaryDirectory(prefix="factcensus-serve-") as folder,
            handled_signals(self._handle_exit, self._handle_reload),
        ):
            if len(folder) > LONGEST_PATH:
                raise InputError(f"the path of {folder} is too long for sockets; set TMPDIR to a shorter folder")
            (Path(folder) / "metrics").mkdir()
            first = Member(workers=self._settings.workers, folder=Path(folder))
            self._workers = [
                _Worker(Member(number, first.workers, first.folder, first.secret)) for number in range(first.workers)
            ]
            os.environ[METRICS_VARIABLE] = str(first.metrics_folder)
            try:
                for worker in self._workers:
                    self._start(worker)
                while not self._stopping:
                    self._step()
            finally:
                del os.environ[METRICS_VARIABLE]
                self._stop()

    def _start(self, worker: _Worker) -> None:
        ours, theirs = _SPAWN.Pipe()
        # Passing the plain socket, because the listener of the service cannot be sent to another process.
        shared = socket.socket(fileno=os.dup(self._listener.fileno()))
        worker.process = _SPAWN.Process(
            target=run_worker,
            args=(self._settings, worker.member, shared, theirs),
            name=f"worker-{worker.member.number}",
        )
        with shared, theirs:
            worker.process.start()
        worker.pipe, worker.began, worker.listens = ours, monotonic(), False

    def _step(self) -> None:
        """Wait for the next event, and handle all events that have happened."""
        running = [worker for worker in self._workers if worker.process is not None]
        pipes = [worker.pipe for worker in running if worker.pipe is not None and not worker.listens]
        sentinels = [worker.process.sentinel for worker in running if worker.process is not None]
        starts = [worker.start_at for worker in self._workers if worker.process is None]
        pause = max(0.0, min(starts) - monotonic()) if starts else None
        ready = wait([self._woken, *pipes, *sentinels], pause)
        if self._woken in ready:
            os.read(self._woken, 64)
        for worker in running:
            if worker.pipe in ready:
                self._hear(worker)
            if worker.process is not None and worker.process.sentinel in ready:
                self._ended(worker)
        for worker in self._workers:
            if worker.process is None and monotonic() >= worker.start_at and not self._stopping:
                self._start(worker)

    def _hear(self, worker: _Worker) -> None:
        """Record that a worker listens. Once all of them do, print the URL and let them accept requests."""
        assert worker.pipe is not None
        try:
            worker.names = worker.pipe.recv()
        except (EOFError, OSError):  # it ended
            return
        worker.listens = True
        if self._announced:
            self._let_begin([worker])
        elif all(each.listens for each in self._workers):
            print_url(self._workers[0].names, self._url)
            self._announced = True
            self._let_begin(self._workers)

    @staticmethod
    def _let_begin(workers: Sequence[_Worker]) -> None:
        for worker in workers:
            if worker.pipe is not None:
                with contextlib.suppress(OSError):  # it ended
                    worker.pipe.send(None)

    def _ended(self, worker: _Worker) -> None:
        """Plan the next start of a worker that ended."""
        assert worker.process is not None
        assert worker.pipe is not None
        worker.process.join()
        status, number, pid = worker.process.exitcode, worker.member.number, worker.process.pid
        worker.process.close()
        worker.pipe.close()
        worker.process = worker.pipe = None
        if self._stopping:
            return
        how = f"with status {status}" if status is None or status >= 0 else f"by signal {-status}"
        if not self._announced:
            raise WorkerError(f"worker {number} ended {how} during its start; see the messages above")
        if monotonic() - worker.began > STEADY_S:
            worker.pause_s = FIRST_PAUSE_S
        worker.start_at = monotonic() + worker.pause_s
        log.error("worker %d (process %s) ended %s; it starts again in %g s", number, pid, how, worker.pause_s)
        worker.pause_s = min(LONGEST_PAUSE_S, 2 * worker.pause_s)
        _forget_metrics(worker.member, pid)

    def _stop(self) -> None:
        """Refuse new connections, let all workers finish their requests, and kill those that do not stop in time."""
        self._stopping = True
        self._listener.close()
        processes = [worker.process for worker in self._workers if worker.process is not None]
        for process in processes:
            process.terminate()
        self._let_begin([worker for worker in self._workers if not self._announced])
        until = monotonic() + STOP_S
        for process in processes:
            process.join(max(0.0, until - monotonic()))
            if process.is_alive():
                log.error("%s did not stop within %g s and is killed", process.name, STOP_S)
                process.kill()
                process.join()
        os.close(self._wake)
        os.close(self._woken)

    def _handle_exit(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._stopping:
            self._stopping = True
            os.write(self._wake, b"x")

    def _handle_reload(self, _signal: int, _frame: FrameType | None) -> None:
        for worker in self._workers:
            if worker.listens and worker.process is not None and worker.process.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGHUP)


def _forget_metrics(member: Member, pid: int | None) -> None:
    """Remove the gauges of a process that ended; its counters stay in the sums."""
    assert member.metrics_folder is not None
    for file in member.metrics_folder.glob(f"gauge_live*_{pid}.db"):
        file.unlink(missing_ok=True)


def run_worker(settings: Settings, member: Member, shared: socket.socket, pipe: Connection) -> None:
    """Serve as one of the workers, in a separate process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # until the server handles it; the supervisor stops this process
    logs.set_up(settings.log_level, settings.log_format, member.number)
    listener = Listener(fileno=shared.detach())
    orphaned = threading.Event()

    def announce(names: Sequence[str], _url: str) -> None:
        pipe.send(list(names))
        pipe.recv()  # the supervisor has printed the URL
        threading.Thread(target=stop_with_supervisor, name="supervisor", daemon=True).start()

    def stop_with_supervisor() -> None:
        with contextlib.suppress(EOFError, OSError):
            pipe.recv()
        orphaned.set()
        app.state.stop_by = monotonic() + GRACE_S
        server.should_exit = True

    try:
        app = create_app(settings, member)
        server = Server(app, listener, announce=announce)
        with listener:
            server.run(sockets=[listener])
        if orphaned.is_set() and member.number == COUNTING and member.folder is not None:
            shutil.rmtree(member.folder, ignore_errors=True)  # the supervisor was killed; the folder may hold tables
    except EOFError:  # the supervisor ended during the start
        sys.exit(1)
    except FactcensusError as error:
        logs.notify(f"error: {error}")
        sys.exit(error.exit_code)
