"""Settings of the service: its index folders, the address it listens on, and the limits on requests.

Only :mod:`factcensus.api.variables` reads them from the environment; ``api/README.md`` lists the variables.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from factcensus.indexer.environment import PREFIX, register
from factcensus.indexer.opened import MOST_REQUESTS
from factcensus.indexer.system.places import Place


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on requests; the operator of the service may raise each of them."""

    #: Bytes of a request body, as sent.
    max_body_bytes: int = 16 * 2**20
    #: Characters per text, name or alias.
    max_text_chars: int = 10_000
    #: Aliases per entity. Wikidata's longest alias lists are shorter.
    max_aliases: int = 256
    #: Facts counted within a request; a longer table becomes a job.
    max_facts: int = 10_000
    #: Windows per request; each adds two columns to the response.
    max_windows: int = 16
    #: Batches of facts counted at a time; others wait. Each may keep a gibibyte of mentions in memory.
    max_parallel_batches: int = 4
    #: Distinct values of a column by which counts can be grouped.
    max_groups: int = 1_000
    #: Requests processed at a time; more get 503.
    max_parallel_requests: int = 64
    #: Facts per job.
    max_job_facts: int = 1_000_000
    #: Bytes of a body with facts, as sent; a body of more than ``max_body_bytes`` becomes a job.
    max_job_body_bytes: int = 64 * 2**20
    #: Bytes of a file uploaded on the page; it is stored on disk and read in pieces.
    max_upload_bytes: int = 256 * 2**20
    #: Waiting and running jobs; more get 503.
    max_jobs: int = 16
    #: Bytes that all jobs use together; more get 507.
    max_jobs_bytes: int = 4 * 2**30
    #: Jobs counted at a time, each in one thread.
    max_parallel_jobs: int = 1
    #: Hours for which a result is kept.
    job_retention_hours: int = 168
    #: Bytes of cached responses.
    cache_bytes: int = 64 * 2**20
    #: Documents per page.
    max_documents: int = 100
    #: Timeout of a count in seconds; then the engine stops and the response is 504.
    deadline_seconds: int = 60
    #: Bytes of all bodies being received or processed; one address may use half of them.
    max_bodies_bytes: int = 512 * 2**20
    #: Seconds within which a whole body must arrive.
    body_seconds: int = 300
    #: Seconds a connection may take to send the headers of a request.
    header_seconds: int = 15
    #: Open connections; above this limit, connections that wait for their clients are closed.
    max_connections: int = 1_000


@dataclass(frozen=True, slots=True)
class Published:
    """An index at one or several URLs, named after the first."""

    places: tuple[Place, ...]
    #: Only needed if the index does not name its analyzer.
    analyzer: str | None = None
    #: Maximum number of requests to the URL for one query.
    most_requests: int = MOST_REQUESTS


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of the application."""

    #: Index folders; an index is named after its folder.
    indexes: tuple[Path, ...] = ()
    #: Indexes at URLs; only the command line names them.
    published: tuple[Published, ...] = ()
    #: A folder whose subdirectories with an index are served too; a reload finds new ones.
    indexes_in: Path | None = None
    #: Indexes whose slices are served by other services, each ``NAME=URL,URL`` (:mod:`factcensus.api.slices`).
    remote: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    #: 0 picks a free port; the service prints it.
    port: int = 8080
    log_level: str = "info"
    #: ``text``, or ``json`` for one JSON object per line.
    log_format: str = "text"
    #: Whether to send traces with OpenTelemetry (:mod:`factcensus.api.http.telemetry`).
    telemetry: bool = False
    #: A file of hashed API keys (:mod:`factcensus.api.http.access`). Without one, anyone who reaches the service may
    #: query it.
    keys_file: Path | None = None
    #: Whether to listen on an address that other machines can reach, without keys.
    allow_anonymous: bool = False
    #: Names of keys that may request a reload; without API keys, anyone on this machine may.
    admin_keys: tuple[str, ...] = ()
    #: Folder where jobs are kept; without it, they are lost when the process ends.
    jobs_folder: Path | None = None
    #: Tables of counts or strata with which the page compares a fact (:mod:`factcensus.api.serving.fact_tables`).
    fact_tables: tuple[Path, ...] = ()
    #: Origins of web pages whose scripts may send requests, such as ``https://example.org``; ``*`` for all.
    cors_origins: tuple[str, ...] = ()
    #: Seconds between checks of the index folders; 0 checks them only on a reload.
    poll_seconds: float = 0.2
    #: Whether the service warms up its indexes before it reports ready.
    warm_up: bool = True
    #: Requests per minute per key, or per address without keys; 0 for no limit.
    requests_per_minute: int = 0
    #: Names allowed in the ``Host`` header, such as ``counts.example.org`` or ``*.example.org``; ``*`` for all. None:
    #: only loopback names if the service listens on loopback without keys, otherwise all.
    allowed_hosts: tuple[str, ...] | None = None
    #: Addresses or networks of proxies whose ``X-Forwarded-For`` is trusted.
    forwarded_allow_ips: tuple[str, ...] = ()
    #: Processes that answer requests; each opens the indexes, whose files they share in memory.
    workers: int = 1
    limits: Limits = field(default_factory=Limits)


#: Settings without an environment variable.
UNNAMED = ("limits", "published")


def variable_names() -> list[str]:
    """Return every environment variable of the service and of its client."""
    names = [each.name for each in (*fields(Settings), *fields(Limits)) if each.name not in UNNAMED]
    return [f"{PREFIX}API_KEY", *(f"{PREFIX}{name.upper()}" for name in names)]


register(variable_names)
