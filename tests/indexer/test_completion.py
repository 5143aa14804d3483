"""Completions of names equal those of a slow search, in both layouts; years are taken from dates."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from factcensus.indexer import CountIndex, InputError, build_index, delete_documents
from factcensus.indexer.counting.years import year_of

TEXTS = [
    "Marie Curie and Pierre Curie were curious.",
    "Marie Curie won. Maria Cur was not Marie Antoinette.",
    "Cur, Curacao, CURIE; Mariecurie naïve Ünal unal C++",
    "Jean-Luc and Jean-Lucie; O'Brien, O’Brian. 東京 東京都 100 1000",
]


@pytest.fixture(scope="module", params=["suffix-array", "compact"])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountIndex]:
    folder = tmp_path_factory.mktemp("completion")
    rows = [{"id": f"d{n}", "text": text, "created": f"{2000 + n // 2}-01-0{n + 1}"} for n, text in enumerate(TEXTS)]
    (folder / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build_index([folder / "c.jsonl"], folder / "ix", jobs=1, layout=request.param)
    with CountIndex.open(folder / "ix") as opened:
        yield opened


@pytest.mark.parametrize("typed", ["c", "Cu", "curi", "m", "x", "ü", "n", "1", "Marie C", "jean-lu", "O’Br", "o b"])
def test_completions_are_those_of_a_search_through_all_phrases(index: CountIndex, typed: str) -> None:
    tokens = [index.analyzer.tokens(text) for text in TEXTS]
    before, prefix = index.analyzer.tokens(typed)[:-1], index.analyzer.tokens(typed)[-1]
    size = len(before) + 1
    grams = [[tuple(each[i : i + size]) for i in range(len(each) - size + 1)] for each in tokens]
    wanted = Counter(gram for each in grams for gram in each if gram[:-1] == tuple(before))
    wanted = Counter({gram: n for gram, n in wanted.items() if gram[-1].startswith(prefix)})
    found = index.complete(typed, limit=50).completions
    assert {tuple(index.analyzer.tokens(each.text)): each.occurrences for each in found} == wanted
    for each in found:
        assert each.documents == sum(tuple(index.analyzer.tokens(each.text)) in grams_of for grams_of in grams)
        assert each.documents == index.count(each.text).documents
    assert [each.documents for each in found] == sorted((each.documents for each in found), reverse=True)
    assert index.complete(typed, limit=1).completions == found[:1]


def test_the_typed_part_is_kept(index: CountIndex) -> None:
    assert [each.text for each in index.complete("Marie Cu").completions] == ["Marie Curie"]
    assert [each.text for each in index.complete("O’Brie").completions] == ["O’Brien"]
    assert [each.text for each in index.complete("marie cu").completions] == ["marie curie"]


@pytest.mark.parametrize("typed", ["", " ", "Marie ", "C++", "...", "Zzz Cu", "x" * 200])
def test_there_is_nothing_to_complete(index: CountIndex, typed: str) -> None:
    assert index.complete(typed).completions == []


@pytest.mark.parametrize("limit", [0, 51])
def test_the_number_of_completions_is_bounded(index: CountIndex, limit: int) -> None:
    with pytest.raises(InputError, match="limit must be from 1 to 50"):
        index.complete("m", limit=limit)


def test_words_of_deleted_documents_are_not_suggested(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"id": "a", "text": "Secretname"}\n{"id": "b", "text": "Secret"}\n')
    build_index([tmp_path / "c.jsonl"], tmp_path / "ix", jobs=1)
    delete_documents(tmp_path / "ix", ids=["a"])
    with CountIndex.open(tmp_path / "ix") as index:
        assert [each.text for each in index.complete("sec").completions] == ["secret"]


def test_an_index_without_words_refuses(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"text": "abc"}\n')
    build_index([tmp_path / "c.jsonl"], tmp_path / "ix", analyzer="bytes", jobs=1)
    with CountIndex.open(tmp_path / "ix") as index, pytest.raises(InputError, match="no list of words"):
        index.complete("a")


def test_counts_by_year_add_up_those_of_its_dates(index: CountIndex) -> None:
    by_date = index.count("curie", by="created").groups or {}
    by_year = index.count("curie", by="year:created").groups or {}
    assert list(by_year) == ["2000", "2001"]
    for year, counts in by_year.items():
        assert counts.occurrences == sum(each.occurrences for date, each in by_date.items() if date.startswith(year))
    pair = index.cooccurrence("Marie", "Curie", by="year:created").groups or {}
    assert {year: each.cooccurrence.documents for year, each in pair.items()} == {"2000": 2, "2001": 0}
    with pytest.raises(InputError, match="year:created"):
        index.count("curie", by="year:")
    with pytest.raises(InputError, match="unknown column or metadata field"):
        index.count("curie", by="year:absent")


@pytest.mark.parametrize(
    ("date", "year"),
    [
        ("2019", "2019"),
        (" 2019 ", "2019"),
        ("2019.0", "2019"),
        ("2019-04", "2019"),
        ("2019-04-25T12:57:54.000Z", "2019"),
        ("2019/4/25", "2019"),
        ("20190425", "2019"),
        ("20190425T120000Z", "2019"),
        ("", ""),
        ("19", ""),
        ("20199", ""),
        ("1556196774", ""),
        ("2019-99", ""),
        ("9019-01", ""),
        ("x 2019", ""),
        ("25.4.2019", ""),
    ],
)
def test_year_is_found_in_every_form_of_a_date(date: str, year: str) -> None:
    assert year_of(date) == year
