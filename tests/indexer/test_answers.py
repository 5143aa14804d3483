"""Answers: frozen, equal after a round trip through JSON, short in a console and safe in a notebook."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from factcensus.indexer import CountIndex, Entity
from factcensus.indexer.answers import (
    CooccurrenceAnswer,
    CooccurrenceCounts,
    CountAnswer,
    DocumentsAnswer,
    EntityCounts,
    IndexInfo,
    IndexSummary,
    TextCounts,
)
from factcensus.indexer.answers.record import html_table

from .corpora import make_index


@pytest.fixture
def index(tmp_path: Path) -> CountIndex:
    return make_index(tmp_path, ["Paris, France", "Paris & <b>Rome</b>", "Rome"], ["wiki", "web", "web"])


def test_count_gives_the_documented_json(index: CountIndex) -> None:
    answer = index.count("Paris", by="source")
    assert answer.as_json() == {
        "index": "ix",
        "analyzer": index.analyzer.label,
        "text": "Paris",
        "tokens": ["paris"],
        "occurrences": 2,
        "documents": 2,
        "exact": True,
        "by_source": {"web": {"occurrences": 1, "documents": 1}, "wiki": {"occurrences": 1, "documents": 1}},
    }
    assert list(answer.as_json())[-2:] == ["exact", "by_source"]
    assert "by_source" not in index.count("Paris").as_json()
    assert index.count("nowhere", by="source").as_json()["by_source"]["web"] == {"occurrences": 0, "documents": 0}


def test_cooccurrence_gives_the_documented_json(index: CountIndex) -> None:
    answer = index.cooccurrence(Entity("Paris", ("Lutetia",)), "France", window=1)
    assert answer.as_json() == {
        "index": "ix",
        "analyzer": index.analyzer.label,
        "subject": {
            "name": "Paris",
            "aliases": ["Lutetia"],
            "tokens": [["paris"], ["lutetia"]],
            "mentions": 2,
            "documents": 2,
        },
        "object": {"name": "France", "aliases": [], "tokens": [["france"]], "mentions": 1, "documents": 1},
        "cooccurrence": {"documents": 1, "pairs": 1},
        "window": 1,
        "exact": True,
    }


@pytest.mark.parametrize("by", [None, "source"])
def test_answers_read_back_from_json_are_equal(index: CountIndex, by: str | None) -> None:
    count = index.count("Paris", by=by)
    assert CountAnswer.from_json({**count.as_json(), "added": 1}) == count
    both = index.cooccurrence("Paris", "Rome", window=3, by=by)
    assert CooccurrenceAnswer.from_json(both.as_json()) == both
    page = index.find_documents(text="Rome", limit=1, by=by)
    assert page.next == 1
    assert DocumentsAnswer.from_json(page.as_json()) == page
    info = index.info()
    assert IndexInfo.from_json(info.as_json()) == info
    assert IndexSummary.from_json(info.summary().as_json()) == info.summary()


def test_answers_cannot_be_changed_but_copied(index: CountIndex) -> None:
    answer = index.count("Paris")
    with pytest.raises(FrozenInstanceError):
        answer.documents = 7  # type: ignore[misc]  # what the test is about
    assert replace(answer, index="other").index == "other"
    assert pickle.loads(pickle.dumps(answer)) == answer


def test_repr_shows_the_counts_and_not_the_details(index: CountIndex) -> None:
    assert repr(index.count("Paris", by="source")) == (
        "CountAnswer(index='ix', text='Paris', occurrences=2, documents=2, exact=True)"
    )
    assert repr(index.cooccurrence("Paris", "France")) == (
        "CooccurrenceAnswer(index='ix', "
        "subject=EntityCounts(name='Paris', aliases=[], mentions=2, documents=2), "
        "object=EntityCounts(name='France', aliases=[], mentions=1, documents=1), "
        "cooccurrence=CooccurrenceCounts(documents=1, pairs=1), window=None, exact=True)"
    )


def test_notebook_tables_escape_corpus_text(index: CountIndex) -> None:
    hostile = Entity("<script>alert(1)</script>")
    shown = [
        index.count("<i>Paris</i>", by="source"),
        index.cooccurrence(hostile, "Paris", by="source"),
        replace(index.find_documents(text="Paris"), index="<script>"),
        index.info(),
    ]
    for answer in shown:
        table = answer._repr_html_()
        assert table.startswith("<table>")
        assert "<script" not in table
        assert "<i>" not in table
    assert "<td>wiki</td>" in index.count("Paris", by="source")._repr_html_()


def test_parts_of_answers_are_tables_of_their_fields(index: CountIndex) -> None:
    counts = index.cooccurrence("Paris", "France").cooccurrence
    assert counts._repr_html_() == (
        "<table><caption>CooccurrenceCounts</caption><tr><th>field</th><th>value</th></tr>"
        '<tr><td>documents</td><td style="text-align: right">1</td></tr>'
        '<tr><td>pairs</td><td style="text-align: right">1</td></tr></table>'
    )
    hostile = replace(index.find_documents(text="Paris").documents[0], id="<script>")
    assert "<script" not in hostile._repr_html_()


def test_notebook_tables_are_cut() -> None:
    table = html_table("many", ["n"], [[n] for n in range(1_100)])
    assert table.count("<tr>") == 52  # the header, 50 rows, and how many more
    assert "1,050 more rows" in table


def test_group_counts_of_different_documents_add_up(index: CountIndex) -> None:
    answer = index.cooccurrence("Paris", "Rome", by="source")
    assert answer.groups is not None
    total = answer.groups["wiki"] + answer.groups["web"]
    assert total.cooccurrence == answer.cooccurrence == CooccurrenceCounts(1, 1)
    assert (total.subject.mentions, total.object.documents) == (answer.subject.mentions, answer.object.documents)
    assert isinstance(answer.subject, EntityCounts)
    assert index.count("Rome", by="source").groups == {"web": TextCounts(2, 2), "wiki": TextCounts(0, 0)}
