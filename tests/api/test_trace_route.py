"""The route that finds the spans of a text in the corpus."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from factcensus.api.client import Client
from factcensus.indexer import CountIndex

ROUTE = "/v1/indexes/tiny/trace"
OUTPUT = "We know that Curie was born in Warsaw, and that Paris is the capital of France."


def test_the_answer_is_that_of_the_index(http: httpx.Client, index: CountIndex) -> None:
    answer = http.post(ROUTE, json={"text": OUTPUT, "least_tokens": 2}).json()
    assert answer == index.trace(OUTPUT, least_tokens=2).as_json()
    assert answer["spans"]


def test_a_filter_selects_the_documents(http: httpx.Client) -> None:
    for source in ("wiki", "books"):
        answer = http.post(ROUTE, json={"text": OUTPUT, "least_tokens": 2, "filter": {"source": source}}).json()
        assert {found["source"] for span in answer["spans"] for found in span["found"]} == {source}


@pytest.mark.parametrize(
    "body",
    [
        {"text": "!!!"},
        {"text": "a", "least_tokens": 0},
        {"text": "a", "limit": 1001},
        {"text": "a", "documents": 21},
        {"text": "a", "window": 1},
        {"text": "a" * 10_001},
        {},
    ],
)
def test_wrong_requests_are_refused(body: dict[str, Any], http: httpx.Client) -> None:
    answer = http.post(ROUTE, json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_client_returns_the_same_answer(url: str, index: CountIndex) -> None:
    with Client(url) as client:
        answer = client.trace("tiny", OUTPUT, least_tokens=2, documents=1)
    assert answer == index.trace(OUTPUT, least_tokens=2, documents=1)
