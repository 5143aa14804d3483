"""Protection against requests that web pages of other sites make a browser send.

A browser on this machine, or one that stores a key, reaches the service on behalf of any page it shows. Two checks keep
such pages out. The ``Host`` header must have an accepted name, because a page can let its host name resolve to this
address. Requests other than GET must not have an ``Origin`` or ``Sec-Fetch-Site`` of another site; pages cannot set
these headers.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from factcensus.api.http.access import OPEN_ROUTES, is_loopback
from factcensus.api.http.headers import header_of
from factcensus.api.http.negotiation import media_type_of
from factcensus.api.http.problems import Problem, problem_response
from factcensus.api.settings import Settings
from factcensus.indexer.errors import InputError

#: Media types that a form, or a script without permission, can send to another site without a CORS preflight.
FORM_TYPES = frozenset({"", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
#: Number of hosts that are kept parsed; almost all requests name the same one.
_HOSTS = 256


def host_names(settings: Settings) -> tuple[str, ...] | None:
    """Return the names accepted in ``Host`` in addition to loopback names; None for all."""
    if settings.allowed_hosts is not None:
        return None if "*" in settings.allowed_hosts else settings.allowed_hosts
    return () if settings.keys_file is None and is_loopback(settings.host) else None


def check_addresses(settings: Settings) -> None:
    """Refuse hosts, origins and addresses that could never match a request.

    Raises:
        InputError: A value is invalid; the message names the setting and the value.
    """
    for host in settings.allowed_hosts or ():
        name = host.removeprefix("*.")
        if host != "*" and (not name or "*" in name or host_and_port(name) != (_bare(name), _DEFAULT_PORTS["http"])):
            raise InputError(
                f"FACTCENSUS_ALLOWED_HOSTS (--allowed-host) has {host!r}; give names without a port, such as "
                "counts.example.org, *.example.org, [2001:db8::1] or *"
            )
    for origin in settings.cors_origins:
        scheme, _, host = origin.partition("://")
        if origin != "*" and (scheme not in _DEFAULT_PORTS or not host_and_port(host)[0]):
            raise InputError(
                f"FACTCENSUS_CORS_ORIGINS has {origin!r}; give origins without a path, such as https://example.org, "
                "or *"
            )
    for address in settings.forwarded_allow_ips:
        try:
            if address != "*":
                ipaddress.ip_network(address)
        except ValueError:
            raise InputError(
                f"FACTCENSUS_FORWARDED_ALLOW_IPS (--forwarded-allow-ips) has {address!r}; give addresses or networks, "
                "such as 192.0.2.1 or 10.0.0.0/8, or *"
            ) from None


class AllowedHosts:
    """Refuses requests with host names that are not accepted; health checks may use any name."""

    def __init__(self, app: ASGIApp, names: Sequence[str]) -> None:
        self.app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on or refuse one request."""
        if scope["type"] == "http" and scope["path"] not in OPEN_ROUTES:
            host, _ = host_and_port(header_of(scope, b"host") or "")
            if not (is_loopback_name(host) or matches(host, self._names)):
                detail = (
                    f"the host name {host[:100]!r} is not accepted; use an address of this machine, or add the name "
                    "to FACTCENSUS_ALLOWED_HOSTS"
                )
                await problem_response(Request(scope), 421, detail, kind="unknown-host")(scope, receive, send)
                return
        await self.app(scope, receive, send)


@lru_cache(_HOSTS)
def host_and_port(host: str, scheme: str = "http") -> tuple[str, int]:
    """Return the name in a ``Host`` header in lower case, and its port; an empty name if it is invalid."""
    try:
        parts = urlsplit(f"//{host}")
        port = parts.port
    except ValueError:
        return "", 0
    if parts.path or parts.query or parts.fragment or parts.username is not None:
        return "", 0
    return (parts.hostname or "").rstrip("."), port or _DEFAULT_PORTS.get(scheme, 0)


@lru_cache(_HOSTS)
def is_loopback_name(host: str) -> bool:
    """Return whether a name always means the machine that uses it."""
    return is_loopback(host) or host.endswith(".localhost")


def matches(host: str, names: Sequence[str]) -> bool:
    """Return whether a host is one of the names, or a subdomain of a name that starts with ``*.``."""
    return any(host.endswith(f".{_bare(name[2:])}") if name.startswith("*.") else host == _bare(name) for name in names)


def _bare(name: str) -> str:
    """Return a name in the form of :func:`host_and_port`."""
    return name.lower().rstrip(".").removeprefix("[").removesuffix("]")


def refuse_other_sites(request: Request, settings: Settings) -> None:
    """Refuse a request other than GET that a page of another site sent.

    Pages of an origin in ``FACTCENSUS_CORS_ORIGINS`` may send requests that need a CORS preflight, but no forms.

    Raises:
        Problem: ``forbidden``.
    """
    site, origin = header_of(request.scope, b"sec-fetch-site"), header_of(request.scope, b"origin")
    if site in (None, "same-origin", "none") and (origin is None or _is_own(origin, request, settings)):
        return
    may_script = "*" in settings.cors_origins or origin in settings.cors_origins
    if may_script and media_type_of(request.headers.get("content-type")) not in FORM_TYPES:
        return
    raise Problem("forbidden", "a page of another site sent this request; use the page of this service")


def is_unmarked(request: Request) -> bool:
    """Return whether a request has neither header, as from a script or an old browser."""
    return "origin" not in request.headers and "sec-fetch-site" not in request.headers


def form_token(request: Request) -> str:
    """Return the token of the service's forms for the key of the request."""
    holder = str(getattr(request.state, "holder", ""))
    secret: bytes = request.app.state.form_secret
    return hmac.new(secret, holder.encode(), hashlib.sha256).hexdigest()


def check_form_token(request: Request, given: object) -> None:
    """Refuse a form that has neither an origin header nor the token of the service's own forms.

    Raises:
        Problem: ``forbidden``.
    """
    if is_unmarked(request) and not hmac.compare_digest(str(given).encode(), form_token(request).encode()):
        raise Problem("forbidden", "this form is not from the page of this service; use that page, or facts:count")


def _is_own(origin: str, request: Request, settings: Settings) -> bool:
    parts = origin.partition("://")
    if not parts[1]:
        return False  # "null"
    host, port = host_and_port(parts[2], parts[0])
    own = host_and_port(request.headers.get("host", ""), parts[0])
    return bool(host) and ((host, port) == own or matches(host, settings.allowed_hosts or ()))
