"""The responses equal the results of the index and match the models of the OpenAPI document."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import jsonschema
import pytest

from factcensus.indexer import CountIndex, Entity

CURIE = {"name": "Marie Curie", "aliases": ["Maria Skłodowska", "Curie"]}
WARSAW = {"name": "Warsaw", "aliases": []}
TEXTS = ["Marie Curie", "curie", "Paris", "Paris Paris", "C++", "C#", "nowhere", "Marie\x00Curie", "the capital of"]


def entity(body: dict[str, Any]) -> Entity:
    return Entity(body["name"], tuple(body["aliases"]))


@pytest.mark.parametrize("by", [None, "source"])
@pytest.mark.parametrize("text", TEXTS)
def test_count_equals_that_of_the_index(http: httpx.Client, index: CountIndex, text: str, by: Any) -> None:
    expected = index.count(text, by=by)
    by_address = http.get("/v1/indexes/tiny/count", params={"text": text} | ({"by": by} if by else {}))
    by_body = http.post("/v1/indexes/tiny/count", json={"text": text, "by": by})
    assert by_address.status_code == by_body.status_code == 200
    assert by_address.json() == by_body.json() == expected.as_json()


def test_count_equals_a_hand_count(http: httpx.Client) -> None:
    answer = http.get("/v1/indexes/tiny/count", params={"text": "paris paris"}).json()
    assert (answer["occurrences"], answer["documents"]) == (
        2,
        1,
    )  # Paris Paris Paris: overlapping occurrences both count
    assert answer["tokens"] == ["paris", "paris"]
    assert answer["exact"] is True


@pytest.mark.parametrize("by", [None, "source"])
@pytest.mark.parametrize("window", [None, 0, 3, 2**31 - 1])
def test_cooccurrence_equals_that_of_the_index(
    http: httpx.Client, index: CountIndex, window: int | None, by: Any
) -> None:
    body = {"subject": CURIE, "object": WARSAW, "window": window, "by": by}
    answer = http.post("/v1/indexes/tiny/cooccurrence", json=body)
    assert answer.status_code == 200
    assert answer.json() == index.cooccurrence(entity(CURIE), entity(WARSAW), window=window, by=by).as_json()


def test_parallel_requests_get_the_same_responses_as_sequential_ones(http: httpx.Client, index: CountIndex) -> None:
    expected = {text: index.count(text).as_json() for text in TEXTS}
    asked = TEXTS * 20
    with ThreadPoolExecutor(16) as threads:
        found = threads.map(lambda text: http.post("/v1/indexes/tiny/count", json={"text": text}).json(), asked)
        assert list(found) == [expected[text] for text in asked]


def test_cooccurrence_equals_a_hand_count(http: httpx.Client) -> None:
    body = {"subject": CURIE, "object": {"name": "Warsaw"}, "by": "source"}  # aliases are optional
    answer = http.post("/v1/indexes/tiny/cooccurrence", json=body).json()
    assert answer["subject"]["mentions"] == 7  # "Curie" inside "Marie Curie" is not a separate mention
    assert answer["cooccurrence"]["documents"] == 3
    assert {source: row["cooccurrence"]["documents"] for source, row in answer["by_source"].items()} == {
        "books": 2,
        "wiki": 1,
    }


def test_indexes_are_listed_and_described(http: httpx.Client, index: CountIndex) -> None:
    info = index.info()
    (listed,) = http.get("/v1/indexes").json()["indexes"]
    assert listed == info.summary().as_json()
    assert list(listed) == ["name", "digest", "generation", "analyzer", "documents", "tokens"]
    assert http.get("/v1/indexes/tiny").json() == info.as_json()


def test_responses_match_the_documented_models(http: httpx.Client) -> None:
    base = "/v1/indexes/tiny"
    pair = {"subject": CURIE, "object": WARSAW, "by": "source"}
    found: dict[str, httpx.Response] = {
        "CountAnswer": http.get(f"{base}/count", params={"text": "Paris", "by": "source"}),
        "CooccurrenceAnswer": http.post(f"{base}/cooccurrence", json=pair),
        "DocumentsAnswer": http.post(f"{base}/documents", json={"text": "Paris", "limit": 1, "by": "source"}),
        "FactsAnswer": http.post(f"{base}/facts:count", json={"facts": [{"subject": "a", "object": "b"}]}),
        "IndexList": http.get("/v1/indexes"),
        "IndexInfo": http.get(base),
        "Health": http.get("/healthz"),
        "Ready": http.get("/readyz"),
        "Version": http.get("/version"),
    }
    document = http.get("/openapi.json").json()
    for model, answer in found.items():
        assert answer.status_code == 200, answer.text
        jsonschema.validate(answer.json(), {**document, "$ref": f"#/components/schemas/{model}"})
        undocumented = answer.json().keys() - document["components"]["schemas"][model]["properties"].keys()
        assert not undocumented, model


def test_a_pair_can_be_counted_by_url(http: httpx.Client) -> None:
    address = "/v1/indexes/tiny/cooccurrence"
    asked = {"subject": "Curie", "object": "Warsaw", "subject_alias": ["Maria Skłodowska", "Marie"], "window": "3"}
    asked |= {"by": "source", "filter": '{"source": ["wiki", "books"]}'}
    body = {
        "subject": {"name": "Curie", "aliases": ["Maria Skłodowska", "Marie"]},
        "object": {"name": "Warsaw"},
        "window": 3,
        "by": "source",
        "filter": {"source": ["wiki", "books"]},
    }
    answer = http.get(address, params=asked)
    assert answer.json() == http.post(address, json=body).json()
    known = {"If-None-Match": answer.headers["ETag"]}
    assert http.get(address, params=asked, headers=known).status_code == 304
    assert http.get(address, params={**asked, "window": "4"}, headers=known).status_code == 200
