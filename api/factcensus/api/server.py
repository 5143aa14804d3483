"""Running the application: one process, one socket, an orderly end on SIGTERM and SIGINT."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn

from factcensus.api.access import is_loopback
from factcensus.api.app import create_app
from factcensus.api.catalog import named_folders
from factcensus.api.errors import ListenError
from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex
from factcensus.indexer.errors import InputError

#: Seconds that requests in flight get to finish after the signal; below the 10 s after which Docker kills.
GRACE_S = 8


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight, release the indexes and return.

    Raises:
        InputError: a folder does not exist, or two have one name; other machines would reach the service, and neither
            keys are asked for nor is that allowed.
        IndexFormatError: an index cannot be opened; nothing listens yet then.
        ListenError: the address cannot be listened on.
    """
    if settings.keys_file is None and not settings.allow_anonymous and not is_loopback(settings.host):
        raise InputError(
            f"{settings.host} can be reached from other machines, and no keys are asked for: make one with 'factcensus "
            "serve-key NAME --file FILE' and set FACTCENSUS_KEYS_FILE=FILE, or allow that everybody asks with "
            "FACTCENSUS_ALLOW_ANONYMOUS=1"
        )
    for name, folder in named_folders(settings.indexes).items():
        if not folder.is_dir():
            raise InputError(f"no index folder at {folder}")
        # The application itself tolerates a damaged folder; someone who starts it by hand wants to know at once.
        CountIndex.open(folder, name=name).close()
    logging.basicConfig(
        level=settings.log_level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.getLogger("uvicorn").setLevel(max(logging.WARNING, logging.getLogger().level))
    config = uvicorn.Config(
        create_app(settings),
        log_config=None,  # its default writes to stdout
        access_log=False,  # ours carries the request id
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )
    with _listen(settings.host, settings.port) as listener:
        _Server(config, listener, settings).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket: bound here and not by the server, so that port 0 is known before anyone asks."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ListenError(host, port, error) from error


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, listener: socket.socket, settings: Settings) -> None:
        super().__init__(config)
        host, port = listener.getsockname()[:2]
        self._url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._names = ", ".join(named_folders(settings.indexes))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"factcensus: serving {self._names} on {self._url} (Ctrl+C ends it)", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The library's own version raises the signal again afterwards: an orderly end would look like a crash.
        previous = {each: signal.signal(each, self.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in previous.items():
                signal.signal(each, handler)
