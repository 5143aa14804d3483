"""Request bodies: compressed, slow, large and many at a time; a request takes a slot only once its body has arrived."""

from __future__ import annotations

import gzip
import json
import socket
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import httpx
import pytest
from loopback import serving, until
from test_service_problems import assert_problem

from factcensus.api.http.gzip_bodies import MOST_MEMBERS, PIECE_BYTES, Gunzip
from factcensus.api.http.problems import Problem
from factcensus.api.settings import Limits, Settings

COUNT, FACTS, DOCUMENTS = (f"/v1/indexes/tiny/{route}" for route in ("count", "facts:count", "documents"))
JSON = {"Content-Type": "application/json"}
GZIP = {**JSON, "Content-Encoding": "gzip"}
PARIS = json.dumps({"text": "Paris"}).encode()


def decoded(body: bytes, chunk: int = 65_536) -> bytes:
    """Decode a gzip body that arrives in chunks, and check that each piece is bounded."""
    gunzip, pieces = Gunzip(), list[bytes]()
    for start in range(0, len(body), chunk):
        gunzip.add(body[start : start + chunk])
        while piece := gunzip.piece():
            assert len(piece) <= PIECE_BYTES
            pieces.append(piece)
    gunzip.check_end()
    return b"".join(pieces)


@pytest.mark.parametrize("chunk", [1, 7, 65_536])
@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
def test_gzip_decoding_does_not_depend_on_the_pieces(size: int, chunk: int) -> None:
    text = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert decoded(gzip.compress(text), chunk) == text
    assert decoded(gzip.compress(text) + gzip.compress(b"more"), chunk) == text + b"more"


@pytest.mark.parametrize(
    "body",
    [b"", b"\x1f\x8b", gzip.compress(PARIS)[:-1], gzip.compress(PARIS) + b"x", b"no gzip", gzip.compress(b"") * 1001],
    ids=["empty", "header", "cut", "more behind", "no gzip", "many members"],
)
def test_invalid_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(Problem, match="gzip"):
        decoded(body)
    assert MOST_MEMBERS == 1000


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", "identity, gzip"])
@pytest.mark.parametrize("path", [COUNT, DOCUMENTS])
def test_compressed_json_is_read(http: httpx.Client, path: str, coding: str) -> None:
    plain = http.post(path, content=PARIS, headers=JSON)
    packed = http.post(path, content=gzip.compress(PARIS), headers={**JSON, "Content-Encoding": coding})
    assert packed.status_code == 200, packed.text
    assert packed.json() == plain.json()


def test_compressed_tables_and_forms_are_read(http: httpx.Client) -> None:
    table = b"subject,object\nCurie,Warsaw\n"
    headers = {"Content-Type": "text/csv", "Content-Encoding": "gzip"}
    answer = http.post(FACTS, content=gzip.compress(table), headers=headers)
    assert answer.text == http.post(FACTS, content=table, headers={"Content-Type": "text/csv"}).text
    form = http.build_request("POST", "/tables", data={"index": "tiny"}, files={"facts": ("facts.csv", table)})
    headers = {"Content-Type": form.headers["Content-Type"], "Content-Encoding": "gzip", "Origin": str(http.base_url)}
    assert http.post("/tables", content=gzip.compress(form.read()), headers=headers).status_code == 303
    wire = json.dumps({"index": "tiny", "query_type": "count", "query": "paris"}).encode()
    assert http.post("/", content=gzip.compress(wire), headers=GZIP).json()["count"] > 0


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "compress", "gzip, gzip", "gzip, br", "jpg"])
def test_an_unsupported_encoding_is_refused_with_the_supported_ones(http: httpx.Client, coding: str) -> None:
    for path in (COUNT, FACTS, "/tables", "/"):
        answer = http.post(path, content=zlib.compress(PARIS), headers={**JSON, "Content-Encoding": coding})
        problem = assert_problem(answer, 415, "unsupported-encoding")
        assert coding in problem["detail"]
        assert answer.headers["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize(
    "body",
    [PARIS, gzip.compress(PARIS)[:-4], gzip.compress(PARIS) + b"x"],
    ids=["not compressed", "cut off", "followed by other bytes"],
)
def test_a_body_that_is_falsely_declared_as_gzip_is_malformed(http: httpx.Client, body: bytes) -> None:
    assert "gzip" in assert_problem(http.post(COUNT, content=body, headers=GZIP), 400, "malformed-body")["detail"]


def test_a_gzip_bomb_is_refused_with_little_memory(index_folder: Path) -> None:
    most = 4_000_000
    bomb = gzip.compress(b" " * 400_000_000, 9)
    assert len(bomb) < most
    with serving(Settings(indexes=(index_folder,), limits=Limits(max_body_bytes=most))) as url:
        assert httpx.post(url + COUNT, content=gzip.compress(PARIS), headers=GZIP).status_code == 200
        tracemalloc.start()
        try:
            answer = httpx.post(url + COUNT, content=bomb, headers=GZIP, timeout=60)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        problem = assert_problem(answer, 413, "body-too-large")
    assert "FACTCENSUS_MAX_BODY_BYTES" in problem["detail"]
    assert peak < 3 * most


# --- slots, the budget, time ------------------------------------------------------------------------------------------


def connected(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def head(path: str, length: int, kind: str = "application/json") -> bytes:
    lines = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    return lines.encode()


def test_slow_bodies_take_no_slot(index_folder: Path) -> None:
    with (
        serving(Settings(indexes=(index_folder,), limits=Limits(max_parallel_requests=2))) as url,
        ExitStack() as slow,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        for _ in range(10):
            connection = slow.enter_context(connected(url))
            connection.sendall(head(COUNT, len(PARIS)) + PARIS[:5])
        until(lambda: "factcensus_http_requests_in_flight 11.0" in client.get("/metrics").text)
        for _ in range(5):
            assert client.post(COUNT, json={"text": "Paris"}).status_code == 200
        connection.sendall(PARIS[5:])
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_bodies_share_a_budget_and_one_address_gets_half(index_folder: Path) -> None:
    limits = Limits(max_bodies_bytes=400_000)
    body = b'{"text": "' + b" " * 190_000
    with (
        serving(Settings(indexes=(index_folder,), limits=limits)) as url,
        ExitStack() as slow,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        connection = slow.enter_context(connected(url))
        connection.sendall(head(COUNT, 1_000_000) + body)
        until(lambda: "factcensus_http_requests_in_flight 2.0" in client.get("/metrics").text)

        def refused() -> httpx.Response | None:
            answer = client.post(COUNT, content=body + b'"}', headers=JSON)
            return answer if answer.status_code == 503 else None

        problem = assert_problem(until(refused), 503, "overloaded")
        assert "FACTCENSUS_MAX_BODIES_BYTES" in problem["detail"]
        assert client.post(COUNT, json={"text": "Paris"}).status_code == 200  # small bodies are always accepted
        connection.close()
        until(lambda: client.post(COUNT, content=body + b'"}', headers=JSON).status_code == 422)


def test_a_slow_body_ends_at_the_total_timeout(index_folder: Path) -> None:
    with (
        serving(Settings(indexes=(index_folder,), limits=Limits(body_seconds=1))) as url,
        connected(url) as connection,
    ):
        began, answer = monotonic(), b""
        connection.sendall(head(COUNT, 1000))
        connection.settimeout(0.1)
        while not answer:
            connection.sendall(b" ")
            try:
                answer = connection.recv(4096)
            except TimeoutError:
                continue
        connection.settimeout(60)
        while piece := connection.recv(4096):  # the connection is closed after the response
            answer += piece
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"FACTCENSUS_BODY_SECONDS" in answer
        assert monotonic() - began >= 1


def chunks() -> Iterator[bytes]:
    yield gzip.compress(PARIS)


def test_a_compressed_body_without_a_length_is_read(http: httpx.Client) -> None:
    assert http.post(COUNT, content=chunks(), headers=GZIP).json()["documents"] == 3


def test_a_disconnect_during_the_body_is_not_an_internal_error(
    index_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(Settings(indexes=(index_folder,))) as url:
        for path in (COUNT, FACTS, "/", "/v1/admin/reload", "/tables"):
            with connected(url) as connection:
                connection.sendall(head(path, 100) + b"{")
        line = 'factcensus_http_requests_total{method="POST",route="%s",status="400"} 1.0'
        for path in ("/v1/indexes/{index}/count", "/v1/indexes/{index}/facts:count", "/", "/v1/admin/reload"):
            until(lambda path=path: line % path in httpx.get(f"{url}/metrics").text)  # type: ignore[misc]
        assert 'status="500"' not in httpx.get(f"{url}/metrics").text
    assert "failed" not in caplog.text
