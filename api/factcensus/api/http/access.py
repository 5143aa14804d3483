"""API keys, and a limit on requests per key or address.

A key is 256 random bits, shown once when it is created. The service stores only its SHA-256; random keys need no slow
hash. The key file has one line ``NAME SHA256`` per key, where the name is that of the key's holder. ``indexes=A,B`` at
the end of the line restricts the key to these indexes (commas and spaces in names are percent-encoded).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from factcensus.api.http.problems import Problem, problem_response
from factcensus.api.workers.rates import Quota, Rates
from factcensus.indexer.errors import InputError
from factcensus.indexer.names import unknown_name

log = logging.getLogger("factcensus.api")

#: Routes that orchestrators request without a key.
OPEN_ROUTES = frozenset({"/healthz", "/readyz"})
#: How a key may be sent. Each has a header of its own, because Chromium prompts for a password only if Basic is the
#: first scheme in a header.
CHALLENGES = (
    ("WWW-Authenticate", 'Basic realm="factcensus: any user name, a key as password"'),
    ("WWW-Authenticate", "Bearer"),
)
_LINE = re.compile(r"(\S{1,100})\s+([0-9a-f]{64})((?:\s+\S+)*)")
#: Options of a key in the key file.
_OPTIONS = ("indexes",)


@dataclass(frozen=True, slots=True)
class Key:
    """A key: its hash, and the names of the indexes it may use (None for all)."""

    hash: str
    indexes: frozenset[str] | None = None


def new_key(name: str, file: Path, indexes: Sequence[str] = ()) -> str:
    """Create a key and add its hash to a file.

    Args:
        name: Name of the key's holder.
        file: The key file; created if missing.
        indexes: Names of the indexes the key may use; empty for all.

    Raises:
        InputError: The name contains white space, or the file already has a key of that name.
    """
    if not re.fullmatch(r"\S{1,100}", name):
        raise InputError(f"invalid key name {name!r}: use 1 to 100 characters without white space")
    if file.exists() and name in read_keys(file):
        raise InputError(f"{file} already has a key named {name}; remove its line first, or choose another name")
    key = secrets.token_urlsafe(32)
    bound = f" indexes={','.join(quote(index, safe='') for index in indexes)}" if indexes else ""
    file.touch(mode=0o600)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(f"{name} {_hash(key)}{bound}\n")
    return key


def read_keys(file: Path) -> dict[str, Key]:
    """Return the keys by name.

    Raises:
        InputError: The file cannot be read, or a line is not ``NAME SHA256`` followed by known options.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the key file {file} ({error})") from error
    keys: dict[str, Key] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if not found or found[1] in keys:
            raise InputError(
                f"{file}, line {number}: expected NAME SHA256 [indexes=A,B], each name once; create keys "
                "with 'factcensus key create'"
            )
        keys[found[1]] = Key(found[2], _indexes_of(found[3].split(), f"{file}, line {number}"))
    return keys


def _indexes_of(options: Sequence[str], where: str) -> frozenset[str] | None:
    """Return the names of the indexes that a key is restricted to."""
    indexes: frozenset[str] | None = None
    for option in options:
        name, equals, value = option.partition("=")
        if name not in _OPTIONS:
            raise InputError(f"{where}: {unknown_name('key option', name, _OPTIONS)}")
        if not equals or not value or indexes is not None:
            raise InputError(f"{where}: expected {name}=A,B once, with the names of the indexes the key may use")
        indexes = frozenset(unquote(index) for index in value.split(","))
    return indexes


def check_names(keys: Mapping[str, Key], admin_keys: Sequence[str], indexes: Sequence[str], *, fixed: bool) -> None:
    """Refuse unknown names of keys and indexes.

    Args:
        keys: The keys of the service.
        admin_keys: Names of the keys that may request a reload.
        indexes: Names of the served indexes.
        fixed: Whether no further index can be added later.

    Raises:
        UnknownNameError: A name is unknown; the message suggests the nearest known name.
    """
    for name in admin_keys:
        if name not in keys:
            raise unknown_name("key in FACTCENSUS_ADMIN_KEYS", name, keys)
    for holder, key in keys.items():
        for name in sorted((key.indexes or frozenset()) - set(indexes)):
            error = unknown_name(f"index of the key {holder!r}", name, indexes)
            if fixed:
                raise error
            log.warning("%s", error)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Access:
    """Refuses requests without a known key (if API keys are enabled), and too frequent requests."""

    def __init__(self, app: ASGIApp, keys: Mapping[str, Key], rates: Rates | None) -> None:
        self.app = app
        self._keys, self._rates = keys, rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Process one request; pass the lifespan through."""
        if scope["type"] == "http" and scope["path"] not in OPEN_ROUTES:
            name = self._name_of(Headers(scope=scope)) if self._keys else None
            quota = self._quota(scope, name)
            if quota is not None:
                send = _with_headers(send, quota.headers().items())
            try:
                self._admit(scope, name, quota)
            except Problem as problem:
                _note_route(scope)
                if problem.kind == "unauthorized":
                    send = _with_headers(send, CHALLENGES)
                response = problem_response(
                    Request(scope), problem.status_code, problem.detail, kind=problem.kind, headers=problem.headers
                )
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _quota(self, scope: Scope, name: str | None) -> Quota | None:
        """Count the request of a key, or of an address without one."""
        if self._rates is None:
            return None
        address = f"address {(scope.get('client') or ('unknown', 0))[0]}"
        return self._rates.take(address if name is None else f"key {name}")

    def _admit(self, scope: Scope, name: str | None, quota: Quota | None) -> None:
        if name is not None:
            scope.setdefault("state", {}).update(holder=name, indexes=self._keys[name].indexes)
        if quota is not None and quota.wait_s:
            raise Problem(
                "too-many-requests",
                f"more than {quota.limit} requests per minute (FACTCENSUS_REQUESTS_PER_MINUTE); wait {quota.wait_s} s, "
                "or send many facts in one request",
                headers={"Retry-After": str(quota.wait_s)},
            )
        if self._keys and name is None:
            given = bool(_given_key(Headers(scope=scope)))
            raise Problem(
                "unauthorized",
                ("this service does not know the API key of the request; " if given else "")
                + "send an API key of this service as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
            )

    def _name_of(self, headers: Headers) -> str | None:
        """Return the holder of a request's key; always compares all known keys, so that timing reveals nothing."""
        given = _hash(_given_key(headers))
        holder = None
        for name, known in self._keys.items():
            if hmac.compare_digest(given, known.hash):
                holder = name
        return holder


def _note_route(scope: Scope) -> None:
    """Set the route of a request that is refused before routing, for the log and the metrics."""
    app = scope.get("app")
    for route in () if app is None else app.router.routes:
        if route.matches(scope)[0] is not Match.NONE:
            scope["route"] = route
            return


def _with_headers(send: Send, added: Iterable[tuple[str, str]]) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            for name, value in added:
                MutableHeaders(scope=message).append(name, value)
        await send(message)

    return sending


def _given_key(headers: Headers) -> str:
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":  # the password prompt of browsers
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return headers.get("x-api-key", "")


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
