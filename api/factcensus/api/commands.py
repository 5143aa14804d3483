"""The commands ``factcensus serve`` and ``factcensus serve-key``."""

from __future__ import annotations

import argparse
from pathlib import Path

from factcensus.indexer.cli import Subparsers, add_command


def add_commands(subparsers: Subparsers) -> None:
    """Add both to the root command."""
    parser = add_command(
        subparsers,
        "serve",
        _serve,
        help="Serve indexes over HTTP until SIGTERM or Ctrl+C; an index is named by its folder.",
        example="factcensus serve indexes/pile indexes/dolma --port 8080\n"
        "curl 'http://127.0.0.1:8080/v1/indexes/pile/count?text=Marie%20Curie'",
    )
    parser.add_argument("indexes", metavar="INDEX", nargs="*", type=Path, help="an index folder")
    parser.add_argument(
        "--indexes-in",
        metavar="DIR",
        type=Path,
        help="serve every index in this folder as well; SIGHUP looks again (default: $FACTCENSUS_INDEXES_IN)",
    )
    parser.set_defaults(usage_error=parser.error)
    parser.add_argument(
        "--host",
        help="address to listen on (default: $FACTCENSUS_HOST, else 127.0.0.1; others need keys, see serve-key)",
    )
    parser.add_argument(
        "--port", type=_port, help="port to listen on, 0 for a free one (default: $FACTCENSUS_PORT, else 8080)"
    )

    key = add_command(
        subparsers,
        "serve-key",
        _new_key,
        help="Make a key for a service: it is printed once, and a file gets its hash.",
        example="factcensus serve-key alice --file keys.txt\n"
        "FACTCENSUS_KEYS_FILE=keys.txt factcensus serve indexes/pile --host 192.0.2.7",
    )
    key.add_argument("name", metavar="NAME", help="whose key it is")
    key.add_argument(
        "--file", required=True, type=Path, metavar="FILE", help="the file of hashed keys; made if missing"
    )


def _new_key(arguments: argparse.Namespace) -> None:
    from factcensus.api.access import new_key

    print(new_key(arguments.name, arguments.file))


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text[:6]) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 to 65535")
    return int(text)


def _serve(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from factcensus.api.server import serve
    from factcensus.api.settings import Settings

    settings = Settings.from_env()
    indexes = tuple(arguments.indexes) or settings.indexes
    indexes_in = arguments.indexes_in or settings.indexes_in
    if not indexes and indexes_in is None:
        arguments.usage_error("no index to serve: name index folders, or give --indexes-in DIR")
    serve(
        replace(
            settings,
            indexes=indexes,
            indexes_in=indexes_in,
            host=settings.host if arguments.host is None else arguments.host,
            port=settings.port if arguments.port is None else arguments.port,
        )
    )
