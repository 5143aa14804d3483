"""The decoding process as the service sees it: one for all applications, started again if it is killed."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading

from factcensus.api.http.problems import Problem

log = logging.getLogger("factcensus.api")
#: Seconds in which it has to start.
START_S = 60.0
#: Variables of the environment that it needs; the others may be secrets.
_KEPT = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LANG", "LC_ALL")
#: Memory that is given back at once, and none that is set aside for threads that it does not have.
_SET = {
    "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip


class DecodingProcess:
    """A process of :mod:`factcensus.api.decoding.process`; safe from many threads, which take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ready = False

    def start(self) -> int:
        """Start it, if it was not, and return the id of the process."""
        with self._lock:
            self._started()
            assert self._process is not None
            return self._process.pid

    def wait(self) -> None:
        """Wait until it can fork; where it never can, the log says why, and everything else is served."""
        with contextlib.suppress(Problem):
            self.hand_over()

    def hand_over(self, *files: int) -> None:
        """Give it the descriptors of a connection and of a file, for a fork.

        Raises:
            Problem: ``overloaded``; the log says why.
        """
        with self._lock:
            for _ in range(2):
                control = self._started()
                try:
                    if not self._ready and not control.recv(1):
                        raise EOFError("it ended while it started")
                    self._ready = True
                    if files:
                        socket.send_fds(control, [b"f"], files)
                    return
                except (OSError, EOFError) as error:  # somebody killed it, or it cannot start: another one is tried
                    log.error("the decoding process has gone: %s", error)
                    control.close()
                    self._control = None
        raise Problem("overloaded", "the process that decodes tables cannot be started now; the service's log says why")

    def close(self) -> None:
        """End it; it has nothing to put in order, and its forks end by themselves."""
        with self._lock:
            if self._control is not None:
                self._control.close()
            if self._process is not None:
                self._process.kill()
                self._process.wait()
            self._process = self._control = None

    def _started(self) -> socket.socket:
        if self._control is None:
            ours, theirs = socket.socketpair()
            kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
            with theirs:
                if self._process is not None:
                    self._process.kill()
                    self._process.wait()
                # In a session of its own: Ctrl+C lets the service finish what it has begun to decode.
                self._process = subprocess.Popen(
                    [sys.executable, "-m", f"{__package__}.process"],
                    stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=kept | _SET, cwd="/", start_new_session=True,
                )  # fmt: skip
            ours.settimeout(START_S)
            self._control, self._ready = ours, False
        return self._control


PROCESS = DecodingProcess()
atexit.register(PROCESS.close)
