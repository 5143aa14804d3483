"""The server of one process: its socket, an orderly shutdown on SIGTERM and SIGINT, a reload on SIGHUP."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from types import FrameType

import uvicorn
from fastapi import FastAPI

from factcensus.api.errors import ListenError
from factcensus.api.http import logs
from factcensus.api.http.connections import Connections, GuardedConfig, Listener, possible_connections
from factcensus.api.http.intake import Slots
from factcensus.api.settings import Settings
from factcensus.indexer.errors import InputError

log = logging.getLogger("factcensus.api")
#: Seconds for requests in flight to finish after the signal; Docker kills the process after 10 s.
GRACE_S = 8


def listen(host: str, port: int) -> Listener:
    """Return a listening socket, bound before the server starts so that the port chosen for 0 is known.

    Raises:
        ListenError: The service cannot listen on the address.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = Listener(fileno=socket.create_server(address[:2], family=family).detach())
        # Connections inherit it. A long response is sent in several pieces. Without this option, each piece waits
        # about 40 ms until the client's kernel acknowledges the one before.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise ListenError(host, port, error) from error


Handler = Callable[[int, FrameType | None], None]


@contextlib.contextmanager
def handled_signals(stop: Handler, reload: Handler) -> Iterator[None]:
    """Call ``stop`` on SIGINT and SIGTERM, and ``reload`` on SIGHUP, if this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, Handler] = {signal.SIGINT: stop, signal.SIGTERM: stop}
    if hasattr(signal, "SIGHUP"):  # not on Windows
        handlers[signal.SIGHUP] = reload
    previous = {each: signal.signal(each, handler) for each, handler in handlers.items()}
    try:
        yield
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


def print_url(names: Sequence[str], url: str) -> None:
    """Print the first line of the service."""
    shown = ", ".join(names) or "no indexes yet"
    logs.notify(f"serving {shown} on {url} (Ctrl+C to stop)")


def url_of(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """The server of one application.

    Args:
        app: An application of :func:`create_app`.
        listener: The socket to listen on.
        announce: Called with the names of the indexes and the URL once the server listens and before the warm-up. It
            prints the URL to stderr, as the first line, before any log line. None to start the warm-up at once.
    """

    def __init__(
        self,
        app: FastAPI,
        listener: Listener,
        *,
        announce: Callable[[Sequence[str], str], None] | None = print_url,
    ) -> None:
        service = app.state.service
        settings: Settings = service.settings
        self._connections = Connections(
            service.peers.member.share(settings.limits.max_connections),
            settings.limits.header_seconds,
            lambda reason: service.metrics.connections_closed.labels(reason).inc(),
        )
        service.metrics.follow(service.metrics.connections, lambda: len(self._connections.open))
        listener.guard(self._connections)
        config = GuardedConfig(
            app,
            self._connections,
            log_config=None,  # its default writes to stdout
            access_log=False,  # ours has the request id
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            # Anyone on this machine could send these headers, so they are used only if a proxy is configured.
            proxy_headers=bool(settings.forwarded_allow_ips),
            forwarded_allow_ips=list(settings.forwarded_allow_ips),
        )
        super().__init__(config)
        self.url = url_of(listener)
        self._app, self._catalog, self._announce = app, service.catalog, announce
        self._workers = service.peers.member.workers
        app.state.announced = announce is not None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the indexes and listen."""
        await super().startup(sockets)
        if self._announce is not None:
            gc.collect()
            gc.freeze()  # objects that exist now stay; do not scan them during requests
            self._announce(self._catalog.names, self.url)
            self._catalog.start_warming()
        # The indexes have their file descriptors now.
        self._connections.most = possible_connections(self._connections.most)
        slots: Slots = self._app.state.slots
        # The other half waits for clients and can be closed to make room, also for the health routes.
        slots.most = min(slots.most, max(1, self._workers * self._connections.most // 2))

    async def on_tick(self, counter: int) -> bool:
        """Close slow connections twice a second."""
        if counter % 5 == 0:
            self._connections.sweep()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start the shutdown."""
        self._app.state.stop_by = monotonic() + GRACE_S
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals if this is the main thread."""
        # The library's version raises the signal again, so an orderly shutdown would look like a crash.
        with handled_signals(self.handle_exit, self._handle_reload):
            yield

    def _handle_reload(self, _signal: int, _frame: FrameType | None) -> None:
        threading.Thread(target=self._reload, name="reload", daemon=True).start()

    def _reload(self) -> None:
        try:
            done = self._catalog.reload()
        except InputError as error:
            log.error("the indexes were not reloaded: %s", error)
        else:
            log.info("indexes: opened %s; closed %s; failed %s", done.opened, done.closed, done.failed)
