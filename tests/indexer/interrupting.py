"""A process that changes indexes and is killed at a chosen step, used by ``test_interruption.py``.

It is started once and imports everything. For each job it forks a child that does the work and kills itself right
before its n-th step (with SIGKILL, so nothing is flushed, closed or cleaned up). A step is any change of the disk that
Python can observe: a file opened for writing, renamed, linked or removed, a new folder, an fsync. Jobs and answers are
lines of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

#: Audit events of Python for changes of the disk.
STEPS = {"os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}


class Interrupter:
    """A handle that starts the process and sends it jobs."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )

    def __call__(
        self,
        folder: Path,
        what: str,
        *arguments: Any,
        at: int | None = None,
        after_s: float | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Run a function in a child that is killed before step ``at`` or after ``after_s`` seconds.

        Args:
            folder: Opening files below this folder for writing counts as a step.
            what: The name of a function of ``factcensus.indexer``.
            arguments: Its arguments.
            at: The step before which the child is killed.
            after_s: The time in seconds after which the child is killed.
            options: Its options; ``processes=True`` makes it start processes (then steps are not counted).

        Returns:
            ``killed`` (before the function finished), the number of started ``steps``, ``seconds``, and the ``error``,
            if any.
        """
        job = {"folder": folder, "what": what, "arguments": arguments, "options": options, "at": at, "after_s": after_s}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job, default=str) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def count_steps(folder: str, at: int | None, told: int) -> None:
    """Kill this process before step ``at`` in ``folder``; each step writes the number of steps to a pipe."""
    steps = 0

    def step() -> None:
        nonlocal steps
        if steps == at:
            os.kill(os.getpid(), signal.SIGKILL)
            threading.Event().wait()
        steps += 1
        os.write(told, b".")

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event in STEPS:
            step()
        elif event == "open" and str(arguments[0]).startswith(folder):
            mode, flags = arguments[1], arguments[2]
            if "w" in (mode or "") or flags & (os.O_WRONLY | os.O_RDWR):
                step()

    fsync = os.fsync

    def counted_fsync(descriptor: int) -> None:
        step()
        fsync(descriptor)

    os.fsync = counted_fsync
    sys.addaudithook(audit)


def work(job: dict[str, Any], told: int) -> None:
    """Do the work of the child."""
    from factcensus import indexer
    from factcensus.indexer.system import processes

    if job["options"].pop("processes", False):
        processes.LEAST_BYTES = 0
    else:
        count_steps(job["folder"], job["at"], told)
    getattr(indexer, job["what"])(*job["arguments"], **job["options"])


def do(job: dict[str, Any]) -> dict[str, Any]:
    """Fork a child for a job and return its result."""
    told, tell = os.pipe()
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(told)
            work(job, tell)
            os.write(tell, b"=")
            code = 0
        except BaseException as error:
            os.write(tell, f"!{type(error).__name__}: {error}".encode())
        finally:
            os._exit(code)
    os.close(tell)
    if job["after_s"] is not None:
        time.sleep(job["after_s"])
        os.kill(child, signal.SIGKILL)  # only the exit code is left of a child that has ended
    with os.fdopen(told, "rb") as pipe:
        steps, _, error = pipe.read().partition(b"!")
    _, status = os.waitpid(child, 0)
    return {
        "killed": os.WIFSIGNALED(status) and not steps.endswith(b"="),
        "steps": steps.count(b"."),
        "seconds": time.monotonic() - begin,
        "error": error.decode() or None,
    }


def warm_up() -> None:
    """Load the compiled code once for all children."""
    from tempfile import TemporaryDirectory

    from factcensus.indexer import add_to_index, build_index, compact_index, delete_documents

    with TemporaryDirectory() as name:
        corpus = Path(name) / "c.jsonl"
        corpus.write_text('{"id": "1", "text": "a b"}\n{"id": "2", "text": "a b"}\n', encoding="utf-8")
        build_index([corpus], Path(name) / "ix", jobs=1)
        add_to_index(Path(name) / "ix", [corpus], jobs=1, allow_repeat=True)
        delete_documents(Path(name) / "ix", ids=["1"])
        compact_index(Path(name) / "ix", jobs=1)


if __name__ == "__main__":
    warm_up()
    for line in sys.stdin:
        print(json.dumps(do(json.loads(line))), flush=True)
