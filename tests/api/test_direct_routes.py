"""Routes are called directly, with the responses that the framework's own way to call them gives."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Body, Depends, Form, Header, Request, Response
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute, request_response
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from loopback import serving
from starlette.routing import BaseRoute

from factcensus.api.app import create_app
from factcensus.api.dependencies import OpenIndex, new_router
from factcensus.api.http.routes import DirectRoute
from factcensus.api.settings import Limits, Settings

ROUTES = ("count", "cooccurrence", "documents", "trace")
ENTITY = {"name": "Marie Curie", "aliases": ["Curie"]}
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "text": st.sampled_from(["Paris", "", " ", "Marie Curie", "C++", "\ud800", "x" * 50]),
    "verbatim": st.booleans(),
    "by": st.sampled_from(["source", "sorce"]),
    "filter": st.sampled_from(
        [{"source": "wiki"}, {"source": ["wiki", None]}, {"year": {"min": 1}}, {"a": {"mim": 1}}]
    ),
    "subject": st.sampled_from([ENTITY, {"name": ""}, {"name": "Paris", "alias": []}, {"aliases": ["x"] * 9}]),
    "object": st.sampled_from([{"name": "Warsaw"}, {"name": "Warsaw", "aliases": [1, None]}]),
    "window": st.sampled_from([None, 0, 3, -1, 2**31, "3", 3.0]),
    "limit": st.integers(-1, 30),
    "unknown": st.just(1),
}
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
#: Mostly complete questions, with some fields missing, unknown or of another type.
QUESTIONS = st.fixed_dictionaries({}, optional=FIELDS) | st.builds(
    lambda known, name, value: {**known, name: value},
    st.fixed_dictionaries({}, optional=FIELDS),
    st.sampled_from(sorted(FIELDS)),
    JSON,
)
BODIES = (QUESTIONS | JSON).map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20)
TYPES = ["application/json", "Application/JSON; charset=utf-8", "application/json;", "text/csv", "", None]


def by_framework(route: BaseRoute) -> BaseRoute:
    """Return a copy of a route that the framework calls in its own way, after the same checks."""
    assert isinstance(route, DirectRoute)
    handle = APIRoute.get_route_handler(route)

    async def answer(request: Request) -> Response:
        await route.read(request)
        return await handle(request)

    same = copy(route)  # all services of a process have the same routes
    same.app = AsyncExitStackMiddleware(request_response(answer))
    return same


@pytest.fixture(scope="module")
def services(index_folder: Path) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Start the service as it is, and with the framework's way to call routes."""
    about = Settings(indexes=(index_folder,), limits=Limits(max_text_chars=40, max_aliases=5, max_documents=20))
    app = create_app(about)
    app.router.routes = list(map(by_framework, app.routes))
    with (
        serving(about) as url,
        serving(app) as other_url,
        httpx.Client(base_url=url) as client,
        httpx.Client(base_url=other_url) as other,
    ):
        yield client, other


def said(client: httpx.Client, request: Callable[[httpx.Client], httpx.Response]) -> tuple[Any, ...]:
    response = request(client)
    headers = [each for each in response.headers.raw if each[0].lower() not in (b"date", b"server")]
    return response.status_code, headers, response.content


def test_only_the_framework_takes_the_last_of_repeated_fields(services: tuple[httpx.Client, httpx.Client]) -> None:
    """It is the one difference, and shows that the services call their routes in different ways."""
    ask = {"content": b'{"text": "Paris", "text": "Curie"}', "headers": {"Content-Type": TYPES[0]}}
    assert [client.post("/v1/indexes/tiny/count", **ask).status_code for client in services] == [422, 200]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(ROUTES), st.sampled_from(["tiny", "nope"]), BODIES, st.sampled_from(TYPES))
@example("count", "tiny", b'{"text": "Paris"}', TYPES[0])
@example("count", "tiny", '{"text": "Paris"}'.encode("utf-16"), TYPES[0])
@example("cooccurrence", "tiny", json.dumps({"subject": ENTITY, "object": {"name": "Warsaw"}}).encode(), TYPES[0])
@example("cooccurrence", "nope", b"", TYPES[0])
@example("count", "tiny", b"", TYPES[0])
@example("count", "tiny", b'{"text": "a\xff"}', TYPES[0])
@example("count", "tiny", b"[" * 100_000, TYPES[0])
@example("count", "tiny", b'{"text": ' + b"1" * 5000 + b"}", TYPES[0])
@example("trace", "nope", b"{}", TYPES[0])
def test_a_body_gives_the_same_response(
    services: tuple[httpx.Client, httpx.Client], route: str, index: str, body: bytes, media_type: str | None
) -> None:
    headers = {"X-Request-ID": "same"} | ({} if media_type is None else {"Content-Type": media_type})
    ask = lambda client: client.post(f"/v1/indexes/{index}/{route}", content=body, headers=headers)  # noqa: E731
    direct, framework = (said(client, ask) for client in services)
    assert direct == framework


@pytest.mark.parametrize(
    "path",
    [
        *(f"/v1/indexes/tiny/{rest}" for rest in ("", "count?text=Paris", "count", "count?text=a&verbatim=maybe")),
        "/v1/indexes/tiny/cooccurrence?subject=Curie&object=Paris&subject_alias=Marie&subject_alias=x&window=2",
        "/v1/indexes/tiny/cooccurrence?subject=Curie&window=x",
        "/v1/indexes/tiny/complete?text=Par&limit=0",
        "/v1/indexes/nope/complete?limit=x",
        *(
            "/v1/indexes",
            "/v1/jobs",
            "/v1/jobs/x",
            "/v1/jobs/x/result?format=x",
            "/healthz",
            "/version",
            "/trace?x=1",
            "/?x=1",
        ),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "BREW"])
def test_an_url_gives_the_same_response(services: tuple[httpx.Client, httpx.Client], method: str, path: str) -> None:
    ask = lambda client: client.request(method, path, headers={"X-Request-ID": "same"})  # noqa: E731
    direct, framework = (said(client, ask) for client in services)
    assert direct == framework


def not_a_coroutine() -> Response:  # pragma: no cover  # never called
    return Response()


async def optional_body(body: Annotated[dict[str, int] | None, Body()] = None) -> Response:
    return Response(str(body))


async def header(x_name: Annotated[str, Header()]) -> Response:
    return Response(x_name)


async def form(name: Annotated[str, Form()]) -> Response:
    return Response(name)


async def no_response(index: OpenIndex) -> str:
    return index.name


async def inner_header(found: Annotated[Any, Depends(header)]) -> Response:
    return Response(found)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (not_a_coroutine, "is not a coroutine function"),
        (optional_body, "one required JSON body"),
        (header, "cannot have header_params"),
        (inner_header, "cannot have header_params"),
        (form, "one required JSON body"),
        (no_response, "must return a response"),
    ],
)
def test_a_route_that_needs_more_is_refused_at_the_start(
    function: Callable[..., Awaitable[Response]], reason: str
) -> None:
    with pytest.raises(TypeError, match=reason):
        new_router("test").post("/test")(function)
