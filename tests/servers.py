"""Servers on loopback for tests of places: an S3 server (moto), and a web server with ranges that can misbehave."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class WebServer:
    """A web server for the files of a folder.

    Attributes:
        url: Its address, without a slash at the end.
        ranges: Whether it returns parts of files; otherwise it sends whole files, as simple servers do.
        latency_s: Seconds before each answer.
        failures: Answers that come first, one per GET: a status, or ``cut`` for half a body and a closed connection.
        requests: The method, path with query, and Range header of each request.
    """

    url: str = ""
    ranges: bool = True
    latency_s: float = 0.0
    failures: list[int | str] = field(default_factory=list)
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    state: WebServer
    folder: Path
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self.state.requests.append((self.command, self.path, self.headers.get("Range")))
        time.sleep(self.state.latency_s)
        failing = self.state.failures.pop(0) if body and self.state.failures else None
        if isinstance(failing, int):
            self._send(failing, b"busy", body=True)
            return
        path = self.folder / self.path.partition("?")[0].lstrip("/")
        if path.is_dir():
            links = "".join(f'<a href="{each.name}{"/" * each.is_dir()}">x</a>' for each in sorted(path.iterdir()))
            self._send(200, links.encode(), {"Content-Type": "text/html"}, body=body)
        elif not path.is_file():
            self._send(404, b"", body=body)
        else:
            self._send_file(path.read_bytes(), body=body, cut=failing == "cut")

    def _send_file(self, content: bytes, *, body: bool, cut: bool) -> None:
        headers = {"ETag": f'"{hash(content)}"'}
        status = 200
        if self.state.ranges and (match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))):
            begin, end = int(match[1]), int(match[2] or len(content) - 1) + 1
            headers["Content-Range"] = f"bytes {begin}-{min(end, len(content)) - 1}/{len(content)}"
            content, status = content[begin:end], 206
        self._send(status, content, headers, body=body, cut=cut)

    def _send(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, *, body: bool, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.wfile.flush()
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def web_server(folder: Path) -> Iterator[WebServer]:
    """Serve a folder on a free port of loopback."""
    state = WebServer()

    handler = type("Handler", (_Handler,), {"state": state, "folder": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def reserved_port() -> Iterator[int]:
    """Yield a port on which nobody listens, and which no other program gets if it asks for a free one."""
    with socket.socket() as holding:
        holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # so that a test can listen there
        holding.bind(("127.0.0.1", 0))
        yield holding.getsockname()[1]


@contextmanager
def s3_server() -> Iterator[str]:
    """Run an S3 server on a free port of loopback and yield its address; it keeps objects in memory."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()
