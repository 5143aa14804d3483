"""Every error response is a problem (RFC 9457) with a suitable status, and the service keeps running."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factcensus.api.app import create_app
from factcensus.api.http.problems import KINDS
from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex
from factcensus.indexer.errors import IndexFormatError

COUNT, COOC = "/v1/indexes/tiny/count", "/v1/indexes/tiny/cooccurrence"
JSON = {"Content-Type": "application/json"}
PAIR: dict[str, Any] = {"subject": {"name": "Curie"}, "object": {"name": "Warsaw"}}


def assert_problem(answer: httpx.Response, status: int, kind: str | None) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["type"] == (f"urn:factcensus:problem:{kind}" if kind else "about:blank")
    assert problem["title"]
    assert problem["detail"]
    assert problem["instance"] == answer.request.url.raw_path.decode().partition("?")[0]
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert "Traceback" not in answer.text
    if kind:
        assert (problem["status"], problem["title"]) == KINDS[kind]
    return problem


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/nowhere", 404, None),
        ("GET", "/v1/indexes/", 404, None),
        ("GET", "/v1/indexes/tiny/", 404, None),
        ("GET", "/v1/indexes/tiny/facts:sum", 404, None),
        ("GET", "/v1/indexes/absent", 404, "unknown-index"),
        ("GET", "/v1/indexes/absent/count?text=a", 404, "unknown-index"),
        ("GET", "/v1/indexes/absent/count", 404, "unknown-index"),
        ("GET", "/v1/indexes/TINY", 404, "unknown-index"),
        ("GET", "/v1/indexes/tiny%00", 404, "unknown-index"),
        ("GET", "/v1/indexes/..%2Ftiny", 404, None),
        ("GET", "/v1/indexes/%2e%2e/count?text=a", 404, "unknown-index"),
        ("GET", "/v1/indexes/%2Fetc%2Fpasswd", 404, None),
        ("GET", "/v1/indexes/..%5Ctiny", 404, "unknown-index"),
        ("GET", "/v1/indexes/%FF%FE", 404, "unknown-index"),
        ("GET", "/v1/indexes/" + "x" * 5000, 404, "unknown-index"),
        ("GET", "/v1/indexes/%3Cscript%3E", 404, "unknown-index"),
        ("PUT", COUNT, 405, None),
        ("DELETE", "/v1/indexes/tiny", 405, None),
        ("PUT", COOC, 405, None),
        ("GET", COOC, 422, "invalid-request"),
        ("GET", COOC + "?subject=a&object=b&filter=source", 422, "invalid-input"),
        ("GET", COOC + "?subject=a&object=b&filter=%5B%5D", 422, "invalid-input"),
        ("GET", COOC + "?subject=a&object=%FF", 422, "invalid-request"),
        ("GET", COOC + "?subject=a&object=b&window=x", 422, "invalid-request"),
        ("PUT", "/", 405, None),
        ("OPTIONS", "/healthz", 405, None),
        ("GET", COUNT, 422, "invalid-request"),
        ("GET", COUNT + "?text=", 422, "empty-query"),
        ("GET", COUNT + "?text=...", 422, "empty-query"),
        ("GET", COUNT + "?text=%00", 422, "empty-query"),
        ("GET", COUNT + "?text=%FF", 422, "invalid-request"),
        ("GET", COUNT + "?text=%ED%A0%80", 422, "invalid-request"),
        ("GET", COUNT + "?text=a&by=shard", 422, "unknown-name"),
        ("GET", COUNT + "?text=" + "a" * 1001, 422, "limit-exceeded"),
    ],
)
def test_invalid_urls_get_problems(
    limited: httpx.Client, method: str, path: str, status: int, kind: str | None
) -> None:
    problem = assert_problem(limited.request(method, path), status, kind)
    assert len(problem["detail"]) < 1000
    if status == 405:
        assert "allowed: " in problem["detail"]


def test_method_not_allowed_lists_all_methods_of_the_path(http: httpx.Client) -> None:
    assert http.put(COUNT).headers["Allow"] == "GET, HEAD, POST"
    assert http.put(COOC).headers["Allow"] == "GET, HEAD, POST"


@pytest.mark.parametrize(
    ("body", "status", "kind", "pointer"),
    [
        (b"", 422, "invalid-request", "#"),
        (b"{", 400, "malformed-body", None),
        (b'{"text": "a"} x', 400, "malformed-body", None),
        (b"\xff\xfe{", 400, "malformed-body", None),
        (b"[" * 9000, 400, "malformed-body", None),
        (b'{"text": ' + b"9" * 5000 + b"}", 400, "malformed-body", None),
        (b"null", 422, "invalid-request", "#"),
        (b"[]", 422, "invalid-request", "#"),
        (b'"text"', 422, "invalid-request", "#"),
        (b"{}", 422, "invalid-request", "#/text"),
        (b'{"text": null}', 422, "invalid-request", "#/text"),
        (b'{"text": 7}', 422, "invalid-request", "#/text"),
        (b'{"text": NaN}', 422, "invalid-request", "#/text"),
        (b'{"text": ["a"]}', 422, "invalid-request", "#/text"),
        (b'{"text": "\\ud800"}', 422, "invalid-request", "#/text"),
        (b'{"text": "Paris \\udfff Paris"}', 422, "invalid-request", "#/text"),
        (b'{"text": "a", "by": "shard"}', 422, "unknown-name", None),
        (b'{"text": "a", "by": 1}', 422, "invalid-request", "#/by"),
        (b'{"text": "a", "by": "."}', 422, "unknown-name", None),
        (b'{"text": "a", "by": "\\u0000"}', 422, "unknown-name", None),
        (b'{"text": "a", "by": "\\ud800"}', 422, "invalid-request", "#/by"),
        (b'{"text": "a", "filter": {"source": []}}', 422, "invalid-request", None),
        (b'{"text": "a", "filter": {"source": {"like": "w%"}}}', 422, "invalid-request", None),
        (b'{"text": "a", "filter": {"source": {"min": 2, "max": 1}}}', 422, "invalid-input", None),
        (b'{"text": "a", "filter": {"source": {}}}', 422, "invalid-input", None),
        (b'{"text": "a", "filter": {"": "x"}}', 422, "unknown-name", None),
        (b'{"text": "a", "filter": {"source": "\\u0000"}}', 422, "invalid-input", None),
        (b'{"text": "a", "filter": {"source": "\\ud800"}}', 422, "invalid-request", None),
        (b'{"text": "a", "filter": "source = 1"}', 422, "invalid-request", "#/filter"),
        (b'{"text": "a", "a/b~c": 1}', 422, "invalid-request", "#/a~1b~0c"),
        (b'{"text": "\\u0000"}', 422, "empty-query", None),
        (b'{"text": ""}', 422, "empty-query", None),
        (b'{"text": "' + b"a" * 1001 + b'"}', 422, "limit-exceeded", None),
        (b'{"text": "' + b"a" * 20_001 + b'"}', 413, "body-too-large", None),
    ],
)
def test_invalid_bodies_get_problems(
    limited: httpx.Client, body: bytes, status: int, kind: str, pointer: str | None
) -> None:
    problem = assert_problem(limited.post(COUNT, content=body, headers=JSON), status, kind)
    if pointer is not None:
        assert problem["errors"][0]["pointer"] == pointer


def test_a_half_surrogate_in_a_field_name_is_refused(http: httpx.Client) -> None:
    answer = http.post(COUNT, content=b'{"text": "a", "\\ud800": 1}', headers=JSON)
    assert_problem(answer, 422, "invalid-request")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"subject": None}, "invalid-request"),
        ({"subject": "Curie"}, "invalid-request"),
        ({"subject": {}}, "invalid-request"),
        ({"subject": {"name": ""}}, "invalid-input"),
        ({"subject": {"name": " \t"}}, "invalid-input"),
        ({"subject": {"name": "..."}}, "empty-query"),
        ({"subject": {"name": "\x00"}}, "empty-query"),
        ({"subject": {"name": "Curie", "aliases": "Marie"}}, "invalid-request"),
        ({"subject": {"name": "Curie", "aliases": [None]}}, "invalid-request"),
        ({"subject": {"name": "Curie", "aliases": ["\ud800"]}}, "invalid-request"),
        ({"subject": {"name": "Curie", "alias": ["Marie"]}}, "invalid-request"),
        ({"subject": {"name": "Curie", "aliases": ["a"] * 6}}, "limit-exceeded"),
        ({"object": {"name": "a" * 1001}}, "limit-exceeded"),
        ({"object": {"name": "a", "aliases": ["a" * 1001]}}, "limit-exceeded"),
        ({"window": -1}, "invalid-request"),
        ({"window": 2**31}, "invalid-request"),
        ({"window": 10**30}, "invalid-request"),
        ({"window": 1.5}, "invalid-request"),
        ({"window": "1"}, "invalid-request"),
        ({"window": True}, "invalid-request"),
        ({"by": "document"}, "unknown-name"),
        ({"windows": [1]}, "invalid-request"),
    ],
)
def test_invalid_pairs_get_problems(limited: httpx.Client, change: dict[str, Any], kind: str) -> None:
    # json= cannot send half of a surrogate pair, so json.dumps is used
    assert_problem(limited.post(COOC, content=json.dumps({**PAIR, **change}), headers=JSON), 422, kind)


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", ";"]
)
def test_a_body_not_declared_as_json_is_refused(http: httpx.Client, content_type: str) -> None:
    answer = http.post(COUNT, content=b'{"text": "a"}', headers={"Content-Type": content_type})
    assert_problem(answer, 415, "unsupported-format")


def test_json_with_a_charset_is_json(http: httpx.Client) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert http.post(COUNT, content=b'{"text": "a"}', headers=headers).status_code == 200


def test_a_body_without_content_length_is_limited(limited: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"text": "'
        for _ in range(30):
            yield b"a" * 1000

    for path, variable in (
        (COUNT, "FACTCENSUS_MAX_BODY_BYTES"),
        ("/v1/indexes/tiny/facts:count", "FACTCENSUS_MAX_JOB_BODY_BYTES"),
    ):
        problem = assert_problem(limited.post(path, content=pieces(), headers=JSON), 413, "body-too-large")
        assert variable in problem["detail"]
    assert limited.get("/healthz").status_code == 200


@pytest.mark.parametrize("failure", [ValueError("/secret/path"), IndexFormatError("/secret/path is damaged")])
def test_an_internal_error_shows_only_its_request_id(
    index_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise failure

    async def ask() -> httpx.Response:
        app = create_app(Settings(indexes=(index_folder,)))
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            return await client.get(COUNT, params={"text": "a"}, headers={"X-Request-ID": "id-of-this-one"})

    monkeypatch.setattr(CountIndex, "count", fail)
    with caplog.at_level(logging.ERROR, "factcensus.api"):
        answer = asyncio.run(ask())
    problem = assert_problem(answer, 500, "internal-error")
    assert "secret" not in answer.text
    assert "id-of-this-one" in problem["detail"]
    assert "id-of-this-one" in caplog.text
    assert "/secret/path" in caplog.text


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("a\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.just("name"), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("text", "subject", "object", "window", "by", "facts", "windows", "limit", "cursor", "filter")
bodies = any_json | st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, any_json))


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(body=bodies, route=st.sampled_from(["count", "cooccurrence", "facts:count", "documents"]))
def test_arbitrary_json_never_causes_an_internal_error(http: httpx.Client, body: Any, route: str) -> None:
    answer = http.post(f"/v1/indexes/tiny/{route}", content=json.dumps(body), headers=JSON)
    assert answer.status_code in (200, 400, 422), answer.text
    if answer.status_code != 200:
        assert answer.headers["Content-Type"] == "application/problem+json"
