"""The results of the page: axes, trends by year, comparison of indexes, ambiguous names, examples and citation."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from html import escape, unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import serving
from test_page import HTML, Reader

from factcensus.api.pages.axes import fitting, linear, logarithmic, short
from factcensus.api.pages.plots import Trend, bars, trend
from factcensus.api.pages.results import date_field
from factcensus.api.serving.examples import EXAMPLES, examples_of
from factcensus.api.settings import Published, Settings
from factcensus.indexer import CountIndex, Deadline, build_index, delete_documents
from factcensus.indexer.answers import ExamplesAnswer, FoundDocument
from factcensus.indexer.remote.index import RemoteIndex
from factcensus.indexer.system.places import Place

YEARS = ["2019", "2019", "2020", "2023", "no date", None]


def corpus(folder: Path) -> Path:
    """Write 1,200 documents: "The" in all, "Warsaw" with "Curie" in every 100th, and years in turn."""
    rows: list[dict[str, Any]] = []
    for n in range(1200):
        curie = " Marie Curie left Warsaw" if n % 100 == 0 else ""
        year = YEARS[n % len(YEARS)]
        row = {"id": f"d{n}", "source": "even" if n % 2 else "odd", "text": f"The word{n % 7} is here.{curie}"}
        rows.append(row if year is None else {**row, "when": f"{year}-03-04" if year.isdecimal() else year})
    (folder / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "few.jsonl").write_text('{"text": "Curie, Warsaw"}\n{"text": "Curie"}\n', encoding="utf-8")
    for name in ("many", "few"):
        build_index([folder / f"{name}.jsonl"], folder / name, jobs=1)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def http(folder: Path) -> Iterator[httpx.Client]:
    with (
        serving(Settings(indexes=(folder / "many", folder / "few"))) as url,
        httpx.Client(base_url=url, timeout=60, headers=HTML) as client,
    ):
        yield client


def rows_of(page: str, figure: str) -> list[list[str]]:
    """Return the data of a figure, as in the table below it."""
    found = re.search(rf'<figure id="{figure}">.*?</figure>', page, re.DOTALL)
    assert found is not None
    return Reader(found[0]).rows


def test_the_trend_has_the_documents_of_every_year_and_their_share(http: httpx.Client, folder: Path) -> None:
    page = http.get("/", params={"index": "many", "subject": "Warsaw"}).text
    with CountIndex.open(folder / "many") as index:
        counted = index.count("Warsaw", by="year:when").groups or {}
        every = index.count("the", by="year:when").groups or {}
    years = [str(year) for year in range(2019, 2024)]
    documents = [counted[year].documents if year in counted else 0 for year in years]
    assert rows_of(page, "documents-by-year") == [
        ["Year", "Documents"],
        *([year, str(number)] for year, number in zip(years, documents, strict=True)),
    ]
    undated = counted[""].documents
    assert undated > 0
    assert f"Documents with Warsaw by year (field when), without {undated} that have no year" in page
    shares = {row[0]: row[1] for row in rows_of(page, "share-by-year")[1:]}
    assert list(shares) == ["2019", "2020", "2023"], "years without documents have no share"
    for year, share in shares.items():
        expected = 100 * counted[year].documents / every[year].documents
        assert float(share.removesuffix("%")) == pytest.approx(expected, rel=0.006, abs=0)


def test_the_trend_follows_the_filter_and_the_chosen_field(http: httpx.Client) -> None:
    question = {"index": "many", "subject": "the", "only": "odd"}
    shares = rows_of(http.get("/", params=question).text, "share-by-year")[1:]
    assert {row[1] for row in shares} == {"100%"}
    page = http.get("/", params={**question, "dates": "id"}).text
    assert "No matching document has a date in id." in page
    assert 'id="documents-by-year"' not in page
    wrong = http.get("/", params={**question, "dates": "wen"})
    assert wrong.status_code == 422
    assert "did you mean" in wrong.text


@pytest.mark.parametrize("extra", [{}, {"object": "Warsaw"}])
def test_a_comparison_has_the_numbers_of_both_indexes(http: httpx.Client, extra: dict[str, str]) -> None:
    question = {"subject": "Curie", **extra}
    page = http.get("/", params={"index": "many", "compare": "few", **question}).text
    (section,) = re.findall(r'<section aria-labelledby="compared">.*?</section>', page, re.DOTALL)
    rows = {row[0]: row[1:] for row in Reader(section.rpartition("<table>")[2]).rows if row}
    for place, name in enumerate(("many", "few")):
        if extra:
            answer = http.get(
                f"/v1/indexes/{name}/cooccurrence", params={"subject": "Curie", "object": "Warsaw"}
            ).json()
            expected = {
                "documents with both": answer["cooccurrence"]["documents"],
                "pairs of mentions": answer["cooccurrence"]["pairs"],
                "documents with Curie": answer["subject"]["documents"],
                "mentions of Warsaw": answer["object"]["mentions"],
            }
        else:
            answer = http.get(f"/v1/indexes/{name}/count", params={"text": "Curie"}).json()
            expected = {"documents": answer["documents"], "occurrences": answer["occurrences"]}
        documents = http.get(f"/v1/indexes/{name}").json()["documents"]
        for label, number in {**expected, "all documents": documents}.items():
            assert rows[label][place] == f"{number:,}"
    rates = {row[0]: row[1:] for row in rows_of(page, "comparison")}
    assert rates["documents with both" if extra else "documents"] == ["10,000", "500,000" if extra else "1,000,000"]


def test_one_is_singular_and_the_code_names_subject_and_object(http: httpx.Client) -> None:
    page = http.get("/", params={"index": "few", "subject": "Curie", "object": "Warsaw", "window": "1"}).text
    assert "at most 1 token apart" in page
    for text in ("1 pair of mentions", "2 mentions</dd>", "1 mention</dd>", "2 tokens"):
        assert text in page
    assert "client.cooccurrence('few', subject='Curie', object='Warsaw', window=1, by='source')" in unescape(page)


@pytest.mark.parametrize(("name", "isolated"), [("القاهرة", True), ("Ķīna", False), ("<b>שלום", True)])
def test_only_names_from_right_to_left_are_isolated(http: httpx.Client, name: str, isolated: bool) -> None:
    page = http.get("/", params={"index": "few", "subject": name, "object": "Warsaw"}).text
    shown = f"<bdi>{escape(name)}</bdi>" if isolated else escape(name)
    assert f"{shown} and Warsaw in few</h2>" in page
    assert f"No document mentions {shown}." in page
    assert ("<bdi>" in page) == isolated


def test_an_unknown_index_to_compare_with_is_an_error(http: httpx.Client) -> None:
    answer = http.get("/", params={"index": "many", "subject": "Curie", "compare": "absent"})
    assert answer.status_code == 404
    assert "no index is named" in answer.text


def test_names_that_are_common_words_are_flagged(http: httpx.Client) -> None:
    page = http.get("/", params={"index": "many", "subject": "the", "object": "Curie", "object_alias": "here"}).text
    flagged = re.findall(r"<p><b>([^<]*)</b> is (in [0-9.]+% of all documents)", page)
    assert flagged == [("the", "in 100.0% of all documents"), ("here", "in 100.0% of all documents")]
    assert 'role="note"' not in http.get("/", params={"index": "many", "subject": "Curie"}).text
    assert 'role="note"' not in http.get("/", params={"index": "few", "subject": "Curie"}).text, "too few documents"


@pytest.mark.parametrize("keep_text", [False, True])
def test_passages_are_original_or_marked_as_normalised(tmp_path: Path, keep_text: bool) -> None:
    (tmp_path / "c.jsonl").write_text('{"text": "It was (Marie) Curie!"}\n', encoding="utf-8")
    build_index([tmp_path / "c.jsonl"], tmp_path / "ix", jobs=1, keep_text=keep_text)
    with serving(Settings(indexes=(tmp_path / "ix",))) as url, httpx.Client(base_url=url, headers=HTML) as http:
        for address in ("/?index=ix&subject=curie", "/trace?index=ix&text=curie&least_tokens=1"):
            page = http.get(address).text
            assert ('It was (Marie) <mark class="text">Curie</mark>!' in page) == keep_text
            assert ("shown as normalised words" in page) != keep_text


@pytest.mark.parametrize(
    ("question", "hints", "link"),
    [
        ({"subject": "Currie"}, ["Check the spelling, or try a shorter phrase."], False),
        ({"subject": "Curie", "object": "Wasraw"}, ["No document mentions Wasraw. Check the spelling"], False),
        ({"subject": "word0", "object": "Warsaw", "window": "0"}, [], True),
    ],
)
def test_a_count_of_zero_suggests_what_to_try(
    http: httpx.Client, question: dict[str, str], hints: list[str], link: bool
) -> None:
    page = http.get("/", params={"index": "many", **question}).text
    assert '<span class="large">0</span>' in page
    assert [hint for hint in hints if hint not in page] == []
    assert "No document mentions Curie" not in page
    found = re.findall(r'<a href="([^"]*)">Count in whole documents</a>', page)
    assert len(found) == int(link)
    for address in found:
        assert '<h2 id="counts">word0 and Warsaw in many</h2>' in http.get(unescape(address)).text
    assert ("<caption>Documents by source</caption>" in page) == ("object" in question), "no table of zeros only"


def test_documents_of_one_year_have_a_sentence_and_no_trend(tmp_path: Path) -> None:
    rows = [{"text": "Curie", "created": f"2021-0{month}-01"} for month in range(1, 6)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build_index([tmp_path / "c.jsonl"], tmp_path / "ix", jobs=1)
    with serving(Settings(indexes=(tmp_path / "ix",))) as url, httpx.Client(base_url=url, headers=HTML) as http:
        page = http.get("/", params={"index": "ix", "subject": "Curie"}).text
    assert "All matching documents with a date are from 2021 (field created)." in page
    assert 'id="documents-by-year"' not in page


def test_the_citation_names_index_digest_and_query(http: httpx.Client) -> None:
    page = http.get("/", params={"index": "many", "subject": "Curie"}).text
    (citation,) = re.findall(r'<pre id="citation" tabindex="0"><code>(.*?)</code>', page, re.DOTALL)
    digest = http.get("/v1/indexes/many").json()["digest"]
    assert digest in citation
    (address,) = re.findall(r"url = \{(.*)\}", unescape(citation))
    assert http.get(address).status_code == 200


def test_the_first_screen_shows_the_size_of_each_corpus(http: httpx.Client) -> None:
    rows = {row[0]: row[1:] for row in Reader(http.get("/").text).rows}
    for info in http.get("/v1/indexes", headers={"Accept": "application/json"}).json()["indexes"]:
        assert rows[info["name"]][:2] == [f"{info['documents']:,}", f"{info['tokens']:,} words"]


# --- examples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("analyzer", "keep_text"), [("words", False), ("words", True), ("bytes", False)])
def test_examples_occur_as_often_as_they_say_and_are_always_the_same(
    tmp_path: Path, analyzer: str, keep_text: bool
) -> None:
    names = ["Marie Curie", "Ada Lovelace", "Alan Turing", "Grace Hopper"]
    texts = [f"In that year {names[n % 4]} met {names[(n // 3) % 4]} at home, as they say." for n in range(60)]
    texts += ["It is said that Emmy Noether saw Lise Meitner there."]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    build_index([tmp_path / "c.jsonl"], tmp_path / "ix", jobs=1, analyzer=analyzer, keep_text=keep_text)
    found = []
    for _ in range(2):
        with CountIndex.open(tmp_path / "ix") as index, Deadline(60) as deadline:
            found.append(examples_of(index, deadline))
            for example in found[-1]:
                if example.object:
                    counted = index.cooccurrence(example.subject, example.object).cooccurrence.documents
                else:
                    counted = index.count(example.subject).documents
                assert example.documents == counted > 0
    assert found[0] == found[1]
    assert len(found[0]) == EXAMPLES
    assert {bool(example.object) for example in found[0]} == {True, False}
    if keep_text or analyzer == "bytes":
        assert all(example.subject[0].isupper() for example in found[0]), "names are written as in the text"


@pytest.mark.parametrize(("analyzer", "keep_text"), [("words", False), ("words", True), ("bytes", False)])
def test_examples_of_an_index_at_a_url_are_exact_and_take_few_rounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, analyzer: str, keep_text: bool
) -> None:
    from servers import web_server

    monkeypatch.setenv("FACTCENSUS_CACHE", str(tmp_path / "cache"))
    names = ["Marie Curie", "Ada Lovelace", "Alan Turing", "Grace Hopper"]
    rows = [
        {"text": f"In that year {names[n % 4]} met {names[(n // 3) % 4]} at home, as they say.", "title": f"The {n}th"}
        for n in range(90)
    ]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options: dict[str, Any] = {"jobs": 1, "analyzer": analyzer, "keep_text": keep_text}
    build_index([tmp_path / "c.jsonl"], tmp_path / "site/ix", shard_tokens=len(rows) * 5, **options)
    with web_server(tmp_path / "site") as site, CountIndex.open(tmp_path / "site/ix") as local:
        with CountIndex.open(f"{site.url}/ix") as index, Deadline(60) as deadline:
            found = examples_of(index, deadline)
            assert isinstance(index, RemoteIndex)
            assert index.session.asked.rounds <= 60
        for each in found:
            if each.object:
                counted = local.cooccurrence(each.subject, each.object).cooccurrence.documents
            else:
                counted = local.count(each.subject).documents
            assert each.documents == counted > 0
        assert len(found) == EXAMPLES
        assert {bool(each.object) for each in found} == {True, False}
        host = site.url.removeprefix("http://")
        settings = Settings(published=(Published((Place.of(f"http://{host}/ix"),)),))
        with serving(settings) as url, httpx.Client(base_url=url, headers=HTML) as http:
            page = http.get("/").text
            assert page.count('#answer">') >= EXAMPLES
            reason = "at a URL" if analyzer == "words" else "no list of words"
            assert re.search(rf"Names are not completed in ix: it (is|has) {reason}", page)
            assert '<p class="hint" data-uncompleted="ix">' in page, "it is shown for the chosen index"
            answer = http.get("/v1/indexes/ix/examples")
            assert ExamplesAnswer.from_json(answer.json()) == ExamplesAnswer("ix", list(found))
            assert http.get("/v1/indexes/ix/complete?text=Mar").status_code == 422


def test_examples_do_not_show_deleted_documents(tmp_path: Path) -> None:
    rows = [{"id": str(n), "text": "Secret Person was here." if n == 0 else "Paris is in France."} for n in range(3)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build_index([tmp_path / "c.jsonl"], tmp_path / "ix", jobs=1)
    delete_documents(tmp_path / "ix", ids=["0"])
    with CountIndex.open(tmp_path / "ix") as index, Deadline(60) as deadline:
        examples = examples_of(index, deadline)
    assert examples
    assert not [each for each in examples if "secret" in f"{each.subject} {each.object}"]


def test_titles_are_names_and_headings(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "He was born in Ulm.", "metadata": {"title": "Albert Einstein"}}]
    rows += [{"id": "b", "text": "Albert Einstein lived in Bern.", "metadata": {"title": "Bern"}}]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build_index([tmp_path / "c.jsonl"], tmp_path / "ix", jobs=1)
    with serving(Settings(indexes=(tmp_path / "ix",))) as url, httpx.Client(base_url=url, headers=HTML) as http:
        page = http.get("/").text
        assert ">Albert Einstein</a>" in page
        found = http.get("/", params={"index": "ix", "subject": "born"}).text
        assert '<h3 id="document-0">Albert Einstein</h3>' in found


# --- fields with dates ------------------------------------------------------------------------------------------------


def document(**metadata: Any) -> FoundDocument:
    return FoundDocument(0, "a", None, None, None, metadata, 1, False, [])


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"created": "2020-01-01", "added": "2021-01-01"}, "created"),
        ({"added": "2021-01-01"}, "added"),
        ({"added": "2021-01-01", "metadata": {"date": "2020"}}, "metadata.date"),
        ({"year": 1999}, "year"),
        ({"seen": "2020-01-01T00:00:00Z"}, "seen"),
        ({"year": "unknown", "pages": 2020, "title": "2020"}, None),
        ({"year": True}, None),
        ({"x": ["2020-01-01"]}, None),
        ({}, None),
    ],
)
def test_the_field_with_dates_is_found(metadata: dict[str, Any], field: str | None) -> None:
    assert date_field([document(), document(**metadata)]) == field


# --- axes -------------------------------------------------------------------------------------------------------------


@given(most=st.floats(1e-6, 1e12) | st.integers(1, 10**12))
def test_ticks_of_a_linear_axis_are_even_and_contain_every_value(most: float) -> None:
    axis = linear(most, "%" if most < 1 else "")
    assert axis.place(0) == 0
    assert axis.place(most) <= 1 + 1e-9
    assert 2 <= len(axis.ticks) <= 7
    places = [place for place, _ in axis.ticks]
    assert [axis.place(axis.high * place) for place in places] == pytest.approx(places)
    assert places[0] == 0
    assert places[-1] == 1


@given(most=st.integers(0, 10**15))
def test_ticks_of_a_logarithmic_axis_are_at_their_logarithm(most: int) -> None:
    axis = logarithmic(most)
    assert axis.place(0) == 0
    assert 0 < axis.place(1) < axis.place(2)
    assert axis.place(most) <= 1 + 1e-9
    assert 2 <= len(axis.ticks) <= 9
    for place, text in axis.ticks:
        number = float(text.translate({ord("k"): "e3", ord("M"): "e6", ord("G"): "e9", ord("T"): "e12"}))
        assert place == pytest.approx(axis.place(number))
    assert axis.place(100) - axis.place(10) == pytest.approx(axis.place(10) - axis.place(1))


def test_bars_are_logarithmic_only_if_values_differ_a_hundredfold() -> None:
    assert not fitting([1, 99]).logarithmic
    assert fitting([0, 1, 100]).logarithmic
    assert not fitting([0.5, 5000]).logarithmic
    assert not fitting([]).logarithmic
    wide = bars([("a", 10_000), ("b", 1)], "Documents by x", "x", name="n")
    assert wide.caption.endswith("logarithmic axis")
    one, other = (box.width for box in wide.boxes)
    assert other / one == pytest.approx(math.log(2) / math.log(20_000), abs=0.01)
    even = bars([("a", 40), ("b", 10)], "Documents by x", "x", name="n")
    assert even.boxes[0].width == pytest.approx(4 * even.boxes[1].width, abs=0.05)


def test_long_names_are_shortened_in_the_figure_and_complete_in_its_table() -> None:
    figure = bars([("東" * 60, 2), ("x" * 60, 1)], "Documents", "x", name="n")
    assert [label.text for label in figure.labels if label.shade == "name"] == ["東" * 19 + "…", "x" * 39 + "…"]
    assert [row[0] for row in figure.rows] == ["東" * 60, "x" * 60]


@pytest.mark.parametrize(("first", "last"), [(2000, 2000), (1990, 2020), (1500, 2020)])
def test_labels_of_years_do_not_overlap(first: int, last: int) -> None:
    (figure,) = trend(Trend({first: 1, last: 3}, {}, 0), "x", "created")
    years = [label for label in figure.labels if label.anchor == "middle"]
    assert years
    assert all(right.x - left.x >= 8 for left, right in pairwise(years))
    assert len(figure.rows) == last - first + 1


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (999, "999"), (1000, "1k"), (2500, "2.5k"), (10**6, "1M")])
def test_labels_of_ticks_are_short(value: float, text: str) -> None:
    assert short(value) == text
