"""Hostile and invalid input always gets a problem, never an internal error, and does not affect other requests.

Most valid and invalid requests are generated from the OpenAPI document; further cases are listed by hand.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from loopback import serving
from schemathesis import Case, openapi
from test_facts_route import ARROW, arrow_of, parquet_of
from test_service_problems import assert_problem

from factcensus.api.app import create_app
from factcensus.api.settings import Settings

COOC, FACTS = "/v1/indexes/tiny/cooccurrence", "/v1/indexes/tiny/facts:count"
JSON = {"Content-Type": "application/json"}
#: The route whose wire format has other errors.
OWN_ERRORS = {("POST", "/")}
QUICK, LONG = 12, 300


@pytest.fixture(scope="module")
def served(index_folder: Path) -> Iterator[str]:
    """Start a service for these tests only."""
    with serving(Settings(indexes=(index_folder,))) as url:
        yield url


def operations() -> list[tuple[str, str]]:
    """Return method and path of every operation of the document."""
    paths = create_app(Settings()).openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def check(case: Case, url: str) -> None:
    """Send a request and check that the status is documented and errors are problems."""
    if "index" in case.path_parameters and len(f"{case.query}{case.body}") % 8:
        case.path_parameters["index"] = "tiny"  # usually an existing index
    answer = case.call(base_url=url, timeout=60)
    assert answer.status_code < 500, (case.method, case.path, answer.status_code, answer.text[:500])
    kind = answer.headers["content-type"][0] if "content-type" in answer.headers else ""
    if answer.status_code >= 400 and (case.method, case.path) not in OWN_ERRORS and "text/html" not in kind:
        assert kind == "application/problem+json", answer.text
        assert "Traceback" not in answer.text
        assert json.loads(answer.content)["status"] == answer.status_code


def explore(method: str, path: str, url: str, examples: int) -> None:
    """Send many requests to an operation, and then a simple one."""
    schema = openapi.from_url(f"{url}/openapi.json")
    strategy = schema[path][method].as_strategy()

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples == QUICK,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def ask(case: Case) -> None:
        check(case, url)

    ask()
    answer = httpx.post(f"{url}{COOC}", json={"subject": {"name": "Curie"}, "object": {"name": "Warsaw"}}, timeout=60)
    assert answer.json()["cooccurrence"] == {"documents": 3, "pairs": 7}


@pytest.mark.parametrize(("method", "path"), operations())
def test_generated_requests_never_cause_an_internal_error(served: str, method: str, path: str) -> None:
    explore(method, path, served, QUICK)


@pytest.mark.full
@pytest.mark.parametrize(("method", "path"), operations())
def test_many_generated_requests_never_cause_an_internal_error(served: str, method: str, path: str) -> None:
    explore(method, path, served, LONG)


@pytest.mark.parametrize(
    ("path", "body", "status", "kind"),
    [
        (COOC, {"subject": {"name": "x" * 10_000_000}, "object": {"name": "a"}}, 422, "limit-exceeded"),
        (COOC, {"subject": {"name": "a", "aliases": ["b"] * 100_000}, "object": {"name": "a"}}, 422, "limit-exceeded"),
        (COOC, {"subject": {"name": "..."}, "object": {"name": "a"}}, 422, "empty-query"),
        (COOC, {"subject": {"name": "a\0b"}, "object": {"name": "\ud800"}}, 422, "invalid-request"),
        (FACTS, {"facts": [{"subject": "x" * 10_000_000, "object": "a"}]}, 422, "limit-exceeded"),
        (
            FACTS,
            {"facts": [{"subject": "a", "object": "b", "object_aliases": ["c"] * 100_000}]},
            422,
            "limit-exceeded",
        ),
        (FACTS, {"facts": [{"subject": "a", "object": "!!!"}]}, 422, "empty-query"),
        (FACTS, {"facts": [{"subject": "a", "object": "b", "subject_aliases": [["c"]]}]}, 422, "invalid-input"),
        (FACTS, {"facts": [{"subject": "a", "object": "b"}], "windows": [0] * 1000}, 422, "limit-exceeded"),
        ("/v1/indexes/tiny/documents", {"text": "x" * 10_000_000}, 422, "limit-exceeded"),
        ("/v1/indexes/..%2f..%2fetc%2fpasswd/count", {"text": "a"}, 404, None),
        ("/v1/indexes/%2e%2e/count", {"text": "a"}, 404, "unknown-index"),
        ("/v1/indexes/tiny%00/count", {"text": "a"}, 404, "unknown-index"),
    ],
)
def test_excessive_sizes_and_names_are_problems(
    served: str, path: str, body: dict[str, Any], status: int, kind: str | None
) -> None:
    assert_problem(httpx.post(served + path, content=json.dumps(body), headers=JSON, timeout=60), status, kind)


@pytest.mark.parametrize("job", ["..", "%2e%2e%2fjobs.duckdb", "a' OR 1=1 --", "%00", "x" * 5000])
def test_job_ids_are_only_looked_up(served: str, job: str) -> None:
    answer = httpx.get(httpx.URL(f"{served}/v1/jobs/").join(httpx.URL(path="/v1/jobs/" + job)), timeout=60)
    assert answer.status_code in (404, 405)
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_tables_with_false_metadata_are_problems(served: str) -> None:
    names = pa.array(["Paris", "Curie"])
    broken = pa.StringArray.from_buffers(1, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe"))
    twice = pa.Table.from_arrays([names, names, names], ["subject", "object", "object"])
    for table, status, kind in (
        (pa.table({"subject": broken, "object": ["a"]}), 400, "malformed-body"),
        (twice, 422, "invalid-input"),
        (pa.table({"subject": ["a"], "object": ["b"], "object_aliases": [7]}), 422, "invalid-input"),
    ):
        answer = httpx.post(served + FACTS, content=arrow_of(table), headers={"Content-Type": ARROW}, timeout=60)
        assert_problem(answer, status, kind)


@pytest.mark.parametrize("places", [20, pytest.param(None, marks=pytest.mark.full)], ids=["a sample", "every byte"])
def test_corrupted_bytes_never_end_the_process(served: str, places: int | None) -> None:
    table = pa.table({"subject": ["Paris", "Curie"] * 3, "object": ["Warsaw", "France"] * 3, "n": range(6)})
    with httpx.Client(base_url=served, timeout=60) as client:
        for media_type, body in ((ARROW, arrow_of(table)), ("application/vnd.apache.parquet", parquet_of(table))):
            for place in range(0, len(body), max(1, len(body) // (places or len(body)))):
                for changed in (0xFF,) if places else (0xFF, 0x01, 0x80, body[place]):
                    damaged = bytearray(body)
                    damaged[place] ^= changed
                    answer = client.post(FACTS, content=bytes(damaged), headers={"Content-Type": media_type})
                    assert answer.status_code in (200, 400, 406, 422), (place, changed, answer.text)
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/indexes/tiny/count?text=%FF%FE HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
)
def test_invalid_http_does_not_affect_others(served: str, sent: bytes) -> None:
    host, port = served.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(sent)
        answer = connection.recv(4096)
    assert b"Traceback" not in answer
    assert not answer.startswith(b"HTTP/1.1 5")
    assert httpx.get(f"{served}/healthz").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Type: text/csv", "Content-Type: application/json", "Content-Length: 13"],
        ["Content-Type: application/json", "Content-Length: 13", "Transfer-Encoding: chunked"],
        ["Content-Type: application/json", "Content-Length: 13", "Content-Length: 14"],
        ["Content-Type: application/json", "Content-Length: 13", "Host: elsewhere.example"],
        ["Content-Type: application/json", "Content-Length: 13", "X-API-Key: a", "X-API-Key: b"],
    ],
)
def test_ambiguous_headers_are_refused(served: str, headers: list[str]) -> None:
    """A proxy in front of the service could read them in another way."""
    host, port = served.removeprefix("http://").split(":")
    lines = ["POST /v1/indexes/tiny/count HTTP/1.1", f"Host: {host}", *headers, "", ""]
    body = b'{"text": "a"}'
    if "Transfer-Encoding: chunked" in headers:
        body = b"d\r\n" + body + b"\r\n0\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall("\r\n".join(lines).encode() + body)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1


def test_others_are_answered_during_hostile_requests(served: str) -> None:
    """Counts stay correct, and health and metrics respond, during hostile requests."""
    over = threading.Event()
    failures: list[int] = []

    def attack() -> None:
        with httpx.Client(base_url=served, timeout=60) as client:
            while not over.is_set():
                bodies = (b"[" * 10_000, b'{"subject": {"name": "' + b"x" * 100_000 + b'"}}', b"\xff\xfe", b"{}")
                for path in (COOC, FACTS, "/"):
                    for body in bodies:
                        status = client.post(path, content=body, headers=JSON).status_code
                        if status >= 500:
                            failures.append(status)

    threads = [threading.Thread(target=attack) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        with httpx.Client(base_url=served, timeout=60) as client:
            for _ in range(10):
                counted = client.post(COOC, json={"subject": {"name": "Curie"}, "object": {"name": "Warsaw"}}).json()
                assert counted["cooccurrence"] == {"documents": 3, "pairs": 7}
                assert client.get("/healthz").status_code == client.get("/metrics").status_code == 200
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []
