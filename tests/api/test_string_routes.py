"""Exact strings, numbers and patterns over HTTP and with the client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from loopback import serving
from toys import build

from factcensus.api.client import Client
from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex

MAIL = "jane.doe@example.org"
TEXTS = [f"Mail {MAIL}.", f"{MAIL}.uk", f"“{MAIL}”, +49 (0)30 901820", "JANE.DOE (at) EXAMPLE.ORG, 030/901820"]
TEXTS += ["jane&#46;doe%40example.org or T030901820", "Fax:030&nbsp;901820", "jane.doe%40example.org%2Euk, RB030901820"]
ROUTE = "/v1/indexes/kept/documents"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("strings")
    kept = build(folder, TEXTS, "kept", analyzer="words", keep_text=True)
    return [kept, build(folder, TEXTS, "words", analyzer="words")]


@pytest.fixture(scope="module")
def service(folders: list[Path]) -> Iterator[str]:
    with serving(Settings(indexes=tuple(folders))) as url:
        yield url


@pytest.fixture
def strings(service: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service, timeout=30) as client:
        yield client


QUERIES: list[dict[str, Any]] = [
    {"text": MAIL, "verbatim": True},
    {"text": MAIL, "normalise": "email"},
    {"text": "030 901820", "normalise": "phone", "region": "DE"},
    {"text": "030901820", "normalise": "digits"},
    {"pattern": r"\w+@\w+\.org\b"},
]


@pytest.mark.parametrize(
    ("query", "documents"),
    [
        ({"text": MAIL, "normalise": "email"}, [0, 2, 3, 4]),
        ({"text": "+49 30 901820", "normalise": "phone"}, [2, 3, 4, 5]),
        ({"text": "030901820", "normalise": "digits"}, [2, 3, 5]),
    ],
)
def test_route_and_client_find_escaped_spellings(
    query: dict[str, Any], documents: list[int], strings: httpx.Client, service: str
) -> None:
    page = strings.post(ROUTE, json=query).json()
    assert [each["document"] for each in page["documents"]] == documents
    assert (page["verified"], page["exact"]) == (True, True)
    with Client(service) as client:
        (found,) = client.documents("kept", **query)
    assert [each.document for each in found.documents] == documents


@pytest.mark.parametrize("query", QUERIES)
def test_route_and_client_return_the_answer_of_the_index(
    query: dict[str, Any], strings: httpx.Client, service: str, folders: list[Path]
) -> None:
    with CountIndex.open(folders[0]) as index:
        wanted = index.find_documents(**query)
    assert wanted.documents
    page = strings.post(ROUTE, json=query).json()
    assert page == wanted.as_json()
    assert page["documents"][0]["original"] is True
    with Client(service) as client:
        (found,) = client.documents("kept", **query)
    assert found == wanted


def test_pages_of_a_string_follow_each_other(strings: httpx.Client) -> None:
    first = strings.post(ROUTE, json={"text": MAIL, "verbatim": True, "limit": 1}).json()
    second = strings.post(ROUTE, json={"text": MAIL, "verbatim": True, "limit": 1, "cursor": first["next"]}).json()
    assert [page["documents"][0]["document"] for page in (first, second)] == [0, 2]
    other = strings.post(ROUTE, json={"text": MAIL, "limit": 1, "cursor": first["next"]})
    assert other.status_code == 422 or other.status_code == 400
    assert "another query" in other.json()["detail"]


def test_count_of_an_exact_string(strings: httpx.Client, service: str) -> None:
    body = strings.post("/v1/indexes/kept/count", json={"text": MAIL, "verbatim": True}).json()
    assert (body["occurrences"], body["documents"], body["verbatim"], body["exact"]) == (2, 2, True, True)
    assert strings.get("/v1/indexes/kept/count", params={"text": MAIL, "verbatim": "true"}).json() == body
    plain = strings.post("/v1/indexes/kept/count", json={"text": MAIL}).json()
    assert plain["documents"] == 3
    assert "verbatim" not in plain
    with Client(service) as client:
        assert client.count("kept", MAIL, verbatim=True).as_json() == body


def test_number_in_an_index_without_texts_is_not_verified(strings: httpx.Client) -> None:
    page = strings.post("/v1/indexes/words/documents", json={"text": MAIL, "normalise": "email"}).json()
    assert (page["total"], page["verified"]) == (4, False)
    assert not any(document["original"] for document in page["documents"])


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"text": MAIL, "verbatim": True}, "--keep-text"),
        ({"pattern": "a"}, "--keep-text"),
        ({"text": "a", "pattern": "a"}, "give either"),
        ({"pattern": "("}, "invalid pattern"),
        ({"text": "1234", "normalise": "phone"}, "country code"),
        ({"text": "1234", "normalise": "digit"}, "digits"),
        ({"text": "1234", "region": "DE"}, "region"),
        ({"subject": {"name": "a"}, "object": {"name": "b"}, "verbatim": True}, "verbatim"),
        ({"text": "1234", "normalise": "digits", "verbatim": True}, "only one"),
        ({"text": "a", "verbatm": True}, "did you mean 'verbatim'"),
    ],
)
def test_invalid_query_is_refused(body: dict[str, Any], part: str, strings: httpx.Client) -> None:
    reply = strings.post("/v1/indexes/words/documents", json=body)
    assert 400 <= reply.status_code < 500
    assert part in reply.text


def test_search_for_a_pattern_ends_with_the_deadline_of_the_service(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response has the documents found so far, and is not an error."""
    from factcensus.indexer.counting import passages
    from factcensus.indexer.counting.deadline import Deadline

    search = passages.search_strings

    def stopped(index: Any, query: Any, scope: Any, deadline: Deadline) -> Any:
        deadline.cancel()
        return search(index, query, scope, deadline)

    monkeypatch.setattr(passages, "search_strings", stopped)
    with serving(Settings(indexes=(folders[0],))) as url, httpx.Client(base_url=url, timeout=30) as client:
        page = client.post(ROUTE, json={"pattern": "Mail"}).json()
    assert (page["exact"], page["searched"], page["searched_of"], page["total"]) == (False, 0, len(TEXTS), 0)


def test_page_answer_is_read_back(folders: list[Path]) -> None:
    with CountIndex.open(folders[0]) as index:
        answer = index.find_documents(pattern="Mail")
    assert type(answer).from_json(answer.as_json()) == answer
    assert replace(answer, searched=None) != answer
