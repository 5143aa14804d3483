"""The commands ``factcensus serve`` and ``factcensus key create``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from factcensus.indexer.cli.chosen_index import IndexChoice, analyzer_option, index_options, refuse_remote_options
from factcensus.indexer.cli.command import argument, command, group, option
from factcensus.indexer.cli.options import OUTPUT_FILE, PATH, PLACE, Number, Whole
from factcensus.indexer.environment import register

if TYPE_CHECKING:
    from factcensus.api.settings import Published
    from factcensus.indexer.system.places import Place


def add_commands(root: click.Group) -> None:
    """Add the commands of the service to the root command."""
    root.add_command(serve)
    root.add_command(group("key", "Manage the API keys of a service.", [create_key]))


def _variables() -> list[str]:
    from factcensus.api.settings import variable_names

    return variable_names()


register(_variables)


@command(
    "serve",
    example="factcensus serve indexes/pile indexes/dolma --port 8080\n"
    "curl 'http://127.0.0.1:8080/v1/indexes/pile/count?text=Marie%20Curie'",
)
@argument(
    "indexes",
    nargs=-1,
    type=PLACE,
    metavar="[INDEX]...",
    help="an index folder or its URL; the index is named after it",
)
@analyzer_option
@index_options
@option(
    "--indexes-in",
    type=PATH,
    metavar="DIR",
    default_text="$FACTCENSUS_INDEXES_IN",
    help="also serve every index in this folder",
)
@option(
    "--remote",
    "slices",
    multiple=True,
    metavar="NAME=URL,...",
    default_text="$FACTCENSUS_REMOTE, separated by spaces",
    help="serve an index by adding the answers of the services at these URLs, which serve its slices; may be repeated",
)
@option(
    "--host",
    metavar="HOST",
    default_text="$FACTCENSUS_HOST, or 127.0.0.1",
    help="address to listen on; an address that other machines can reach needs API keys, see 'factcensus key create'",
)
@option(
    "--port",
    type=Whole(0, 65535),
    metavar="PORT",
    default_text="$FACTCENSUS_PORT, or 8080",
    help="port to listen on, 0 for any free port",
)
@option(
    "--allowed-host",
    "allowed_hosts",
    multiple=True,
    metavar="NAME",
    default_text="$FACTCENSUS_ALLOWED_HOSTS, or loopback names on loopback without keys, otherwise all names",
    help="a host name that requests may use, such as counts.example.org, *.example.org or *",
)
@option(
    "--forwarded-allow-ips",
    multiple=True,
    metavar="ADDRESS",
    default_text="$FACTCENSUS_FORWARDED_ALLOW_IPS, or none",
    help="address or network of a trusted proxy, whose X-Forwarded-For is used",
)
@option(
    "--poll",
    type=Number("a number of seconds from 0 to 86400", -1e-9, 86400.1),
    metavar="SECONDS",
    default_text="$FACTCENSUS_POLL_SECONDS, or 0.2",
    help="time between checks for changed indexes; use more on a network file system, or 0 to check only on SIGHUP",
)
@option(
    "--workers",
    type=Whole(1, 256),
    metavar="N",
    default_text="$FACTCENSUS_WORKERS, or 1",
    help="number of processes that answer requests; under heavy load, use one per processor core",
)
@click.pass_context
def serve(  # noqa: PLR0913  # one argument per option
    ctx: click.Context,
    /,
    indexes: tuple[Place, ...],
    indexes_in: Path | None,
    slices: tuple[str, ...],
    host: str | None,
    port: int | None,
    allowed_hosts: tuple[str, ...],
    forwarded_allow_ips: tuple[str, ...],
    poll: float | None,
    workers: int | None,
    **remote: Any,
) -> None:
    """Serve indexes over HTTP until SIGTERM or Ctrl+C."""
    from dataclasses import replace

    from factcensus.api.serve import serve
    from factcensus.api.variables import settings_from_env

    settings = settings_from_env()
    published = _published([place for place in indexes if not place.is_local], **remote)
    chosen = tuple(place.path for place in indexes if place.is_local) if indexes else settings.indexes
    indexes_in = indexes_in or settings.indexes_in
    slices = slices or settings.remote
    if not chosen and not published and indexes_in is None and not slices:
        raise click.UsageError("no index to serve: give index folders, --indexes-in DIR or --remote NAME=URL", ctx)
    serve(
        replace(
            settings,
            indexes=chosen,
            published=published,
            indexes_in=indexes_in,
            remote=slices,
            host=settings.host if host is None else host,
            port=settings.port if port is None else port,
            allowed_hosts=allowed_hosts or settings.allowed_hosts,
            forwarded_allow_ips=forwarded_allow_ips or settings.forwarded_allow_ips,
            poll_seconds=settings.poll_seconds if poll is None else poll,
            workers=settings.workers if workers is None else workers,
        )
    )


def _published(
    urls: list[Place],
    *,
    analyzer: str | None,
    also: tuple[Place, ...],
    requester_pays: bool,
    anonymous: bool,
    most_requests: int | None,
) -> tuple[Published, ...]:
    """Return the indexes at URLs.

    Raises:
        UsageError: ``--also`` is given, and it is not clear for which index; or an option has no index at a URL.
    """
    from factcensus.api.settings import Published

    if not urls:
        refuse_remote_options(requester_pays, anonymous, most_requests)
        if analyzer is not None:
            raise click.UsageError("--analyzer has no effect without an INDEX at a URL; leave it out")
    if also and len(urls) != 1:
        raise click.UsageError("--also needs exactly one INDEX with a URL, to which it belongs")
    most = {} if most_requests is None else {"most_requests": most_requests}
    return tuple(
        Published(tuple(IndexChoice(url, analyzer, also, requester_pays, anonymous).places), analyzer, **most)
        for url in urls
    )


@command(
    "create",
    example="factcensus key create alice --file keys.txt\n"
    "FACTCENSUS_KEYS_FILE=keys.txt factcensus serve indexes/pile --host 192.0.2.7",
)
@argument("name", metavar="NAME", help="name of the person or program that gets the key")
@option("--file", required=True, type=OUTPUT_FILE, metavar="FILE", help="file of hashed keys; created if missing")
@option(
    "--index",
    "indexes",
    multiple=True,
    metavar="INDEX",
    default_text="all indexes",
    help="name of an index that the key may use; may be repeated",
)
def create_key(name: str, file: Path, indexes: tuple[str, ...]) -> None:
    """Create an API key, print it once, and add its hash to a file."""
    from factcensus.api.http.access import new_key

    print(new_key(name, file, indexes))
