"""The decoding process: the service starts it once; it imports everything and forks for every body.

``python -m factcensus.api.decoding.process`` has a socket as its standard input. For each body it receives one end of a
connection and a file on it. The fork reads the request from the connection, decodes the file, and responds. The process
ends when the other end of the socket is closed, and a fork when the other end of its connection is closed, so neither
outlives the service.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from typing import Any, Never

import pyarrow as pa

from factcensus.api.decoding import wire
from factcensus.api.decoding.bounds import Bounds, Ending, Refused
from factcensus.api.decoding.tables import FactsReader
from factcensus.api.decoding.types import schema_to_json
from factcensus.indexer.errors import InputError

try:
    import resource
except ImportError:  # on Windows, which has no fork either
    resource = None  # type: ignore[assignment]  # checked before use

#: Memory that a fork may use in addition to its initial memory: a constant, plus a number of bytes per byte of its
#: body, up to a maximum. JSON is read as a whole (16 MB of plain facts took 7 bytes per byte), other formats in pieces.
MEMORY_BYTES = 64 * 2**20
MEMORY_PER_BYTE, MOST_MEMORY_BYTES = 2, 160 * 2**20
MEMORY_PER_BYTE_OF_JSON, MOST_MEMORY_BYTES_OF_JSON = 8, 512 * 2**20
#: Maximum open files of a fork: those it has, and a few that Python opens for late imports.
MOST_FILES = 16
#: Maximum bytes of a request.
MOST_REQUEST = 2**16


class _WithoutPandas(MetaPathFinder):
    """Hides pandas, which pyarrow would import with its first array; this saves 90 ms and 36 MB."""

    def find_spec(self, fullname: str, *_others: Any) -> None:
        """Report pandas as not installed."""
        if fullname == "pandas":
            raise ModuleNotFoundError("not here", name=fullname)


def main() -> None:
    """Fork for each body until the service ends."""
    control = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps forks that ended
    threading.stack_size(256 * 2**10)
    sys.meta_path.insert(0, _WithoutPandas())
    _try_out()
    gc.collect()
    gc.freeze()
    control.sendall(b"r")
    while True:
        message, files, _, _ = socket.recv_fds(control, 1, 2)
        if not message:
            return
        if len(files) == 2:
            try:
                if os.fork() == 0:
                    control.close()
                    _answer(*files)
            except OSError:
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(files[0])) as connection:
                    wire.send(connection, "busy")
        for file in files:
            os.close(file)


def _try_out() -> None:
    """Read a table of each format, so that late imports happen before the limits are set."""
    table = pa.table({"subject": ["a"], "object": ["b"], "n": [1], "x": [{"y": ["z"]}]})
    arrow, parquet = io.BytesIO(), io.BytesIO()
    with pa.ipc.new_stream(arrow, table.schema) as stream:
        stream.write_table(table)
    import pyarrow.parquet as pq

    pq.write_table(table, parquet)
    bounds = Bounds(10, 10**6, "", 10**6, 1)
    row = b'{"subject":"a","object":"b"}'
    contents: dict[Ending, bytes] = {
        "arrow": arrow.getvalue(),
        "parquet": parquet.getvalue(),
        "jsonl": row,
        "csv": b"subject,object\na,b\n",
        "json": b'{"facts":[' + row + b"]}",
    }
    for ending, content in contents.items():
        reader = FactsReader(io.BytesIO(content), ending, len(content), bounds)
        reader.check()
        for piece in reader.pieces():
            list(wire.pack_piece(piece))


def _answer(connection: int, file: int) -> Never:
    """Decode one body, and exit."""
    channel = socket.socket(fileno=connection)
    try:
        with open(os.devnull, "wb") as nothing:
            os.dup2(nothing.fileno(), 2)  # senders of bodies must not write to the service's log
        _, request = wire.receive(channel, MOST_REQUEST, lambda: None)
        asked = json.loads(request)
        wire.send(channel, "begun")
        bounds = Bounds(**asked["bounds"])
        size = os.fstat(file).st_size
        _end_with(channel)
        _confine(bounds, _memory_of(asked["ending"], size))
        with os.fdopen(file, "rb") as body:
            _decode(channel, lambda: FactsReader(body, asked["ending"], size, bounds, asked["form"]))
    except (EOFError, OSError):  # the service closed the connection
        pass
    finally:
        os._exit(0)


def _memory_of(ending: Ending, size: int) -> int:
    """Return the bytes by which memory may grow while decoding a body of ``size`` bytes."""
    if ending == "json":
        return min(MEMORY_BYTES + MEMORY_PER_BYTE_OF_JSON * size, MOST_MEMORY_BYTES_OF_JSON)
    return min(MEMORY_BYTES + MEMORY_PER_BYTE * size, MOST_MEMORY_BYTES)


def _end_with(channel: socket.socket) -> None:
    """Exit as soon as the other end of a connection is closed."""
    waiting = select.poll()
    waiting.register(channel, 0)

    def wait() -> None:
        waiting.poll()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _confine(bounds: Bounds, memory_bytes: int) -> None:
    """Set the limits of this process; its memory may grow by ``memory_bytes``."""
    # The kernel kills the process a second after the service has timed out, even inside C code.
    signal.setitimer(signal.ITIMER_REAL, bounds.seconds + 1)
    if resource is None:
        return
    seconds = int(bounds.seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES, MOST_FILES))
    with contextlib.suppress(OSError), open("/proc/self/statm", encoding="ascii") as sizes:  # not on every system
        now = int(sizes.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + memory_bytes, now + memory_bytes))


def _decode(channel: socket.socket, opened: Callable[[], FactsReader]) -> None:
    try:
        reader = opened()
        reader.check()
        shown = {
            "facts": reader.facts,
            "size": reader.size,
            "options": reader.options,
            "columns": schema_to_json(reader.schema),
        }
        wire.send(channel, "schema", [json.dumps(shown).encode()])
        for piece in reader.pieces():
            wire.send(channel, "piece", list(wire.pack_piece(piece)))
        wire.send(channel, "end")
    except (BrokenPipeError, ConnectionError):
        raise
    except Exception as error:
        kind, content = _told(error)
        wire.send(channel, kind, [json.dumps(content).encode()])


def _told(error: Exception) -> tuple[wire.Kind, Any]:
    """Return the frame that reports an error to the service."""
    if isinstance(error, Refused):
        findings = {"findings": error.findings, "number_of_findings": error.number_of_findings}
        return "refused", {"kind": error.kind, "detail": error.detail, **findings}
    if isinstance(error, InputError):
        return "refused", {"kind": "invalid-input", "detail": str(error)}
    if isinstance(error, (MemoryError, pa.ArrowMemoryError)):
        detail = "decoding the body needs far more memory than its size; split the table"
        return "refused", {"kind": "limit-exceeded", "detail": detail}
    return "fault", {"error": repr(error)[:1000], "traceback": "".join(traceback.format_exception(error))[-10_000:]}


if __name__ == "__main__":
    main()
