"""The route that returns the documents behind a number, page by page."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest

from factcensus.indexer import CountIndex, Entity

ROUTE = "/v1/indexes/tiny/documents"
PAIR: dict[str, Any] = {"subject": {"name": "Curie"}, "object": {"name": "Warsaw"}}


@pytest.mark.parametrize("limit", [1, 2, 10])
@pytest.mark.parametrize("query", [{"text": "Paris"}, {"text": "the capital of"}, PAIR, {**PAIR, "window": 2}])
def test_pages_follow_each_other_to_the_end(
    http: httpx.Client, index: CountIndex, query: dict[str, Any], limit: int
) -> None:
    arguments: dict[str, Any] = {"text": query.get("text"), "window": query.get("window")}
    if "subject" in query:
        arguments |= {"subject": Entity("Curie"), "object": Entity("Warsaw")}
    expected = index.find_documents(**arguments, limit=100)
    seen, cursor = [], None
    while True:
        page = http.post(ROUTE, json={**query, "limit": limit, "cursor": cursor}).json()
        assert page["total"] == expected.total
        assert len(page["documents"]) <= limit
        seen += page["documents"]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == expected.as_json()["documents"]


def test_a_document_has_its_metadata_and_highlighted_passages(http: httpx.Client) -> None:
    page = http.post(ROUTE, json=PAIR).json()
    assert [document["id"] for document in page["documents"]] == ["w1", "b1", "b3"]
    assert page["index"] == "tiny"
    assert page["exact"] is True
    mentions = {span["mention"] for passage in page["documents"][0]["passages"] for span in passage}
    assert mentions == {"subject", "object", None}


def test_a_query_without_matches_has_no_documents(http: httpx.Client) -> None:
    page = http.post(ROUTE, json={"text": "nowhere"}).json()
    assert (page["documents"], page["total"], page["next"]) == ([], 0, None)


@pytest.mark.parametrize(
    "cursor", ["", "x", "é", "AAAA", "\ud800", base64.urlsafe_b64encode(b'[1, "guess"]').decode(), "9" * 5000]
)
def test_an_invalid_cursor_is_refused(http: httpx.Client, cursor: str) -> None:
    answer = http.post(
        ROUTE,
        content=json.dumps({"text": "Paris", "cursor": cursor}),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:factcensus:problem:invalid-request"


def test_a_cursor_of_another_query_is_refused(http: httpx.Client) -> None:
    cursor = http.post(ROUTE, json={"text": "Paris", "limit": 1}).json()["next"]
    assert http.post(ROUTE, json={"text": "Paris", "limit": 2, "cursor": cursor}).status_code == 200
    answer = http.post(ROUTE, json={"text": "Warsaw", "limit": 1, "cursor": cursor})
    assert answer.status_code == 422
    assert "cursor" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"text": "Paris", **PAIR},
        {"text": "Paris", "subject": PAIR["subject"]},
        {"object": PAIR["object"]},
        {"text": "Paris", "window": 3},
        {"text": "Paris", "limit": 0},
        {"text": "Paris", "limit": "1"},
        {"text": "..."},
    ],
)
def test_a_query_must_be_a_text_an_entity_or_a_pair(http: httpx.Client, body: dict[str, Any]) -> None:
    answer = http.post(ROUTE, json=body)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_page_above_the_limit_is_refused_with_the_name_of_the_limit(limited: httpx.Client) -> None:
    answer = limited.post(ROUTE, json={"text": "Paris", "limit": 21})
    assert answer.status_code == 422
    assert "FACTCENSUS_MAX_DOCUMENTS" in answer.json()["detail"]
