"""Errors for people: the same problems as for programs, as a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from factcensus.api.pages.rendering import html


def page_of(request: Request, problem: Mapping[str, Any]) -> HTMLResponse:
    """Return the error page for a problem."""
    return html(request, "problem.html", {"problem": problem}, int(problem["status"]))
