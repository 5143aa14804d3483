"""Counting facts like the notebook: its four queries, the arithmetic of the engine, and the exact counts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from loopback import serving
from toys import build

from factcensus.api.infini_gram.replication import questions
from factcensus.api.settings import Settings

pytest.importorskip("infini_gram.engine", reason="infini-gram has no wheel for this platform")

GAP = "." * 200
TEXTS = [
    f"France {GAP} 1984 and France." + GAP,
    "france saw 1984." + GAP,
    "Trinidad and Tobago has Port of Spain." + GAP,
    "日本の首都は東京。" + GAP,
    *["Rome is in Italy" + "." * 40] * 200,
]


@pytest.fixture(scope="module")
def replicated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a function that counts facts and returns the rows."""
    folder = build(tmp_path_factory.mktemp("replication"), TEXTS, "bytes")
    with serving(Settings(indexes=(folder,))) as url:

        def asked(*pairs: tuple[str, str], **settings: Any) -> list[dict[str, Any]]:
            facts = [{"fact_id": str(i), "subject": one, "object": other} for i, (one, other) in enumerate(pairs)]
            body = {"method": "paper-notebook", "facts": facts, **settings}
            reply = httpx.post(f"{url}/v1/indexes/bytes/facts:replicate", json=body, timeout=60)
            assert reply.status_code == 200, reply.text
            rows: list[dict[str, Any]] = reply.json()["facts"]
            assert [row["fact_id"] for row in rows] == [fact["fact_id"] for fact in facts]
            return rows

        yield asked


def test_the_four_queries_equal_those_of_the_notebook() -> None:
    assert questions("Trinidad and Tobago", "Port of Spain") == [
        "Trinidad And Tobago AND Port Of Spain",
        "trinidad and tobago AND port of spain",
        "Trinidad and Tobago AND port of spain",
        "trinidad and tobago AND Port of Spain",
    ]


def test_coinciding_variants_are_added_and_the_natural_pair_is_missing(replicated: Any) -> None:
    japan, trinidad, year = replicated(("日本", "東京"), ("Trinidad and Tobago", "Port of Spain"), ("france", "1984"))
    # A script without case gives the same query four times.
    assert (japan["paper_notebook_count"], japan["exact_count"], japan["difference"]) == (4, 1, 3)
    # No variant has both names as written.
    assert (trinidad["paper_notebook_count"], trinidad["exact_count"], trinidad["difference"]) == (0, 1, -1)
    assert trinidad["cooccurrence_documents"] == 1
    # "France AND 1984" once and "france AND 1984" three times; in one document they are too far apart.
    counts = [each["count"] for each in year["paper_notebook_questions"]]
    assert counts == [1, 1, 1, 1]
    assert (year["paper_notebook_count"], year["exact_count"]) == (4, 2)


def test_engine_counts_and_exact_counts_are_reported_together(replicated: Any) -> None:
    (rome,) = replicated(("Rome", "Italy"))
    first = rome["paper_notebook_questions"][0]
    # In adjacent documents the engine drops pairs, and still reports exact counts.
    assert first["query"] == "Rome AND Italy"
    assert (first["count"], first["approx"], first["exact_count"]) == (1, False, 200)
    assert rome["exact_count"] == rome["cooccurrence_documents"] == 200
    assert rome["paper_notebook_engine"].startswith("infini-gram ")
    assert rome["exact"] is True
    (near,) = replicated(("Rome", "Italy"), max_diff_tokens=12)
    assert near["paper_notebook_questions"][0]["count"] == 200
    (sampled,) = replicated(("Rome", "Italy"), max_diff_tokens=12, max_clause_freq=50)
    assert sampled["paper_notebook_questions"][0]["count"] == 800  # fifty pairs, multiplied by four twice
    assert sampled["paper_notebook_approx"] is True
    assert sampled["exact_count"] == 200


def test_a_refused_query_drops_only_its_fact(replicated: Any) -> None:
    dropped, split, counted = replicated(
        ("x" * 600, "y" * 600), ("Rome AND Italy OR a OR b OR c OR d", "Italy"), ("日本", "東京")
    )
    assert dropped["paper_notebook_count"] is None
    assert dropped["difference"] is None
    assert dropped["paper_notebook_questions"][0]["error"] == "Please limit your input to <= 1000 characters!"
    assert "4 terms" in split["paper_notebook_questions"][2]["error"]
    assert split["paper_notebook_count"] is None
    assert split["exact_count"] == 0  # exact_count treats the name as one name
    assert counted["paper_notebook_count"] == 4


def test_without_the_engine_the_queries_are_counted_exactly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "infini_gram.engine", None)
    body = {"method": "paper-notebook", "facts": [{"subject": "Rome", "object": "Italy"}]}
    with serving(Settings(indexes=(build(tmp_path, TEXTS, "bare"),))) as url:
        (row,) = httpx.post(f"{url}/v1/indexes/bare/facts:replicate", json=body).json()["facts"]
    assert row["paper_notebook_engine"] is None
    assert row["paper_notebook_count"] == 200
    assert row["paper_notebook_approx"] is False


def test_all_variants_coincide_in_an_index_of_words(tmp_path: Path) -> None:
    body = {
        "method": "paper-notebook",
        "facts": [{"subject": "日本", "object": "unheard"}, {"subject": "Rome", "object": "Italy"}],
    }
    with serving(
        Settings(indexes=(build(tmp_path, [TEXTS[3], "Rome ROME rome Italy"], "w", analyzer="words"),))
    ) as url:
        none, rome = httpx.post(f"{url}/v1/indexes/w/facts:replicate", json=body).json()["facts"]
    assert (none["paper_notebook_count"], none["exact_count"]) == (0, 0)
    assert (rome["paper_notebook_count"], rome["exact_count"]) == (4, 1)


@pytest.mark.parametrize(
    "body",
    [{}, {"method": "other", "facts": []}, {"method": "paper-notebook", "facts": [], "max_diff_tokens": 0}],
)
def test_an_invalid_body_is_a_problem(tmp_path: Path, body: dict[str, Any]) -> None:
    with serving(Settings(indexes=(build(tmp_path, TEXTS[:1], "p"),))) as url:
        reply = httpx.post(f"{url}/v1/indexes/p/facts:replicate", json=body)
    assert (reply.status_code, reply.headers["Content-Type"]) == (422, "application/problem+json")


def test_other_columns_are_returned_and_half_surrogates_are_refused(tmp_path: Path) -> None:
    with serving(Settings(indexes=(build(tmp_path, TEXTS[:1], "p"),))) as url:
        for other, status in (
            ('"many": [1, null], "score": 0.5, "note": "é"', 200),
            (r'"note": "\ud800"', 400),
            ('"note": 1', 200),
        ):
            fact = f'{{"subject": "Rome", "object": "Italy", {other}}}'
            reply = httpx.post(
                f"{url}/v1/indexes/p/facts:replicate",
                content=f'{{"method": "paper-notebook", "facts": [{fact}]}}',
                headers={"Content-Type": "application/json"},
            )
            assert reply.status_code == status, reply.text
            if status == 200:
                (row,) = reply.json()["facts"]
                assert {**row, **json.loads(fact)} == row
