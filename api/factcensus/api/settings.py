"""What the service can be told: its index folders, where it listens, and how much one request may ask.

Environment variables are read in :meth:`Settings.from_env` and nowhere else; ``api/README.md`` lists them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from factcensus.indexer.environment import check_environment, register
from factcensus.indexer.errors import InputError

PREFIX = "FACTCENSUS_"
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")
LONGEST_POLL_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that requests may ask; whoever runs the service may raise each of them."""

    #: Bytes of a request body, as sent.
    max_body_bytes: int = 16 * 2**20
    #: Characters of a text, a name or an alias.
    max_text_chars: int = 10_000
    #: Aliases of one entity. Wikidata's longest alias lists stay below this.
    max_aliases: int = 256
    #: Facts that are answered at once; a longer table becomes a job.
    max_facts: int = 10_000
    #: Windows in one request, and with them twice as many columns in its answer.
    max_windows: int = 16
    #: Batches of facts counted at the same time; others wait. Each may keep a gibibyte of mentions in memory.
    max_parallel_batches: int = 4
    #: Values of a column by which counts can be had.
    max_groups: int = 1_000
    #: Requests that are answered at the same time; more get 503.
    max_parallel_requests: int = 64
    #: Facts in one job.
    max_job_facts: int = 1_000_000
    #: Bytes of a body with facts, as sent; one with more than ``max_body_bytes`` becomes a job.
    max_job_body_bytes: int = 64 * 2**20
    #: Bytes of a file that is uploaded on the page; it is kept on the disk while it is read, piece by piece.
    max_upload_bytes: int = 256 * 2**20
    #: Jobs that wait or run; more get 503.
    max_jobs: int = 16
    #: Bytes that all jobs take together; more get 507.
    max_jobs_bytes: int = 4 * 2**30
    #: Jobs counted at the same time, each in one thread.
    max_parallel_jobs: int = 1
    #: Hours that a result is kept.
    job_retention_hours: int = 168
    #: Bytes of answers that are kept to be given again.
    cache_bytes: int = 64 * 2**20
    #: Documents on one page.
    max_documents: int = 100
    #: Seconds that a count may take; then the engine stops and the answer is 504.
    deadline_seconds: int = 60
    #: Bytes of all bodies that are received or answered at the same time; one address may hold half of them.
    max_bodies_bytes: int = 512 * 2**20
    #: Seconds within which a whole body has to arrive.
    body_seconds: int = 300
    #: Seconds for which a connection may wait for the head of a request.
    header_seconds: int = 15
    #: Connections at the same time; of more, those that wait for their clients are closed.
    max_connections: int = 1_000


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the application factory needs; nothing here is read from the environment by itself."""

    #: Index folders; the name of a folder is the name of its index.
    indexes: tuple[Path, ...] = ()
    #: A folder, each of whose folders with an index is served as well; a reload finds new ones.
    indexes_in: Path | None = None
    host: str = "127.0.0.1"
    #: 0 takes a free port; the service prints which.
    port: int = 8080
    log_level: str = "info"
    #: ``text``, or ``json``: an object a line.
    log_format: str = "text"
    #: A file of hashed API keys (:mod:`factcensus.api.http.access`). Without one, anyone who reaches the service may
    #: query it.
    keys_file: Path | None = None
    #: Whether to listen on an address that other machines reach, without keys.
    allow_anonymous: bool = False
    #: Names of keys that may ask for a reload; where no keys are asked for, everybody on this machine may.
    admin_keys: tuple[str, ...] = ()
    #: Where jobs are kept; without a folder they go with the process.
    jobs_folder: Path | None = None
    #: Counts or strata tables that the page compares a fact with (:mod:`factcensus.api.pages.fact_tables`).
    fact_tables: tuple[Path, ...] = ()
    #: Web pages' origins, such as ``https://example.org``, whose scripts may ask; ``*`` for all.
    cors_origins: tuple[str, ...] = ()
    #: Seconds between two looks at the folders of the indexes; 0 for none without a reload.
    poll_seconds: float = 0.2
    #: Whether indexes are asked by the service itself before it says that it is ready.
    warm_up: bool = True
    #: Requests a minute by key, or without keys by address; 0 for no limit.
    requests_per_minute: int = 0
    #: Names in the header ``Host`` that are answered, such as ``counts.example.org`` or ``*.example.org``; ``*`` for
    #: all. None: all where keys are asked for or other machines reach the service, else loopback names alone.
    allowed_hosts: tuple[str, ...] | None = None
    #: Addresses or networks of proxies whose ``X-Forwarded-For`` is believed.
    forwarded_allow_ips: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings that the variables ``FACTCENSUS_…`` describe; what is unset keeps its default.

        ``FACTCENSUS_INDEXES`` separates folders as ``PATH`` does, with a colon (a semicolon on Windows).

        Raises:
            InputError: a value cannot be used; the message names the variable.
            UnknownNameError: a variable with the prefix does not exist; the message names the nearest one.
        """
        env = os.environ if environ is None else environ
        check_environment(env)
        folders = env.get(f"{PREFIX}INDEXES", "")
        limits = {
            limit.name: _whole_number(env, f"{PREFIX}{limit.name.upper()}", getattr(Limits(), limit.name), low=1)
            for limit in fields(Limits)
        }
        return cls(
            indexes=tuple(Path(folder) for folder in folders.split(os.pathsep) if folder),
            indexes_in=_path(env, f"{PREFIX}INDEXES_IN"),
            host=env.get(f"{PREFIX}HOST", "127.0.0.1"),
            port=_whole_number(env, f"{PREFIX}PORT", 8080, low=0, high=65535),
            log_level=_one_of(env, f"{PREFIX}LOG_LEVEL", LOG_LEVELS, "info"),
            log_format=_one_of(env, f"{PREFIX}LOG_FORMAT", LOG_FORMATS, "text"),
            keys_file=_path(env, f"{PREFIX}KEYS_FILE"),
            admin_keys=_words(env, f"{PREFIX}ADMIN_KEYS"),
            jobs_folder=_path(env, f"{PREFIX}JOBS_FOLDER"),
            fact_tables=tuple(Path(file) for file in env.get(f"{PREFIX}FACT_TABLES", "").split(os.pathsep) if file),
            cors_origins=_words(env, f"{PREFIX}CORS_ORIGINS"),
            allow_anonymous=_whole_number(env, f"{PREFIX}ALLOW_ANONYMOUS", 0, low=0, high=1) == 1,
            poll_seconds=_seconds(env, f"{PREFIX}POLL_SECONDS", 0.2),
            warm_up=_whole_number(env, f"{PREFIX}WARM_UP", 1, low=0, high=1) == 1,
            allowed_hosts=_words(env, f"{PREFIX}ALLOWED_HOSTS") or None,
            forwarded_allow_ips=_words(env, f"{PREFIX}FORWARDED_ALLOW_IPS"),
            requests_per_minute=_whole_number(env, f"{PREFIX}REQUESTS_PER_MINUTE", 0, low=0),
            limits=Limits(**limits),
        )


def _path(env: Mapping[str, str], name: str) -> Path | None:
    return Path(env[name]) if env.get(name) else None


def _words(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Values with commas between them."""
    return tuple(word.strip() for word in env.get(name, "").split(",") if word.strip())


def _one_of(env: Mapping[str, str], name: str, choices: Sequence[str], default: str) -> str:
    value = env.get(name, default).lower()
    if value not in choices:
        raise InputError(f"{name} is {value!r}; it can be one of {', '.join(choices)}")
    return value


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name)
    try:
        seconds = default if text is None else float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_POLL_S:
        raise InputError(f"{name} is {text!r}; it must be a number of seconds from 0 to {LONGEST_POLL_S:g}")
    return seconds


def _whole_number(env: Mapping[str, str], name: str, default: int, *, low: int, high: int | None = None) -> int:
    text = env.get(name)
    if text is None:
        return default
    expected = f"a whole number from {low} to {high}" if high is not None else f"a whole number, at least {low}"
    try:
        number = int(text)
    except ValueError:
        raise InputError(f"{name} is {text!r}; it must be {expected}") from None
    if number < low or (high is not None and number > high):
        raise InputError(f"{name} is {text!r}; it must be {expected}")
    return number


def variable_names() -> list[str]:
    """Return every environment variable of the service and of its client."""
    names = [each.name for each in (*fields(Settings), *fields(Limits)) if each.name != "limits"]
    return [f"{PREFIX}API_KEY", *(f"{PREFIX}{name.upper()}" for name in names)]


register(variable_names)
