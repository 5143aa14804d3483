"""Who may ask, and how often: API keys, and a limit on requests by key or address.

A key is 256 random bits, shown once when it is made; the service knows only its SHA-256 (random keys need no slow
hash). The file of keys has a line ``NAME SHA256`` for each, the name being that of the key's holder;
``indexes=A,B`` after it binds the key to the indexes of these names (commas and spaces in them are percent-encoded).
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
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from urllib.parse import quote, unquote

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from factcensus.api.http.problems import Problem, problem_response
from factcensus.indexer.errors import InputError
from factcensus.indexer.names import unknown_name

log = logging.getLogger("factcensus.api")

#: What orchestrators ask without a key.
OPEN_ROUTES = frozenset({"/healthz", "/readyz"})
#: Holders whose last requests are remembered; the one not seen for longest is forgotten first.
MOST_HOLDERS = 10_000
_LINE = re.compile(r"(\S{1,100})\s+([0-9a-f]{64})((?:\s+\S+)*)")
#: What a line of the file of keys may say of a key.
_OPTIONS = ("indexes",)


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of a key: its hash, and the names of the indexes that it may ask; None for all."""

    hash: str
    indexes: frozenset[str] | None = None


def new_key(name: str, file: Path, indexes: Sequence[str] = ()) -> str:
    """Create a key and add its hash to a file.

    Args:
        name: Of the key's holder.
        file: The file of keys; created if it is missing.
        indexes: Names of the indexes that the key may ask; none for all.

    Raises:
        InputError: the name has white space, or the file has a key of that name.
    """
    if not re.fullmatch(r"\S{1,100}", name):
        raise InputError(f"{name!r} cannot name a key: 1 to 100 characters without white space")
    if file.exists() and name in read_keys(file):
        raise InputError(f"{file} has a key named {name}; remove its line first, or choose another name")
    key = secrets.token_urlsafe(32)
    bound = f" indexes={','.join(quote(index, safe='') for index in indexes)}" if indexes else ""
    file.touch(mode=0o600)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(f"{name} {_hash(key)}{bound}\n")
    return key


def read_keys(file: Path) -> dict[str, Key]:
    """Return the keys by name.

    Raises:
        InputError: the file cannot be read, or a line is not ``NAME SHA256`` with known options after it.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the file of keys {file} cannot be read ({error})") from error
    keys: dict[str, Key] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if not found or found[1] in keys:
            raise InputError(
                f"{file}, line {number}: expected NAME SHA256 [indexes=A,B], each name once; make keys with "
                "'factcensus key create'"
            )
        keys[found[1]] = Key(found[2], _indexes_of(found[3].split(), f"{file}, line {number}"))
    return keys


def _indexes_of(options: Sequence[str], where: str) -> frozenset[str] | None:
    """Return the names of indexes that a key is bound to."""
    indexes: frozenset[str] | None = None
    for option in options:
        name, equals, value = option.partition("=")
        if name not in _OPTIONS:
            raise InputError(f"{where}: {unknown_name('option of a key', name, _OPTIONS)}")
        if not equals or not value or indexes is not None:
            raise InputError(f"{where}: expected {name}=A,B once, with the names of the indexes that the key may ask")
        indexes = frozenset(unquote(index) for index in value.split(","))
    return indexes


def check_names(keys: Mapping[str, Key], admin_keys: Sequence[str], indexes: Sequence[str], *, fixed: bool) -> None:
    """Refuse names of keys and of indexes that do not exist.

    Args:
        keys: The keys of the service.
        admin_keys: Names of those that may ask for a reload.
        indexes: Names of the indexes that are served.
        fixed: Whether no other index can come later.

    Raises:
        UnknownNameError: it names the nearest known name.
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
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Access:
    """Refuses requests without a known key, if there are any, and those that come too fast."""

    def __init__(self, app: ASGIApp, keys: Mapping[str, Key], requests_per_minute: int) -> None:
        self.app = app
        self._keys = keys
        self._per_second = requests_per_minute / 60
        self._burst = float(requests_per_minute)
        #: Of each holder: the requests that are left, and when that was reckoned.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan, which passes through."""
        if scope["type"] == "http" and scope["path"] not in OPEN_ROUTES:
            try:
                self._admit(scope)
            except Problem as problem:
                response = problem_response(
                    Request(scope), problem.status_code, problem.detail, kind=problem.kind, headers=problem.headers
                )
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        address = f"address {(scope.get('client') or ('unknown', 0))[0]}"
        name = self._name_of(Headers(scope=scope)) if self._keys else None
        self._count(address if name is None else f"key {name}")
        if name is not None:
            scope.setdefault("state", {}).update(holder=name, indexes=self._keys[name].indexes)
        if self._keys and name is None:
            raise Problem(
                "unauthorized",
                "send a key of this service as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
                headers={"WWW-Authenticate": 'Bearer, Basic realm="factcensus: any user name, a key as password"'},
            )

    def _name_of(self, headers: Headers) -> str | None:
        """Whose key a request carries; every known one is compared, so the time tells nothing."""
        given = _hash(_given_key(headers))
        holder = None
        for name, known in self._keys.items():
            if hmac.compare_digest(given, known.hash):
                holder = name
        return holder

    def _count(self, holder: str) -> None:
        if not self._burst:
            return
        now = monotonic()
        left, before = self._left.pop(holder, (self._burst, now))
        left = min(self._burst, left + (now - before) * self._per_second)
        self._left[holder] = (max(0.0, left - 1), now)
        if len(self._left) > MOST_HOLDERS:
            self._left.popitem(last=False)
        if left < 1:
            self._left[holder] = (left, now)
            pause = int((1 - left) / self._per_second) + 1
            raise Problem(
                "too-many-requests",
                f"more than {self._burst:g} requests a minute (FACTCENSUS_REQUESTS_PER_MINUTE); wait {pause} s, or ask "
                "for many facts in one request",
                headers={"Retry-After": str(pause)},
            )


def _given_key(headers: Headers) -> str:
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":  # what a browser asks its user for
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return headers.get("x-api-key", "")


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
