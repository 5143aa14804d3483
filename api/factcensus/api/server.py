"""Running the application: one process, one socket, an orderly end on SIGTERM and SIGINT, a reload on SIGHUP."""

from __future__ import annotations

import contextlib
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from fastapi import FastAPI

from factcensus.api.app import create_app
from factcensus.api.errors import ListenError
from factcensus.api.http import logs
from factcensus.api.http.access import is_loopback
from factcensus.api.http.connections import Connections, GuardedConfig, Listener, possible_connections
from factcensus.api.http.intake import Slots
from factcensus.api.jobs.store import JobStore
from factcensus.api.serving.catalog import index_folders
from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex
from factcensus.indexer.errors import InputError

log = logging.getLogger("factcensus.api")
#: Seconds that requests in flight get to finish after the signal; below the 10 s after which Docker kills.
GRACE_S = 8


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight, release the indexes and return.

    Raises:
        InputError: a folder does not exist, or two have one name; the folder of jobs cannot be used; other machines
            would reach the service, and neither keys are asked for nor is that allowed.
        IndexFormatError: an index cannot be opened; nothing listens yet then.
        ListenError: the address cannot be listened on.
    """
    if settings.keys_file is None and not settings.allow_anonymous and not is_loopback(settings.host):
        raise InputError(
            f"{settings.host} can be reached from other machines, and no keys are asked for: make one with 'factcensus "
            "key create NAME --file FILE' and set FACTCENSUS_KEYS_FILE=FILE, or allow that everybody asks with "
            "FACTCENSUS_ALLOW_ANONYMOUS=1"
        )
    _try_out(settings)
    logs.set_up(settings.log_level, settings.log_format)
    app = create_app(settings)
    with listen(settings.host, settings.port) as listener:
        Server(app, listener).run(sockets=[listener])


def _try_out(settings: Settings) -> None:
    """Open and close everything: the application tolerates damage, who starts it by hand wants to know at once."""
    for name, folder in index_folders(settings).items():
        if not folder.is_dir():
            raise InputError(f"no index folder at {folder}")
        CountIndex.open(folder, name=name).close()
    if settings.jobs_folder is not None:
        JobStore(settings.jobs_folder).close()


def listen(host: str, port: int) -> Listener:
    """A listening socket: bound here and not by the server, so that port 0 is known before anyone asks.

    Raises:
        ListenError: the address cannot be listened on.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = Listener(fileno=socket.create_server(address[:2], family=family).detach())
        # Connections inherit it. An answer is sent in two pieces, head and body: without this, the body waits until
        # the client's kernel confirms the head, some 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise ListenError(host, port, error) from error


class Server(uvicorn.Server):
    """The server of one application.

    Args:
        app: As :func:`create_app` makes it.
        listener: Where it listens.
        announce: Whether to say so on stderr, once it does.
    """

    def __init__(self, app: FastAPI, listener: Listener, *, announce: bool = True) -> None:
        service = app.state.service
        settings: Settings = service.settings
        self._connections = Connections(
            settings.limits.max_connections,
            settings.limits.header_seconds,
            lambda reason: service.metrics.connections_closed.labels(reason).inc(),
        )
        service.metrics.connections.set_function(lambda: len(self._connections.open))
        listener.guard(self._connections)
        config = GuardedConfig(
            app,
            self._connections,
            log_config=None,  # its default writes to stdout
            access_log=False,  # ours carries the request id
            server_header=False,
            timeout_graceful_shutdown=GRACE_S,
            # Anybody on this machine could send the headers: they count only if a proxy was named.
            proxy_headers=bool(settings.forwarded_allow_ips),
            forwarded_allow_ips=list(settings.forwarded_allow_ips),
        )
        super().__init__(config)
        host, port = listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._app, self._catalog, self._announce = app, service.catalog, announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the indexes and listen."""
        await super().startup(sockets)
        if self._announce:
            gc.collect()
            gc.freeze()  # what is here now stays: it need not be searched through while requests wait
            names = ", ".join(self._catalog.names) or "no index yet"
            print(f"factcensus: serving {names} on {self.url} (Ctrl+C ends it)", file=sys.stderr, flush=True)
        # The indexes have their file descriptors now.
        self._connections.most = possible_connections(self._connections.most)
        slots: Slots = self._app.state.slots
        # The other half waits for clients, so that it can make room, also for the health routes.
        slots.most = min(slots.most, max(1, self._connections.most // 2))

    async def on_tick(self, counter: int) -> bool:
        """Look after the connections twice a second."""
        if counter % 5 == 0:
            self._connections.sweep()
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        # The library's own version raises the signal again afterwards: an orderly end would look like a crash.
        handlers: dict[int, Callable[[int, FrameType | None], None]] = {
            signal.SIGINT: self.handle_exit,
            signal.SIGTERM: self.handle_exit,
        }
        if hasattr(signal, "SIGHUP"):  # not on Windows
            handlers[signal.SIGHUP] = self._handle_reload
        previous = {each: signal.signal(each, handler) for each, handler in handlers.items()}
        try:
            yield
        finally:
            for each, handler in previous.items():
                signal.signal(each, handler)

    def _handle_reload(self, _signal: int, _frame: FrameType | None) -> None:
        threading.Thread(target=self._reload, name="reload", daemon=True).start()

    def _reload(self) -> None:
        try:
            done = self._catalog.reload()
        except InputError as error:
            log.error("the list of indexes stays as it is: %s", error)
        else:
            log.info("indexes: opened %s; closed %s; failed %s", done.opened, done.closed, done.failed)
