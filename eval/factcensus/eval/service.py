"""The counting service as a temporary subprocess."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from factcensus.eval.errors import EvaluationError
from factcensus.indexer.errors import FactcensusError

#: The first start on a machine compiles the counting code, which takes minutes if other programs use its processors.
START_TIMEOUT_S = 600.0
STOP_TIMEOUT_S = 10.0


@contextmanager
def serving(indexes: Sequence[Path], log: Path) -> Iterator[str]:
    """Serve indexes on a free port of this machine; yield the base URL once every index is open.

    The output of the service goes to ``log``. The service is always stopped on exit.

    Raises:
        EvaluationError: the service did not start; the message has the last line of its output.
    """
    port = _free_port()
    command = [sys.executable, "-m", "factcensus", "serve", *map(str, indexes)]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    from factcensus.api.client import Client

    deadline = time.monotonic() + START_TIMEOUT_S
    with Client(url) as client:
        while True:
            try:
                client.wait_ready(1.0)
                return
            except FactcensusError as error:
                ended = process.poll() is not None
                if ended or time.monotonic() > deadline:
                    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                    raise EvaluationError(
                        f"the counting service did not start at {url} ({said[-1] if said else error}); see {log}"
                    ) from error
