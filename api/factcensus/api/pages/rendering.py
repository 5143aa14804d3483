"""Template rendering, and security headers for pages that show corpus text."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import ChoiceLoader, Environment, PackageLoader, select_autoescape
from markupsafe import Markup, escape

from factcensus.api.http.problems import KINDS, Problem, kind_of
from factcensus.indexer.answers.documents import title_of
from factcensus.indexer.errors import FactcensusError
from factcensus.indexer.numbers import counted
from factcensus.indexer.system.display import isolated

_CODE = re.compile(r"`+([^`]+)`+")
_templates = Environment(
    loader=ChoiceLoader([PackageLoader("factcensus.api"), PackageLoader("factcensus.indexer")]),
    autoescape=select_autoescape(),
    trim_blocks=True,
    lstrip_blocks=True,
)


def grouped(number: float | None) -> str:
    """Format a count with thousands separators."""
    return "–" if number is None else f"{number:,}"


def web_address(value: object) -> str | None:
    """Return a value if it is an http or https URL; nothing else, such as ``javascript:``, becomes a link."""
    return value if isinstance(value, str) and value.startswith(("https://", "http://")) else None


def with_code(text: str | None) -> Markup:
    """Return a text with its parts in backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text or ""))))


def isolated_name(text: str) -> str | Markup:
    """Return a name as an element of its own if it has letters written from right to left.

    They would change the order of the numbers and signs next to them.
    """
    return Markup(f"<bdi>{escape(text)}</bdi>") if isolated(text) != text else text


def moment(seconds: float) -> str:
    """Format a time, given in seconds since 1970, for readers."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


_templates.filters |= {
    "counted": counted,
    "grouped": grouped,
    "isolated": isolated_name,
    "moment": moment,
    "with_code": with_code,
    "web_address": web_address,
    "title_of": title_of,
}


def said(error: Problem | FactcensusError) -> tuple[int, str]:
    """Return the status of an error, and its message for the page.

    Raises:
        FactcensusError: It is an internal error, which the error handler reports.
    """
    if isinstance(error, Problem):
        return error.status_code, error.detail
    kind = kind_of(error)
    if kind == "internal-error":
        raise error
    return KINDS[kind][0], str(error)


def html(request: Request, template: str, context: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    """Render a template as a response; all values of ``context`` are escaped.

    Only the page's own style and script have the nonce, so corpus text cannot become either. The page loads nothing
    from other hosts, cannot be framed, and sends its forms only to this service.
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
