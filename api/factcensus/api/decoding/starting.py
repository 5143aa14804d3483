"""Starting the decoding process: one for all applications, restarted if it is killed."""

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
#: Seconds within which the process must start.
START_S = 60.0
#: Environment variables passed to the process; others may be secrets.
_KEPT = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LANG", "LC_ALL")
#: Variables that make the process return memory at once and reserve none for threads it does not have.
_SET = {
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


class DecodingProcess:
    """A process of :mod:`factcensus.api.decoding.process`, safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ready = False

    def start(self) -> int:
        """Start the process unless it runs, and return its id."""
        with self._lock:
            self._started()
            assert self._process is not None
            return self._process.pid

    def wait(self) -> None:
        """Wait until the process can fork; if it cannot, log the reason and continue without it."""
        with contextlib.suppress(Problem):
            self.hand_over()

    def hand_over(self, *files: int) -> None:
        """Pass the descriptors of a connection and a file to the process, for a fork.

        Raises:
            Problem: ``overloaded``; the log has the reason.
        """
        with self._lock:
            for _ in range(2):
                control = self._started()
                try:
                    if not self._ready and not control.recv(1):
                        raise EOFError("it ended during its start")
                    self._ready = True
                    if files:
                        socket.send_fds(control, [b"f"], files)
                    return
                except (OSError, EOFError) as error:  # it was killed or cannot start; try another one
                    log.error("the decoding process has ended: %s", error)
                    control.close()
                    self._control = None
        raise Problem(
            "overloaded", "the process that decodes tables cannot be started; the service's log has the reason"
        )

    def close(self) -> None:
        """Kill the process; it needs no cleanup, and its forks end by themselves."""
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
                # A separate session keeps Ctrl+C from ending it, so the service can finish decoding.
                self._process = subprocess.Popen(
                    [sys.executable, "-m", f"{__package__}.process"],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env=kept | _SET,
                    cwd="/",
                    start_new_session=True,
                )
            ours.settimeout(START_S)
            self._control, self._ready = ours, False
        return self._control


PROCESS = DecodingProcess()
atexit.register(PROCESS.close)
