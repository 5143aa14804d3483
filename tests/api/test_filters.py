"""Filters, and counts grouped by a column; the numbers equal those of counting documents one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import serving

from factcensus.api.client import Client, RejectedError
from factcensus.api.settings import Limits, Settings
from factcensus.indexer import CountIndex, Entity, Scope, build_index
from factcensus.indexer.counting.filters import Between, condition
from factcensus.indexer.errors import UnknownNameError

#: The records of the corpus; every text contains "Paris" ``n`` times.
RECORDS: list[dict[str, Any]] = [
    {"source": "wiki", "n": 1, "lang": "en", "meta": {"year": 1990, "tags": ["a"]}},
    {"source": "wiki", "n": 2, "lang": "fr", "meta": {"year": 2001}},
    {"source": "books", "n": 3, "lang": "en", "meta": {"year": "2010"}},
    {"source": "it's", "n": 1, "lang": 'a"b', "meta": {"year": None}, "open": True},
    {"n": 2, "lang": "x' OR 1=1 --", "open": False},
    {"source": "books", "n": 0, "lang": "en", "meta": {"year": 1999.5}},
]
ROUTE = "/v1/indexes/rows"


def folder_of(root: Path) -> Path:
    lines = [
        json.dumps({"id": f"d{number}", "text": "Paris France " * record["n"] + "end", **record})
        for number, record in enumerate(RECORDS)
    ]
    (root / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    build_index([root / "rows.jsonl"], root / "rows", jobs=1)
    return root / "rows"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def http(rows: Path) -> Iterator[httpx.Client]:
    with (
        serving(Settings(indexes=(rows,), limits=Limits(max_groups=5))) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        yield client


def value(record: dict[str, Any], column: str) -> str:
    """Return the value of a column as text, as in grouped counts."""
    found: Any = {"source": "unknown", **record}  # the default source of an index
    for step in column.split("."):
        found = found.get(step) if isinstance(found, dict) else None
    if found is None:
        return ""
    return found if isinstance(found, str) else json.dumps(found)


def passes(record: dict[str, Any], column: str, wanted: Any) -> bool:
    found = value(record, column)
    if isinstance(wanted, dict):
        try:
            number = float(found)
        except ValueError:
            return False
        return wanted.get("min", number) <= number <= wanted.get("max", number)
    texts = [
        "" if each is None else each if isinstance(each, str) else json.dumps(each)
        for each in (wanted if isinstance(wanted, list) else [wanted])
    ]
    return found in texts


FILTERS: list[dict[str, Any]] = [
    {"source": "wiki"},
    {"source": ["wiki", "books"]},
    {"source": ["unknown", "it's"]},
    {"meta.year": None},
    {"meta.year": ["", 2001]},
    {"lang": 'a"b'},
    {"lang": "x' OR 1=1 --"},
    {"lang": ["en"], "source": "wiki"},
    {"meta.year": {"min": 1990, "max": 2000}},
    {"meta.year": {"min": 2000.5}},
    {"meta.year": 2001},
    {"open": True},
    {"open": [False, True]},
    {},
]


@pytest.mark.parametrize("filter", FILTERS, ids=json.dumps)
def test_a_filter_selects_the_matching_documents(http: httpx.Client, filter: dict[str, Any]) -> None:
    chosen = [r for r in RECORDS if all(passes(r, column, wanted) for column, wanted in filter.items())]
    with_paris = [f"d{RECORDS.index(record)}" for record in chosen if record["n"]]
    count = http.post(f"{ROUTE}/count", json={"text": "Paris", "filter": filter}).json()
    assert (count["documents"], count["occurrences"]) == (len(with_paris), sum(r["n"] for r in chosen))
    pair = {"subject": {"name": "Paris"}, "object": {"name": "France"}, "filter": filter}
    assert http.post(f"{ROUTE}/cooccurrence", json=pair).json()["cooccurrence"]["documents"] == len(with_paris)
    for query in (pair, {"text": "Paris", "filter": filter}):
        page = http.post(f"{ROUTE}/documents", json={**query, "limit": 3, "by": "source"}).json()
        assert page["total"] == len(with_paris) == sum(page["by_source"].values())
        assert [document["id"] for document in page["documents"]] == with_paris[:3]


@pytest.mark.parametrize(
    ("filter", "named"),
    [
        ({"sorce": "wiki"}, "'sorce'; did you mean 'source'"),
        ({"lang": "en", "metta.year": {"min": 1}}, "'metta.year'; did you mean 'meta.year'"),
        ({"source": "wiki", "Open": True}, "'Open'; did you mean 'open'"),
    ],
)
def test_a_filter_by_an_unknown_field_is_refused_with_a_suggestion(
    http: httpx.Client, filter: dict[str, Any], named: str
) -> None:
    pair = {"subject": {"name": "Paris"}, "object": {"name": "France"}}
    for route, body in (("count", {"text": "Paris"}), ("documents", {"text": "Paris"}), ("cooccurrence", pair)):
        answer = http.post(f"{ROUTE}/{route}", json={**body, "filter": filter})
        assert answer.status_code in (400, 404, 422), answer.text
        assert f"unknown column or metadata field {named}" in answer.json()["detail"]


@pytest.mark.parametrize("by", ["source", "lang", "meta.year", "open"])
def test_counts_by_a_column_equal_the_counts_of_its_values(http: httpx.Client, by: str) -> None:
    body = {"subject": {"name": "Paris"}, "object": {"name": "France"}, "by": by}
    answer = http.post(f"{ROUTE}/cooccurrence", json=body).json()
    page = http.post(f"{ROUTE}/documents", json=body).json()
    count = http.post(f"{ROUTE}/count", json={"text": "Paris", "by": by}).json()
    by_address = http.get(f"{ROUTE}/count", params={"text": "Paris", "by": by}).json()
    values = {value(record, by) for record in RECORDS}
    assert by_address == count
    assert set(answer[f"by_{by}"]) == set(count[f"by_{by}"]) == set(page[f"by_{by}"]) == values
    for each in values:
        alone = http.post(f"{ROUTE}/cooccurrence", json={**body, "by": None, "filter": {by: each}}).json()
        assert answer[f"by_{by}"][each]["cooccurrence"] == alone["cooccurrence"]
        assert page[f"by_{by}"][each] == alone["cooccurrence"]["documents"]
        assert count[f"by_{by}"][each]["occurrences"] == sum(r["n"] for r in RECORDS if value(r, by) == each)


def test_grouping_by_a_column_with_too_many_values_is_refused(http: httpx.Client) -> None:
    for route, body in (
        ("count", {"text": "Paris"}),
        ("documents", {"text": "Paris"}),
        ("cooccurrence", {"subject": {"name": "Paris"}, "object": {"name": "France"}}),
    ):
        answer = http.post(f"{ROUTE}/{route}", json={**body, "by": "id"})
        assert answer.status_code == 422
        assert "FACTCENSUS_MAX_GROUPS" in answer.json()["detail"]


def test_a_cursor_is_bound_to_its_filter(http: httpx.Client) -> None:
    query: dict[str, Any] = {"text": "Paris", "filter": {"source": ["wiki", "books"]}, "limit": 1}
    cursor = http.post(f"{ROUTE}/documents", json=query).json()["next"]
    assert http.post(f"{ROUTE}/documents", json={**query, "cursor": cursor}).json()["documents"][0]["id"] == "d1"
    other = http.post(f"{ROUTE}/documents", json={**query, "filter": {"source": "wiki"}, "cursor": cursor})
    assert other.status_code == 422
    assert "belongs to another query" in other.json()["detail"]


def test_a_cursor_of_a_replaced_index_is_refused(tmp_path: Path) -> None:
    cursors = []
    for text in ("Paris one", "Paris two"):
        (tmp_path / "rows.jsonl").write_text(f'{{"text": "{text}"}}\n{{"text": "{text}"}}\n', encoding="utf-8")
        folder = tmp_path / text[-3:] / "rows"
        folder.parent.mkdir()
        build_index([tmp_path / "rows.jsonl"], folder, jobs=1)
        with serving(Settings(indexes=(folder,))) as url:
            query = {"text": "Paris", "limit": 1, "cursor": cursors[0] if cursors else None}
            answer = httpx.post(f"{url}{ROUTE}/documents", json=query)
            cursors.append(answer.json().get("next"))
    assert (answer.status_code, answer.json()["type"]) == (410, "urn:factcensus:problem:index-changed")
    assert "or it belongs to another index" in answer.json()["detail"]


@pytest.mark.parametrize("route", ["count", "cooccurrence", "documents"])
def test_numbers_beyond_64_bits_are_compared_like_others(http: httpx.Client, route: str) -> None:
    asked = {"subject": {"name": "end"}, "object": {"name": "end"}} if route == "cooccurrence" else {"text": "end"}
    answer = http.post(f"{ROUTE}/{route}", json={**asked, "filter": {"n": 9**50}})
    assert answer.status_code == 200, answer.text


TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)


@settings(max_examples=25, deadline=None)
@given(
    column=TEXTS | st.sampled_from(["source", "lang", "n", "meta.year"]),
    values=st.lists(TEXTS | st.sampled_from(["books", 'a"b', "x' OR 1=1 --"]), min_size=1, max_size=3),
)
def test_names_and_values_are_never_executed_as_sql(rows: Path, column: str, values: list[str]) -> None:
    """Any names and values give a valid condition that selects the documents with one of the values."""
    known = {"id", "source", "path", "record", "tokens", "text_bytes", "n", "lang", "meta", "meta.year", "open"}
    with CountIndex.open(rows) as index:
        if column not in known:
            with pytest.raises(UnknownNameError):
                index.count("end", scope=Scope(where=condition({column: values})))
            return
        found = index.count("end", scope=Scope(where=condition({column: values}))).documents
        index.count("end", scope=Scope(where=condition({column: Between(0, 1)})))
    assert found == sum(value(record, column) in values for record in RECORDS)


def test_the_client_filters_and_groups_like_the_routes(rows: Path, http: httpx.Client) -> None:
    wanted = {"source": ["wiki", "books"], "meta.year": {"min": 1995}}
    paris, france = Entity("Paris"), Entity("France")
    with CountIndex.open(rows) as index, Client(str(http.base_url)) as client:
        scope = Scope(where=condition({"source": ["wiki", "books"], "meta.year": Between(1995, None)}))
        for by in (None, "lang", "meta.year"):
            assert client.count("rows", "Paris", by, filter=wanted) == index.count("Paris", by=by, scope=scope)
            assert client.cooccurrence("rows", paris, france, 3, by, filter=wanted) == index.cooccurrence(
                paris, france, window=3, by=by, scope=scope
            )
        assert client.count("rows", "Paris", filter={}) == index.count("Paris")
        pages = list(client.documents("rows", text="Paris", by="lang", filter=wanted, limit=1))
        assert [document.id for page in pages for document in page.documents] == ["d1", "d2"]
        assert pages[0].total == 2
        assert set(pages[0].groups) >= {"en", "fr"}
        with pytest.raises(RejectedError, match="filter"):
            client.count("rows", "Paris", filter={"source": []})
