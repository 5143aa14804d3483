"""Waiting connections: they are closed in time, make room for others, and never block the health routes."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import resource
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from loopback import serving, until
from test_serve_command import started
from uvicorn.server import ServerState

from factcensus.api.client import Client
from factcensus.api.http import connections, logs
from factcensus.api.settings import Limits, Settings

HALF_A_HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


@contextmanager
def connected(url: str, number: int, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    """Open connections that all send the same bytes, including those that the service closes at once."""
    host, port = url.removeprefix("http://").split(":")
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection((host, int(port)), timeout=60)) for _ in range(number)]
        for connection in opened:
            with suppress(OSError):
                connection.sendall(sent)
        yield opened


def closed(connection: socket.socket) -> bytes | None:
    """Return the bytes received until the service closed a connection; None if it stays open."""
    connection.settimeout(60)
    got = b""
    try:
        while piece := connection.recv(65_536):
            got += piece
    except TimeoutError:
        return None
    except ConnectionError:
        return got
    return got


def closings(url: str, reason: str) -> float:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    name = f'factcensus_connections_closed_total{{reason="{reason}"}} '
    return float(next((line.removeprefix(name) for line in lines if line.startswith(name)), 0))


@dataclass
class Clock:
    """The clock of the connections, which the test moves on, and the number of their checks by each running server."""

    now: float = 0.0
    sweeps: Counter[connections.Connections] = field(default_factory=Counter)

    def move_on(self, seconds: float) -> None:
        """Move the clock on, and wait until all connections were checked at this time."""
        self.now += seconds
        before = self.sweeps.copy()  # the next check may have begun earlier
        until(lambda: all(self.sweeps[server] > number + 1 for server, number in before.items()))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock, sweep = Clock(), connections.Connections.sweep

    def swept(guard: connections.Connections) -> None:
        sweep(guard)
        clock.sweeps[guard] += 1

    monkeypatch.setattr(connections, "monotonic", lambda: clock.now)
    monkeypatch.setattr(connections.Connections, "sweep", swept)
    return clock


def wait_until_read(url: str) -> None:
    """Wait until the service has accepted the connections and read the bytes that were sent before."""
    httpx.get(f"{url}/healthz").raise_for_status()


def test_slow_headers_get_408_and_silent_connections_are_closed(index_folder: Path, clock: Clock) -> None:
    limits = Limits(header_seconds=1)
    with (
        serving(Settings(indexes=(index_folder,), limits=limits)) as url,
        connected(url, 20, HALF_A_HEAD) as dripping,
        connected(url, 2) as silent,
    ):
        wait_until_read(url)
        for _ in range(2):
            clock.move_on(0.45)
            for connection in dripping:
                connection.sendall(b"x")  # each byte is in time, but not the headers
            wait_until_read(url)
        assert closings(url, "too-slow") == 0
        clock.move_on(0.2)
        answers = [closed(connection) for connection in dripping]
        assert all(answer is not None and answer.startswith(b"HTTP/1.1 408 ") for answer in answers)
        assert [closed(connection) for connection in silent] == [b"", b""]
        assert closings(url, "too-slow") == 22


def test_a_connection_is_reused_for_a_timely_request(index_folder: Path, clock: Clock) -> None:
    with (
        serving(Settings(indexes=(index_folder,), limits=Limits(header_seconds=2))) as url,
        connected(url, 1) as (connection,),
    ):
        wait_until_read(url)
        for _ in range(3):
            connection.sendall(HALF_A_HEAD[:20])
            clock.move_on(1.9)
            connection.sendall(HALF_A_HEAD[20:] + b"no\r\n\r\n")
            answer = b""
            while b'{"status":"ok"}' not in answer:
                answer += connection.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("sent", [b"", HALF_A_HEAD], ids=["silent", "half a head"])
def test_idle_connections_are_closed_to_make_room(index_folder: Path, sent: bytes) -> None:
    limits = Limits(max_connections=8, header_seconds=60)
    with serving(Settings(indexes=(index_folder,), limits=limits)) as url, connected(url, 40, sent):
        for _ in range(3):
            assert httpx.get(f"{url}/healthz").status_code == 200
        answer = httpx.get(f"{url}/v1/indexes/tiny/count", params={"text": "Paris"})
        assert answer.json()["documents"] == 3
        assert closings(url, "evicted") >= 33


def test_connections_with_incomplete_bodies_are_closed_to_make_room(index_folder: Path) -> None:
    head = b"POST /v1/indexes/tiny/count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{"
    limits = Limits(max_connections=8)
    with serving(Settings(indexes=(index_folder,), limits=limits)) as url, connected(url, 40, head):
        assert httpx.get(f"{url}/healthz").status_code == 200


def test_the_address_with_most_connections_loses_one_first() -> None:
    class Waiting:
        is_waiting = True
        transport = None

        def __init__(self, address: str, since: float) -> None:
            self.address, self.waiting_since = address, since
            self.transport = self

        def abort(self) -> None:
            gone.append(self)

    gone: list[Waiting] = []
    guard = connections.Connections(4, 60)
    others = [Waiting("10.0.0.1", 1.0), Waiting("10.0.0.2", 3.0), Waiting("10.0.0.2", 2.0), Waiting("10.0.0.2", 4.0)]
    guard.open = set(others)  # type: ignore[assignment]  # of a protocol, only this much is looked at
    assert not guard.has_room()
    assert gone == [others[2]]


def test_a_client_that_does_not_read_is_disconnected(index_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "PATIENCE_S", 0.5)
    with serving(Settings(indexes=(index_folder,))) as url, connected(url, 1) as (connection,):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        until(lambda: closings(url, "too-slow") == 1)
        until(lambda: "factcensus_http_requests_in_flight 1.0" in httpx.get(f"{url}/metrics").text)


def test_a_client_that_keeps_sending_after_the_response_is_disconnected(index_folder: Path) -> None:
    limits = Limits(max_body_bytes=1000, header_seconds=1)
    with serving(Settings(indexes=(index_folder,), limits=limits)) as url, connected(url, 1) as (connection,):
        head = b"POST /v1/indexes/tiny/count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n"
        connection.sendall(head)
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413")

        def gone() -> bool:
            try:
                connection.sendall(b"x" * 100)
            except ConnectionError:
                return True
            return False

        until(gone)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="this platform cannot limit file descriptors")
def test_health_checks_work_with_few_file_descriptors_and_the_log_stays_short(index_folder: Path) -> None:
    with started(index_folder, "--port", "0") as (process, url):
        with Client(url) as client:
            client.wait_ready(300)
        used = len(os.listdir(f"/proc/{process.pid}/fd"))
        # Fewer than the service expected at its start, so accepting sometimes fails.
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (used + 5, used + 5))
        with connected(url, 60, HALF_A_HEAD):
            for _ in range(10):
                with suppress(httpx.TransportError):  # refused like others
                    assert httpx.get(f"{url}/healthz").status_code in (200, 503)
                time.sleep(0.1)
        until(lambda: httpx.get(f"{url}/healthz").status_code == 200)
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert len(errors.splitlines()) < 60, errors[:5000]
    assert "Traceback" not in errors


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="this platform cannot limit file descriptors")
def test_a_service_limits_connections_to_its_file_descriptors(index_folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (96, hard))  # inherited by child processes
    try:
        with started(index_folder, "--port", "0") as (process, url):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            with connected(url, 200):
                for _ in range(5):
                    assert httpx.get(f"{url}/healthz").status_code == 200
            process.terminate()
            assert process.stderr is not None
            errors = process.stderr.read()  # communicate() would lose the data read with the first line
            process.wait(30)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "raise the limit (ulimit -n)" in errors
    assert len(errors.splitlines()) < 20


def test_log_entries_caused_by_clients_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(logs, "monotonic", lambda: now[0])
    bounded = logs.Bounded(most=3, seconds=10)

    def entry(name: str, message: str) -> logging.LogRecord:
        return logging.LogRecord(name, logging.WARNING, "", 0, message, (), None)

    assert sum(bounded.filter(entry("uvicorn.error", "Invalid HTTP request received.")) for _ in range(100)) == 3
    assert bounded.filter(entry("uvicorn.error", "something else"))
    assert all(bounded.filter(entry("factcensus.api", "request failed")) for _ in range(10))
    now[0] += 9.9
    assert not bounded.filter(entry("uvicorn.error", "Invalid HTTP request received."))
    now[0] += 0.1
    later = entry("uvicorn.error", "Invalid HTTP request received.")
    assert bounded.filter(later)
    assert later.getMessage().endswith("(98 more entries like this were dropped)")


def test_invalid_http_after_a_request_is_not_an_internal_error(
    index_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"POST /v1/indexes/tiny/count HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    with serving(Settings(indexes=(index_folder,))) as url, connected(url, 1, head) as (connection,):
        answer = closed(connection)
        assert answer is not None
        assert answer.startswith(b"HTTP/1.1 400")
        assert 'status="500"' not in httpx.get(f"{url}/metrics").text
    assert "failed" not in caplog.text
    assert "Exception" not in caplog.text


HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"X: " + b"x" * 70_000 + b"\r\n\r\n",
        HEAD + b"X: x\r\n" * 12_000 + b"\r\n",
        HEAD + b"x" * 70_000,
        b"GET /" + b"x" * 70_000,
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/2.0\r\nHost: localhost\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        HEAD + b"Content-Length: +5\r\n\r\nhello",
        HEAD + b"X y: z\r\n\r\n",
        HEAD + b"X : z\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=[
        "one long header",
        "many headers",
        "endless header",
        "endless address",
        "no Host",
        "unknown version",
        "another encoding",
        "encoding given twice",
        "encoding and length",
        "two lengths",
        "signed length",
        "space in a name",
        "space after a name",
        "bytes in the address",
        "tunnel",
    ],
)
def test_a_request_that_another_program_may_read_differently_is_refused(http: httpx.Client, sent: bytes) -> None:
    url = str(http.base_url).rstrip("/")
    with connected(url, 1, sent) as (connection,):
        answer = closed(connection)
        assert answer is not None, "the connection stays open"
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 "), answer[:200]
        assert answer.count(b"HTTP/1.1 ") <= 1


def test_requests_sent_ahead_are_answered_in_order(http: httpx.Client) -> None:
    requests = b"".join(
        b"GET /v1/indexes/tiny/count?text=Paris&by=source HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: %d\r\n\r\n"
        % number
        for number in range(100)
    )
    with connected(str(http.base_url).rstrip("/"), 1, requests) as (connection,):
        got = b""
        while got.count(b"HTTP/1.1 200") < 100 or not got.endswith(b"}"):
            got += connection.recv(65_536)
    assert re.findall(rb"x-request-id: (\d+)", got) == [b"%d" % number for number in range(100)]


def test_too_many_requests_sent_ahead_close_the_connection(http: httpx.Client) -> None:
    with connected(str(http.base_url).rstrip("/"), 1, (HEAD + b"\r\n") * 2000) as (connection,):
        answer = closed(connection)
        assert answer is not None
        assert answer.count(b"HTTP/1.1 200") < 2000


class Written(asyncio.Transport):
    """A connection that records each write."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.pieces: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.pieces.append(b"closed")

    def is_closing(self) -> bool:
        return self.pieces[-1:] == [b"closed"]


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """Answer with as many bytes as the path says, or in chunks."""
    await receive()
    size = int(scope["path"][1:] or 0)
    headers = [(b"content-length", b"%d" % size)] if size else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if not size:
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
    await send({"type": "http.response.body", "body": b"b" * size})


@pytest.mark.parametrize(
    ("request_line", "pieces"),
    [
        (b"GET /3", [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbbb"]),
        (b"HEAD /3", [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"]),
        (b"GET /70000", [b"HTTP/1.1 200 OK\r\ncontent-length: 70000\r\n\r\n", b"b" * 70_000]),
        (b"GET /", [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n", b"0\r\n\r\n"]),
    ],
    ids=["short", "without body", "long", "chunks"],
)
@pytest.mark.parametrize("more", [b"", b"Expect: 100-continue\r\nContent-Length: 1\r\n"], ids=["", "expect"])
def test_headers_and_a_short_body_are_sent_together(request_line: bytes, pieces: list[bytes], more: bytes) -> None:
    async def asked() -> list[bytes]:
        config = connections.GuardedConfig(answer, connections.Connections(9, 60.0), log_config=None)
        config.load()
        connection = connections.GuardedProtocol(config, ServerState(), {})
        transport = Written()
        connection.connection_made(transport)
        for _ in range(2):  # the second request has the same connection
            connection.data_received(request_line + b" HTTP/1.1\r\nHost: localhost\r\n" + more + b"\r\n")
            if more:
                await asyncio.sleep(0)
                assert transport.pieces.pop() == connections.CONTINUE
                connection.data_received(b"x")
            while not connection.cycle.response_complete:
                await asyncio.sleep(0)
        connection.timeout_keep_alive_task.cancel()
        return transport.pieces

    assert asyncio.run(asked()) == pieces * 2
