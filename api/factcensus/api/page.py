"""The pages for people: the form at ``/``, and the reference at ``/docs``. Both work offline and without scripts."""

from __future__ import annotations

import json
import secrets
import shlex
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment, PackageLoader, select_autoescape
from starlette.concurrency import run_in_threadpool

from factcensus.api.bodies import By
from factcensus.api.dependencies import LimitsOf, ServiceOf
from factcensus.api.limits import check_entity
from factcensus.api.negotiation import preferred
from factcensus.api.problems import Problem
from factcensus.indexer import CountIndex, Entity
from factcensus.indexer.errors import InputError

router = APIRouter(tags=["pages"])
EXAMPLES = 3  # documents shown below the numbers

_templates = Environment(
    loader=PackageLoader("factcensus.api"), autoescape=select_autoescape(), trim_blocks=True, lstrip_blocks=True
)
_templates.filters["grouped"] = lambda number: f"{number:,}".replace(",", "\u202f")


@router.get("/", summary="A page to ask on; the list of index names for machines", response_class=HTMLResponse)
async def page(
    request: Request,
    service: ServiceOf,
    limits: LimitsOf,
    index: Annotated[str | None, Query(description="Name of an open index.")] = None,
    subject: Annotated[str, Query()] = "",
    subject_aliases: Annotated[str, Query(description="One a line.")] = "",
    object: Annotated[str, Query()] = "",
    object_aliases: Annotated[str, Query(description="One a line.")] = "",
    window: Annotated[str, Query(description="Tokens between the two mentions; empty: the whole document.")] = "",
) -> Response:
    """HTML where it is accepted, a JSON list of index names where it is not."""
    form = {
        "index": index,
        "subject": subject,
        "subject_aliases": subject_aliases,
        "object": object,
        "object_aliases": object_aliases,
        "window": window,
    }
    names = service.catalog.names
    match preferred(request.headers.get("accept"), ["text/html", "application/json"]):
        case "application/json":
            return JSONResponse(names)
        case None:
            raise Problem("not-acceptable", "this address answers as text/html or application/json")
    context: dict[str, Any] = {"names": names, "form": form}
    status = 200
    if index is not None:
        try:
            opened = service.catalog.get(index)
            subject_, object_ = _entity(subject, subject_aliases), _entity(object, object_aliases)
            check_entity(subject_, "the subject", limits)
            check_entity(object_, "the object", limits)
            context |= await run_in_threadpool(_result, opened, subject_, object_, _window(window))
            context["curl"] = _curl(str(request.base_url), opened.name, subject_, object_, _window(window))
        except (Problem, InputError) as error:
            status = error.status_code if isinstance(error, Problem) else 422
            context["error"] = error.detail if isinstance(error, Problem) else str(error)
    return _html("page.html", context, status)


@router.get("/docs", summary="This reference", response_class=HTMLResponse)
async def docs(request: Request) -> HTMLResponse:
    """The OpenAPI document as one page."""
    return _html("reference.html", {"document": request.app.openapi()}, 200)


def _result(index: CountIndex, subject: Entity, object_: Entity, window: int | None) -> dict[str, Any]:
    by_source: By = "source" if index.info()["sources"] else None  # an index of infini-gram's knows no sources
    answer = index.cooccurrence(subject, object_, window=window, by=by_source)
    found = index.find_documents(subject=subject, object=object_, window=window, limit=EXAMPLES)
    return {"answer": answer, "found": found}


def _entity(name: str, aliases: str) -> Entity:
    return Entity(name.strip(), tuple(alias.strip() for alias in aliases.splitlines() if alias.strip()))


def _window(text: str) -> int | None:
    """The window as typed; a form sends an empty one for none."""
    if not text.strip():
        return None
    if not (text.strip().isascii() and text.strip().isdecimal() and len(text.strip()) <= 9):
        raise Problem("invalid-request", "the window must be a whole number of tokens, or empty for whole documents")
    return int(text)


def _curl(base_url: str, index: str, subject: Entity, object_: Entity, window: int | None) -> str:
    """The same question for a terminal."""
    body: dict[str, Any] = {
        "subject": {"name": subject.name, "aliases": list(subject.aliases)},
        "object": {"name": object_.name, "aliases": list(object_.aliases)},
    }
    if window is not None:
        body["window"] = window
    address = f"{base_url}v1/indexes/{quote(index, safe='')}/cooccurrence"
    return f"curl {shlex.quote(address)} --json {shlex.quote(json.dumps(body | {'by': 'source'}, ensure_ascii=False))}"


def _html(template: str, context: dict[str, Any], status: int) -> HTMLResponse:
    # A page that shows corpus text runs no script and loads nothing, whatever the text holds.
    nonce = secrets.token_urlsafe(16)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    content = _templates.get_template(template).render(context | {"nonce": nonce})
    headers = {"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Vary": "Accept"}
    return HTMLResponse(content, status, headers=headers)
