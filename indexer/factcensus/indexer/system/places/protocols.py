"""The known protocols of URLs, the options of their drivers, and the redaction of credentials."""

from __future__ import annotations

import os
import re
import threading
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from factcensus.indexer.errors import InputError, MissingExtraError
from factcensus.indexer.names import suggestion

#: The driver and the extra of each protocol; ``memory`` is for tests.
_DRIVERS = {
    "s3": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "gcs": ("gcsfs", "gcs"),
    "http": ("aiohttp", "http"),
    "https": ("aiohttp", "http"),
    "hf": ("huggingface_hub", "hub"),
    "file": ("fsspec", ""),  # behind a cache; otherwise such a URL is a local path
    "memory": ("fsspec", ""),
}
_ANONYMOUS: dict[str, dict[str, Any]] = {
    "s3": {"anon": True},
    "gs": {"token": "anon"},
    "gcs": {"token": "anon"},
    "hf": {"token": False},
}
_LOCAL = ("file", "local")
#: fsspec's caches, which may precede another URL: ``simplecache::s3://bucket/key``.
_CACHES = ("simplecache", "filecache", "blockcache")
_NAMED = ("s3", "gs", "gcs", "http", "https", "hf", "file")
_URL = re.compile(r"((?:\w+::)*)([A-Za-z][A-Za-z0-9+.-]*)://")
_URL_IN_TEXT = re.compile(r"(?:\w+::)*[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>|\\]+")
#: Number of simultaneous connections to an object store.
CONNECTIONS = 64

_file_systems: dict[Any, Any] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Access:
    """The way to access the objects of a place; credentials come from the environment and files of the driver.

    Attributes:
        anonymous: Send no credentials.
        requester_pays: Agree to pay for requests to a bucket of another owner.
    """

    anonymous: bool = False
    requester_pays: bool = False

    def options(self, protocol: str) -> dict[str, Any]:
        """Return the options of the driver of a protocol.

        Raises:
            InputError: The protocol has no requester-pays option.
        """
        options: dict[str, Any] = {}
        if self.requester_pays:
            if protocol not in ("s3", "gs", "gcs"):
                raise InputError(f"{protocol}:// has no requester-pays; use this option with s3:// or gs://")
            options["requester_pays"] = True
        if self.anonymous:
            options |= _ANONYMOUS.get(protocol, {})
        return options


NO_OPTIONS = Access()


def is_url(text: str) -> bool:
    """Return whether a text is a URL rather than a path; a local file with such a name does not count."""
    return _URL.match(text) is not None


def protocol_of(url: str) -> str:
    """Return the protocol of a URL; empty for ``file://``.

    Raises:
        InputError: The protocol is unknown.
    """
    match = _URL.match(url)
    assert match
    caches, protocol = match[1].split("::")[:-1], match[2].lower()
    for cache in caches:
        if cache not in _CACHES:
            raise InputError(f"unknown prefix {cache + '::'!r} of {redact(url)}{suggestion(cache, _CACHES)}")
    if protocol in _LOCAL:
        return "" if not caches else "file"
    if protocol not in _DRIVERS:
        raise InputError(f"unknown protocol {protocol + '://'!r} of {redact(url)}{suggestion(protocol, _NAMED)}")
    return protocol


def redact(text: str) -> str:
    """Return a text with the user names, passwords and query strings of all its URLs removed.

    Queries are removed from ``http`` and ``https`` URLs only; elsewhere a question mark is a part of a name.
    """
    return _URL_IN_TEXT.sub(lambda match: _redact_url(match[0]), text)


def _redact_url(url: str) -> str:
    head, slashes, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        authority = authority.rpartition("@")[2]
    protocol = head.rpartition("::")[2].lower()
    if protocol in ("http", "https"):
        if not slash:
            authority = without_query(authority)
        path = without_query(path)
        slash = slash + path
        return f"{head}{slashes}{authority}{slash}" + ("?…" if re.search(r"[?#]", rest) else "")
    return f"{head}{slashes}{authority}{slash}{path}"


def without_query(url: str) -> str:
    """Return the part of an HTTP URL before its query and fragment."""
    return re.split(r"[?#]", url, maxsplit=1)[0]


def file_system_of(url: str, protocol: str, access: Access) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, shared by all threads, and the path in it.

    Raises:
        MissingExtraError: The driver of the protocol is not installed.
    """
    import fsspec

    driver, extra = _DRIVERS[protocol]
    try:
        import_module(driver)  # fsspec reports a missing one in several ways
    except ImportError as error:
        raise MissingExtraError(driver, extra) from error
    if "::" in url[: url.find("://")]:
        file_system, path = fsspec.core.url_to_fs(url, **{protocol: _options(protocol, access)})
        return file_system, str(path)
    key = (os.getpid(), protocol, access)
    with _lock:
        if key not in _file_systems:
            _file_systems[key] = fsspec.filesystem(protocol, **_options(protocol, access))
    return _file_systems[key], str(_file_systems[key]._strip_protocol(url))


def _options(protocol: str, access: Access) -> dict[str, Any]:
    """Return the options of a driver; fsspec adds those of its environment variables (``FSSPEC_S3_…``)."""
    options = access.options(protocol)
    if protocol in ("memory", "file"):
        return options
    options["use_listings_cache"] = False  # other machines write here at the same time
    if protocol == "s3":
        from fsspec.config import conf

        if "config_kwargs" not in conf.get("s3", {}):
            options["config_kwargs"] = {"max_pool_connections": CONNECTIONS, "retries": {"max_attempts": 1}}
    elif protocol in ("http", "https"):
        import aiohttp

        # No limit for a whole file, which may take hours, but one for a connection that has gone silent.
        options["client_kwargs"] = {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)}
    return options
