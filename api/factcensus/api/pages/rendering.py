"""Templates, and the headers that keep a page which shows corpus text from doing anything with it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, select_autoescape

_templates = Environment(
    loader=PackageLoader("factcensus.api"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
)


def grouped(number: float | None) -> str:
    """A count with commas between its thousands."""
    return "–" if number is None else f"{number:,}"


def web_address(value: object) -> str | None:
    """A value that is the address of a web page; nothing else becomes a link, ``javascript:`` least of all."""
    return value if isinstance(value, str) and value.startswith(("https://", "http://")) else None


def moment(seconds: float) -> str:
    """A time as seconds since 1970, to be read."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


_templates.filters |= {"grouped": grouped, "moment": moment, "web_address": web_address}


def html(request: Request, template: str, context: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    """A template as an answer; ``context`` is shown as text, whatever characters it has.

    The page's own style and script carry a nonce, so nothing that stands in a corpus can become either; nothing is
    loaded from elsewhere, no other page may frame it, and its forms go to this service alone.
    """
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    root = "../" * (request.url.path.count("/") - 1) or "./"
    content = _templates.get_template(template).render({**context, "nonce": nonce, "root": root})
    headers = {
        "Content-Security-Policy": policy,
        "Referrer-Policy": "same-origin",  # with no-referrer, browsers hide the origin of the page's own forms
        "Cross-Origin-Opener-Policy": "same-origin",
        "Vary": "Accept",
    }
    return HTMLResponse(content, status, headers=headers)
