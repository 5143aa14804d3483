"""A separate process that sends requests to a local server over persistent connections as fast as it answers.

``python -m benchmarks.load_client`` reads a JSON object from stdin (the arguments of :func:`drive`) and writes one to
stdout. It uses one thread and plain sockets, because a general HTTP library takes longer per request than the servers.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

#: Seconds without any answer after which the server is considered dead.
PATIENCE_S = 60.0


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    asked_at: float = 0.0
    #: Bytes of the answer's header, and of the whole answer, once the header is complete.
    head: int = 0
    wanted: int = 0


def drive(port: int, requests: Sequence[str], clients: int, most: int, seconds: float) -> dict[str, Any]:  # noqa: C901  # calls would cost as much as the rest of the loop
    """Send requests in order; each client sends the next one after its last answer.

    Args:
        port: Port on the loopback address.
        requests: Complete HTTP requests, one character per byte; they are repeated from the start after the last one.
        clients: Number of clients, each with one request in flight on a persistent connection, reopened if the server
            closes it.
        most: Maximum number of requests in total.
        seconds: Time after which no more requests are sent.

    Returns:
        ``seconds`` from the first request to the last answer, ``latencies_us`` of all requests in the order of the
        answers, and ``failed``, the number of answers with a status other than 200.

    Raises:
        RuntimeError: a connection was closed, or there was no answer for a minute.
    """
    encoded = [request.encode("latin-1") for request in requests]
    selector = selectors.DefaultSelector()

    def connect() -> _Connection:
        connection = _Connection(socket.create_connection(("127.0.0.1", port)))
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        return connection

    def close(connection: _Connection) -> None:
        selector.unregister(connection.socket)
        connection.socket.close()

    connected = [connect() for _ in range(clients)]
    latencies: list[float] = []
    failed = sent = 0
    started = now = time.perf_counter()

    def ask(connection: _Connection) -> None:
        nonlocal sent
        connection.asked_at = time.perf_counter()
        connection.socket.sendall(encoded[sent % len(encoded)])
        sent += 1

    for connection in connected[:most]:
        ask(connection)
    while len(latencies) < sent:
        ready = selector.select(PATIENCE_S)
        if not ready:
            raise RuntimeError(f"no answer for {PATIENCE_S:g} s")
        for key, _ in ready:
            connection = key.data
            data = connection.socket.recv(1 << 18)
            if not data:
                raise RuntimeError(f"the connection was closed after {len(latencies)} answers")
            received = connection.received
            received += data
            if not connection.wanted:
                connection.head, connection.wanted = _sizes_of_answer(received)
            if not connection.wanted or len(received) < connection.wanted:
                continue
            now = time.perf_counter()
            latencies.append(now - connection.asked_at)
            failed += received[9:12] != b"200"
            more = sent < most and now - started < seconds
            if b"\r\nconnection: close" in received[: connection.head].lower():
                close(connection)
                if more:
                    ask(connect())
            elif more:
                received.clear()
                connection.head = connection.wanted = 0
                ask(connection)
    for key in list(selector.get_map().values()):
        close(key.data)
    return {
        "seconds": now - started,
        "latencies_us": [round(1e6 * latency) for latency in latencies],
        "failed": failed,
    }


def _sizes_of_answer(received: bytearray) -> tuple[int, int]:
    """Return the number of bytes of an answer's header, and of header and body; 0 until the header is complete."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return 0, 0
    head = bytes(received[:end]).lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        raise RuntimeError(f"an answer without Content-Length: {head[:200]!r}")
    return end, end + 4 + int(head[at + 17 :].split(b"\r\n", 1)[0])


if __name__ == "__main__":
    json.dump(drive(**json.load(sys.stdin)), sys.stdout)
