"""What the service can be told: its index folders, where it listens, and how much one request may ask.

Environment variables are read in :meth:`Settings.from_env` and nowhere else; ``api/README.md`` lists them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from factcensus.indexer.errors import InputError

PREFIX = "FACTCENSUS_"
LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that requests may ask; whoever runs the service may raise each of them."""

    #: Bytes of a request body, as sent.
    max_body_bytes: int = 16 * 2**20
    #: Characters of a text, a name or an alias.
    max_text_chars: int = 10_000
    #: Aliases of one entity. Wikidata's longest alias lists stay below this.
    max_aliases: int = 256
    #: Facts in one request; a longer table is sent in several (the client does so by itself).
    max_facts: int = 10_000
    #: Windows in one request, and with them twice as many columns in its answer.
    max_windows: int = 16
    #: Batches of facts counted at the same time; others wait. Each may keep a gibibyte of mentions in memory.
    max_parallel_batches: int = 4
    #: Documents on one page.
    max_documents: int = 100
    #: Seconds that a count may take; then the engine stops and the answer is 504.
    deadline_seconds: int = 60


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the application factory needs; nothing here is read from the environment by itself."""

    #: Index folders; the name of a folder is the name of its index.
    indexes: tuple[Path, ...] = ()
    host: str = "127.0.0.1"
    #: 0 takes a free port; the service prints which.
    port: int = 8080
    log_level: str = "info"
    #: A file of hashed API keys (:mod:`factcensus.api.access`); without one, everybody who reaches the service may ask.
    keys_file: Path | None = None
    #: Whether to listen on an address that other machines reach, without keys.
    allow_anonymous: bool = False
    #: Requests a minute by key, or without keys by address; 0 for no limit.
    requests_per_minute: int = 0
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings that the variables ``FACTCENSUS_…`` describe; what is unset keeps its default.

        ``FACTCENSUS_INDEXES`` separates folders as ``PATH`` does, with a colon (a semicolon on Windows).

        Raises:
            InputError: a value cannot be used; the message names the variable.
        """
        env = os.environ if environ is None else environ
        folders = env.get(f"{PREFIX}INDEXES", "")
        log_level = env.get(f"{PREFIX}LOG_LEVEL", "info").lower()
        if log_level not in LOG_LEVELS:
            raise InputError(f"{PREFIX}LOG_LEVEL is {log_level!r}; it can be one of {', '.join(LOG_LEVELS)}")
        limits = {
            limit.name: _whole_number(env, f"{PREFIX}{limit.name.upper()}", getattr(Limits(), limit.name), low=1)
            for limit in fields(Limits)
        }
        return cls(
            indexes=tuple(Path(folder) for folder in folders.split(os.pathsep) if folder),
            host=env.get(f"{PREFIX}HOST", "127.0.0.1"),
            port=_whole_number(env, f"{PREFIX}PORT", 8080, low=0, high=65535),
            log_level=log_level,
            keys_file=Path(env[f"{PREFIX}KEYS_FILE"]) if env.get(f"{PREFIX}KEYS_FILE") else None,
            allow_anonymous=_whole_number(env, f"{PREFIX}ALLOW_ANONYMOUS", 0, low=0, high=1) == 1,
            requests_per_minute=_whole_number(env, f"{PREFIX}REQUESTS_PER_MINUTE", 0, low=0),
            limits=Limits(**limits),
        )


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
