"""The public infini-gram API's wire format gives the same answers for both layouts of an index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopback import serving
from toys import TOY, build, index_of

from factcensus.api.infini_gram.cnf import count_cnf, occurrences
from factcensus.api.settings import Settings
from factcensus.indexer import Deadline, delete_documents
from factcensus.indexer.storage.manifest import Layout

pytest.importorskip("infini_gram.engine", reason="infini-gram has no wheel for this platform")

LAYOUTS: tuple[Layout, ...] = ("suffix-array", "compact")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Serve the same documents as ``suffix-array``, ``compact``, and both without a deleted document."""
    folders = []
    for layout in LAYOUTS:
        options = {"analyzer": "words", "layout": layout, "shard_tokens": 12}
        folder = tmp_path_factory.mktemp("toys")
        folders += [build(folder, TOY, layout, **options), build(folder, TOY, f"{layout}-cut", **options)]
        delete_documents(folders[-1], ids=["d1"])
    with serving(Settings(indexes=tuple(folders))) as url, httpx.Client(base_url=url, timeout=30) as made:
        yield made


def answer(client: httpx.Client, index: str, **body: Any) -> dict[str, Any]:
    """Return an answer without what depends on the name of the index and on the order of occurrences."""
    reply = client.post("/", json={"index": index} | body)
    assert reply.status_code == 200
    found: dict[str, Any] = json.loads(reply.text.replace(index, "toy"))
    found.pop("latency")
    if "documents" in found:
        found["documents"] = sorted(found["documents"], key=json.dumps)
    return found


@pytest.mark.parametrize(
    "body",
    [
        {"query_type": "count", "query": "Paris"},
        {"query_type": "count", "query": ""},
        {"query_type": "count", "query": "capital of"},
        {"query_type": "count", "query": "Paris OR Berlin AND capital"},
        {"query_type": "count", "query_ids": [65535]},
        {"query_type": "count", "query_ids": [65535, 0]},
        {"query_type": "prob", "query": "the capital"},
        {"query_type": "prob", "query": "Paris"},
        {"query_type": "prob", "query": "zebra Paris"},
        {"query_type": "find_cnf", "query": "Paris AND France"},
        {"query_type": "find_cnf", "query": "zebra AND France"},
        {"query_type": "get_doc_by_ptr", "query": "Paris", "s": 0, "ptr": 8},
        {"query_type": "search_docs", "query": "Paris", "maxnum": 10},
        {"query_type": "search_docs", "query": "capital AND of", "maxnum": 10},
        {"query_type": "ntd", "query": ""},
    ],
)
def test_answers_are_the_same(client: httpx.Client, body: dict[str, Any]) -> None:
    for cut in ("", "-cut"):
        right, found = (answer(client, f"{layout}{cut}", **body) for layout in LAYOUTS)
        assert "error" not in right
        assert found == right


@pytest.mark.parametrize("kind", ["infgram_prob", "ntd", "infgram_ntd"])
@pytest.mark.parametrize("query", ["is the", "the capital of", "zebra capital", "Paris"])
def test_answers_of_the_language_model_are_the_same(client: httpx.Client, kind: str, query: str) -> None:
    right, found = (answer(client, layout, query_type=kind, query=query) for layout in LAYOUTS)
    assert "error" not in right
    assert found == right
    assert "error" not in answer(client, "compact-cut", query_type=kind, query=query)


def test_ranks_of_the_suffix_array_are_refused_with_the_reason(client: httpx.Client) -> None:
    for body in ({"query_type": "find"}, {"query_type": "get_doc_by_rank", "s": 0, "rank": 0}):
        assert "this query needs the layout suffix-array" in answer(client, "compact", query="Paris", **body)["error"]


TERMS = st.lists(st.integers(-1, 4), min_size=1, max_size=3)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    texts=st.lists(st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join), min_size=2, max_size=6),
    clauses=st.lists(st.lists(TERMS, min_size=1, max_size=2), min_size=1, max_size=3),
    distance=st.integers(1, 6),
    deleted=st.booleans(),
)
def test_clauses_are_counted_alike(
    texts: list[str], clauses: list[list[list[int]]], distance: int, deleted: bool
) -> None:
    found = []
    for layout in LAYOUTS:
        with index_of([*texts, "a"], analyzer="words", layout=layout, shard_tokens=20) as built:
            if deleted:
                delete_documents(built.folder, ids=["d0"])
            with built.reopen() as index:
                counted = count_cnf(index, clauses, distance, Deadline(), most=100)
                places = sorted((each.shard, at) for each in counted.found for at in each.begins.tolist())
                single = [occurrences(index, term, Deadline()) for clause in clauses for term in clause]
                found.append((counted.count, counted.document_count, counted.near_document_count, places, single))
    assert found[0] == found[1]
