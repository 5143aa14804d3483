"""Errors are pages for browsers and problems for programs; completions of names over HTTP."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from loopback import serving
from test_page import HTML, Reader

from factcensus.api.client import Client
from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex, build_index


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/nothing", 404, "This page does not exist"),
        ("/a/b/c", 404, "This page does not exist"),
        ("/v1/indexes/absent", 404, "no index is named"),
        ("/v1/indexes/tiny/trace", 405, "GET is not allowed here"),
        ("/?winodw=3", 422, "did you mean &#39;window&#39;?"),
        ("/<script>alert(1)</script>", 404, "%3Cscript%3E"),
    ],
)
def test_browsers_get_a_page_and_programs_a_problem(http: httpx.Client, path: str, status: int, says: str) -> None:
    page = http.get(path, headers=HTML)
    assert (page.status_code, page.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert says in page.text
    assert "Accept" in page.headers["Vary"]
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    links = [str(tag["href"]) for tag in Reader(page.text).named("a") if str(tag.get("href")).startswith(".")]
    assert {http.get(str(page.url.join(link)), headers=HTML).status_code for link in links} == {200}
    for accept in ("*/*", "application/json", "application/problem+json", "application/json, text/html;q=0.9"):
        problem = http.get(path, headers={"Accept": accept})
        assert (problem.status_code, problem.headers["Content-Type"]) == (status, "application/problem+json")
        assert problem.json()["status"] == status


def test_an_error_of_a_layer_before_the_routes_is_a_page_too(index_folder: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(f"alice {'0' * 64}\n")
    with serving(Settings(indexes=(index_folder,), keys_file=keys)) as url:
        page = httpx.get(url, headers=HTML)
        assert (page.status_code, page.headers["Content-Type"]) == (401, "text/html; charset=utf-8")
        assert "Basic" in page.headers["WWW-Authenticate"]
        assert httpx.get(url).json()["type"] == "urn:factcensus:problem:unauthorized"


def test_completions_equal_those_of_the_index(http: httpx.Client, url: str, index: CountIndex) -> None:
    for text in ("Marie C", "war", "p", "x", ""):
        answer = http.get("/v1/indexes/tiny/complete", params={"text": text, "limit": 3})
        assert answer.json() == index.complete(text, limit=3).as_json()
        with Client(url) as client:
            assert client.complete("tiny", text, limit=3) == index.complete(text, limit=3)


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ({}, 422, "text"),
        ({"text": "a", "limit": "0"}, 422, "limit"),
        ({"text": "a", "limit": "51"}, 422, "limit"),
        ({"text": "a", "limit": "1_0"}, 422, "limit"),
        ({"text": "a" * 10_001}, 422, "FACTCENSUS_MAX_TEXT_CHARS"),
        ({"text": "a", "prefix": "b"}, 422, "unknown query parameter"),
    ],
)
def test_invalid_completions_are_refused(http: httpx.Client, query: dict[str, str], status: int, says: str) -> None:
    answer = http.get("/v1/indexes/tiny/complete", params=query)
    assert answer.status_code == status
    assert says in answer.text


def test_an_index_without_words_has_no_completions(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"text": "Marie Curie"}\n')
    build_index([tmp_path / "c.jsonl"], tmp_path / "ix", analyzer="bytes", jobs=1)
    with serving(Settings(indexes=(tmp_path / "ix",))) as url:
        answer = httpx.get(f"{url}/v1/indexes/ix/complete", params={"text": "Mar"})
        assert answer.status_code == 422
        assert "no list of words" in answer.json()["detail"]
