"""A process that changes indexes and is killed in the middle: the other side of ``test_interruption.py``.

It is started once and imports everything; for each job it forks a child that does the work and kills itself (SIGKILL,
so nothing is flushed, closed or cleaned up) right before its n-th step. A step is whatever changes the disk and can be
seen from Python: a file opened for writing, renamed, linked or removed, a folder made, an fsync. Jobs and answers are
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

#: Audit events of Python that stand for a change of the disk.
STEPS = {"os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}


class Interrupter:
    """Starts the process, and gives it jobs."""

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
        """Do something in a child that is killed before step ``at`` or after so many seconds; what became of it.

        Args:
            folder: opening files below it for writing counts as a step.
            what: the function of ``factcensus.indexer``.
            arguments: its arguments.
            at: see above.
            after_s: see above.
            options: its options; ``processes=True`` makes it start some (steps are not counted then).

        Returns:
            ``killed`` (before it was done), the number of ``steps`` that were begun, ``seconds``, and the ``error`` if
            there was one.
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
    """Kill this process before step ``at`` in ``folder``; the number of steps is written to a pipe after each."""
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
    """What the child does."""
    from factcensus import indexer
    from factcensus.indexer.system import processes

    if job["options"].pop("processes", False):
        processes.LEAST_BYTES = 0
    else:
        count_steps(job["folder"], job["at"], told)
    getattr(indexer, job["what"])(*job["arguments"], **job["options"])


def do(job: dict[str, Any]) -> dict[str, Any]:
    """Fork a child for a job, and say what became of it."""
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
        os.kill(child, signal.SIGKILL)  # of a child that has ended nothing is left but its exit code
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
    """Load the compiled code once, for all children."""
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
