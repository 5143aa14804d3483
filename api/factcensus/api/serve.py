"""Running the service, in this process or in several workers."""

from __future__ import annotations

from factcensus.api.app import create_app
from factcensus.api.http import logs
from factcensus.api.http.access import is_loopback
from factcensus.api.jobs.store import JobStore
from factcensus.api.server import Server, listen
from factcensus.api.serving.sources import sources_of
from factcensus.api.settings import Settings
from factcensus.api.supervisor import Supervisor
from factcensus.indexer.errors import InputError


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests in flight, close the indexes and return.

    Raises:
        InputError: A folder does not exist, or two have the same name; the jobs folder is unusable; or other machines
            would reach the service without API keys, and that is not allowed.
        IndexFormatError: An index cannot be opened; the service does not listen yet.
        ListenError: The service cannot listen on the address.
        WorkerError: A worker ended during its start.
    """
    if settings.keys_file is None and not settings.allow_anonymous and not is_loopback(settings.host):
        raise InputError(
            f"other machines can reach {settings.host}, and API keys are disabled: create a key with 'factcensus key "
            "create NAME --file FILE' and set FACTCENSUS_KEYS_FILE=FILE, or allow requests without keys with "
            "FACTCENSUS_ALLOW_ANONYMOUS=1"
        )
    _try_out(settings)
    logs.set_up(settings.log_level, settings.log_format)
    app = create_app(settings)
    with listen(settings.host, settings.port) as listener:
        if settings.workers > 1:
            Supervisor(settings, listener).run()
        else:
            Server(app, listener).run(sockets=[listener])


def _try_out(settings: Settings) -> None:
    """Open and close everything once, so that damage is an error at start; later the application tolerates it."""
    for name, source in sources_of(settings).items():
        if source.is_gone():
            raise InputError(f"no index folder at {source}")
        source.open(name).close()
    if settings.jobs_folder is not None:
        JobStore(settings.jobs_folder).close()
