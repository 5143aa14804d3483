"""The web page works without scripts, loads no other files, and escapes all text."""

from __future__ import annotations

import json
import re
import shlex
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loopback import serving

from factcensus.api.pages.traces import Piece, pieces
from factcensus.api.settings import Settings
from factcensus.indexer import build_index
from factcensus.indexer.answers import TracedSpan

HTML = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
QUESTION = {
    "index": "tiny",
    "subject": "Marie Curie",
    "subject_alias": "Curie\r\n\r\n Maria Skłodowska ",
    "object": "Warsaw",
}


class Reader(HTMLParser):
    """Collects tags, ids and table rows."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data.strip()

    def named(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in tags]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (HTML["Accept"], "text/html"),
        ("*/*", "application/json"),
        (None, "application/json"),
        ("application/json", "application/json"),
        ("application/json, text/html;q=0.5", "application/json"),
        ("text/html;q=0, */*", "application/json"),
        ("image/png", "application/problem+json"),
    ],
)
def test_html_is_returned_if_preferred_and_index_names_otherwise(url: str, accept: str | None, media_type: str) -> None:
    answer = httpx.request("GET", url + "/", headers={"Accept": accept} if accept else {})
    assert answer.headers["Content-Type"].partition(";")[0] == media_type
    if media_type == "application/json":
        assert answer.json() == ["tiny"]


@pytest.mark.parametrize("path", ["/", "/docs", "/tables", "/?index=tiny&subject=Curie&object=Warsaw"])
def test_pages_load_nothing_from_other_hosts(http: httpx.Client, path: str) -> None:
    answer = http.get(path, headers=HTML)
    assert answer.status_code == 200
    page = Reader(answer.text)
    assert not page.named("iframe", "img", "object", "embed", "base")
    assert not re.search(r"(src|href|action)=.?(https?:)?//", answer.text)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["form-action"] == policy["connect-src"] == "'self'"
    (style,), (script,) = page.named("style"), page.named("script")
    assert style["nonce"] == script["nonce"]
    assert "src" not in script
    assert policy["style-src"] == policy["script-src"] == f"'nonce-{style['nonce']}'"
    assert not [
        tag for tag, attributes in page.tags if any(name.startswith("on") or name == "style" for name in attributes)
    ]
    assert (
        httpx.get(answer.url, headers=HTML).headers["Content-Security-Policy"]
        != answer.headers["Content-Security-Policy"]
    )
    assert page.named("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.named("meta")


def test_every_field_of_the_form_has_a_label(http: httpx.Client) -> None:
    page = Reader(http.get("/", headers=HTML).text)
    fields = {field["id"] for field in page.named("input", "select", "textarea")}
    assert fields == {label["for"] for label in page.named("label")}
    assert fields == {"index", "subject", "subject_alias", "object", "object_alias", "window", "by", "dates"}
    assert page.named("form")[0]["method"] == "get"  # so that a result has a URL to share


def test_the_form_returns_counts_by_source(http: httpx.Client) -> None:
    page = Reader(http.get("/", params=QUESTION, headers=HTML).text)
    assert page.rows[-3:] == [
        ["books", "2", "4", "2", "4", "2", "2"],
        ["wiki", "1", "4", "2", "3", "2", "3"],
        ["all", "3", "8", "4", "7", "4", "5"],
    ]
    assert len(page.named("article")) == 3


def test_the_window_is_applied(http: httpx.Client) -> None:
    page = Reader(http.get("/", params={**QUESTION, "window": "0"}, headers=HTML).text)
    assert page.rows[-1][:3] == ["all", "3", "3"]


def test_the_curl_command_gives_the_same_counts(http: httpx.Client) -> None:
    html = http.get("/", params={**QUESTION, "window": "3"}, headers=HTML).text
    (line,) = re.findall(r"<pre.*><code>(.*)</code></pre>", html)
    curl, address, option, body = shlex.split(unescape(line))
    assert (curl, option) == ("curl", "--json")
    answer = http.post(address, json=json.loads(body)).json()
    assert answer["subject"]["aliases"] == ["Curie", "Maria Skłodowska"]
    assert answer["window"] == 3
    assert set(answer["by_source"]) == {"books", "wiki"}


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        ({"index": "absent"}, 404, "no index is named"),
        ({"index": "<b>x</b>"}, 404, "&lt;b&gt;x&lt;/b&gt;"),
        ({"subject": ""}, 422, "enter the name of the subject"),
        ({"subject": "", "subject_alias": "", "object": ""}, 422, "enter a subject"),
        ({"object": " ", "object_alias": "Warszawa"}, 422, "enter the name of the object, or clear its aliases"),
        ({"compare": "tiny"}, 422, "&#39;tiny&#39; cannot be compared with itself"),
        ({"subject": "..."}, 422, "finds no token"),
        ({"window": "-1"}, 422, "whole number"),
        ({"window": "٣"}, 422, "whole number"),
        ({"window": "9" * 5000}, 422, "whole number"),
        ({"subject_alias": "\n".join("abcdefg")}, 422, "FACTCENSUS_MAX_ALIASES"),
    ],
)
def test_errors_are_shown_on_the_page(limited: httpx.Client, change: dict[str, str], status: int, says: str) -> None:
    answer = limited.get("/", params={**QUESTION, **change}, headers=HTML)
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("text/html")
    assert says in answer.text
    (message,) = [tag for _, tag in Reader(answer.text).tags if tag.get("role") == "alert"]
    assert message["class"] == "error"


def test_typed_and_corpus_text_is_escaped(http: httpx.Client) -> None:
    attack = '"><script>alert(1)</script>'
    question = {**QUESTION, "subject": attack, "subject_alias": f"</textarea>{attack}\nscript", "object": "Warsaw"}
    page = Reader(http.get("/", params=question, headers=HTML).text)
    assert len(page.named("script")) == 1  # the page's own
    assert next(field for field in page.named("input") if field["id"] == "subject")["value"] == attack


def test_an_index_without_sources_can_be_shown(tmp_path: Path) -> None:
    """An index as infini-gram builds it, without manifest and document table, keeps the original text."""
    (tmp_path / "corpus.jsonl").write_text('{"text": "Marie Curie was born in Warsaw."}\n', encoding="utf-8")
    build_index([tmp_path / "corpus.jsonl"], tmp_path / "plain", analyzer="bytes", jobs=1)
    kept = ("tokenized.", "table.", "offset.")
    for file in (tmp_path / "plain").iterdir():
        if not file.name.startswith(kept):
            file.unlink()
    with serving(Settings(indexes=(tmp_path / "plain",))) as url, httpx.Client(base_url=url, timeout=60) as http:
        answer = http.get("/", params={"index": "plain", "subject": "Curie", "object": "Warsaw"}, headers=HTML)
        assert answer.status_code == 200
        assert '<span class="large">1</span>' in answer.text
        assert 'Marie <mark class="subject">Curie</mark> was born in <mark class="object">Warsaw</mark>.' in answer.text
        listed = http.get("/v1/indexes").json()["indexes"][0]
        assert (listed["digest"], listed["documents"]) == (None, 1)


def page_of(http: httpx.Client, **question: str) -> Reader:
    answer = http.get("/", params={**QUESTION, **question}, headers=HTML)
    assert answer.status_code == 200
    return Reader(answer.text)


def links(page: Reader, containing: str) -> list[str]:
    return [str(tag["href"]) for tag in page.named("a") if containing in str(tag.get("href"))]


def test_the_json_link_returns_the_same_counts(http: httpx.Client) -> None:
    (link,) = links(page_of(http, window="3", only="wiki"), "cooccurrence?")
    answer = http.get(link.removeprefix("."))
    body = {
        "subject": {"name": "Marie Curie", "aliases": ["Curie", "Maria Skłodowska"]},
        "object": {"name": "Warsaw"},
        "window": 3,
        "by": "source",
        "filter": {"source": ["wiki"]},
    }
    assert answer.json() == http.post("/v1/indexes/tiny/cooccurrence", json=body).json()
    assert http.get(link.removeprefix("."), headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_the_link_of_a_source_restricts_the_documents(http: httpx.Client) -> None:
    (link,) = links(page_of(http), "only=books")
    page = Reader(http.get(link.removeprefix("."), headers=HTML).text)
    assert page.rows[-1] == ["all", "2", "4", "2", "4", "2", "2"]
    assert len(page.named("article")) == 2
    (back,) = [link for link in links(page, "./?index=tiny") if "only" not in link]
    assert Reader(http.get(back.removeprefix("."), headers=HTML).text).rows[-1][1] == "3"


def test_counts_by_another_column(http: httpx.Client) -> None:
    page = page_of(http, by="path")
    assert [row[0] for row in page.rows[1:]] == ["part-0.jsonl", "all"]
    wrong = http.get("/", params={**QUESTION, "by": "absent"}, headers=HTML)
    assert (wrong.status_code, "unknown column or metadata field" in wrong.text) == (422, True)
    assert len(page_of(http, by="").rows) == 0


def test_pages_of_documents_are_linked(tmp_path: Path) -> None:
    rows = [{"id": f"d{n}", "text": "Curie Warsaw", "url": "https://example.org/a?b=1&c=2"} for n in range(12)]
    rows[3] |= {"url": "javascript:alert(1)", "nested": {"a": ["<b>"]}}
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build_index([tmp_path / "corpus.jsonl"], tmp_path / "tiny", jobs=1)
    with serving(Settings(indexes=(tmp_path / "tiny",))) as url, httpx.Client(base_url=url, timeout=60) as http:
        address, seen = "/?index=tiny&subject=Curie&object=Warsaw", list[str]()
        while address:
            text = http.get(address, headers=HTML).text
            page = Reader(text)
            seen += [str(tag["aria-labelledby"]) for tag in page.named("article")]
            following = [tag["href"] for tag in page.named("a") if tag.get("rel") == "next"]
            address = str(following[0]).removeprefix(".") if following else ""
            if len(seen) == 5:
                assert links(page, "example.org") == ["https://example.org/a?b=1&c=2"] * 4
                assert not links(page, "javascript:")
                assert "<b>" not in text
        assert seen == [f"document-{number}" for number in range(12)]
        broken = http.get("/?index=tiny&subject=Curie&object=Warsaw&cursor=x", headers=HTML)
        assert broken.status_code == 422
        assert "invalid cursor" in broken.text


def test_headings_are_in_order_and_regions_have_names(http: httpx.Client) -> None:
    for path, params in (("/", {}), ("/", QUESTION), ("/tables", {}), ("/docs", {})):
        page = Reader(http.get(path, params=params, headers=HTML).text)
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        assert [len(page.named(landmark)) for landmark in ("main", "header", "footer")] == [1, 1, 1]
        ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
        assert len(ids) == len(set(ids))
        for _, attributes in page.tags:
            assert set(str(attributes.get("aria-labelledby") or "").split()) <= set(ids)
        for tag in page.named("section", "nav", "article"):
            assert tag.get("aria-labelledby") or tag.get("aria-label")
        assert page.named("a")[0] == {"class": "skip", "href": "#main"}


def test_a_text_alone_is_counted(http: httpx.Client) -> None:
    answer = http.get("/", params={"index": "tiny", "subject": "Paris"}, headers=HTML)
    assert answer.status_code == 200
    counted = http.get("/v1/indexes/tiny/count", params={"text": "Paris", "by": "source"}).json()
    assert f'<span class="large">{counted["documents"]}</span>' in answer.text
    rows = {row[0]: row[1:] for row in Reader(answer.text).rows if len(row) == 3 and row[0] != "all"}
    expected = {name: [str(each["documents"]), str(each["occurrences"])] for name, each in counted["by_source"].items()}
    assert rows == {name: numbers for name, numbers in expected.items() if numbers[0] != "0"} | {
        "Source": ["documents", "occurrences"]
    }
    assert '<mark class="text">' in answer.text


@pytest.mark.parametrize("field", ["subject_alias", "window"])
def test_aliases_and_windows_need_an_object(field: str, http: httpx.Client) -> None:
    answer = http.get("/", params={"index": "tiny", "subject": "Paris", field: "7"}, headers=HTML)
    assert answer.status_code == 422
    assert "need an object" in answer.text


@pytest.mark.parametrize(
    "question",
    [
        {"subject": "Paris"},
        {"subject": "Marie Curie", "subject_alias": "Curie\nMaria Skłodowska", "object": "Warsaw", "window": "3"},
        {"subject": "Paris", "by": "source", "only": "wiki"},
    ],
)
def test_the_python_code_of_the_page_gives_its_numbers(
    question: dict[str, str], http: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = http.get("/", params={"index": "tiny", **question}, headers=HTML).text
    (code,) = re.findall(r'<pre id="python" tabindex="0"><code>(.*?)</code></pre>', answer, re.DOTALL)
    exec(unescape(code), {})  # noqa: S102 - what the page tells users to run
    assert "documents=" in capsys.readouterr().out
    (link,) = re.findall(r'<a href="([^"]*)">Permalink</a>', answer)
    assert http.get(unescape(link), headers=HTML).status_code == 200


def test_the_spans_of_a_text_are_highlighted_and_listed(http: httpx.Client) -> None:
    text = "They say that <b>Curie was born in Warsaw</b> before 1900"
    answer = http.get("/trace", params={"index": "tiny", "text": text}, headers=HTML)
    traced = http.post("/v1/indexes/tiny/trace", json={"text": text}).json()
    assert f"{traced['covered']} of {len(traced['tokens'])} tokens" in answer.text
    assert "They say that &lt;b&gt;" in answer.text, "the text is shown as it was entered"
    written = [unescape(each) for each in re.findall(r"<h3 [^>]*>[0-9]+\. (.*)</h3>", answer.text)]
    assert written == ["Curie was born in Warsaw"]
    for span in traced["spans"]:
        assert f"{span['end'] - span['start']} tokens · {span['occurrences']} occurrence" in answer.text
    assert "<b>Curie" not in answer.text


def test_the_links_of_a_trace_lead_to_it_and_to_all_documents(
    http: httpx.Client, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "I think Curie's «Paris»"
    query = {"index": "tiny", "text": text, "least_tokens": "1"}
    page = http.get("/trace", params=query, headers=HTML).text
    traced = http.post("/v1/indexes/tiny/trace", json={"text": text, "least_tokens": 1}).json()
    (code,) = re.findall(r'<pre id="python" tabindex="0"><code>(.*?)</code></pre>', page, re.DOTALL)
    exec(unescape(code), {})  # noqa: S102 - what the page tells users to run
    assert f"covered={traced['covered']}" in capsys.readouterr().out
    (link,) = re.findall(r'<a href="([^"]*)">Permalink</a>', page)
    assert unescape(link).endswith("#answer")
    assert http.get("/" + unescape(link), headers=HTML).text.count("<mark") == page.count("<mark") > 0
    links = re.findall(r'<a href="([^"]*)" aria-label="All documents with span ([0-9]+)"', page)
    several = [number for number, span in enumerate(traced["spans"], 1) if span["documents"] > 1]
    assert several == [int(number) for _, number in links]
    for address, number in links:
        counted = http.get(unescape(address), headers=HTML).text
        documents = traced["spans"][int(number) - 1]["documents"]
        assert f'<dt>Documents</dt><dd><span class="large">{documents}</span>' in counted


def test_spans_that_overlap_are_all_marked_in_the_text_as_entered() -> None:
    text = "Curie: left «Warsaw», then Paris."
    places = [(0, 5), (7, 11), (13, 19), (22, 26), (27, 32)]
    spans = [TracedSpan(0, 3, "", 4, 3, []), TracedSpan(1, 4, "", 1, 1, [])]
    assert pieces(text, places, spans) == [
        Piece("Curie: ", (1,), None, 3),
        Piece("left «Warsaw", (1, 2), 1, 1),
        Piece("», then", (2,), 2, 1),
        Piece(" Paris."),
    ]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=20),
    st.lists(st.tuples(st.integers(0, 19), st.integers(1, 6), st.integers(1, 3)), max_size=6),
)
def test_the_pieces_of_a_text_give_the_text_and_mark_every_token(
    sizes: list[tuple[int, int]], ranges: list[tuple[int, int, int]]
) -> None:
    """Tokens have 0 to 3 characters, after a gap of 0 to 2: of two tokens in one character, one has none left."""
    text, places = "", list[tuple[int, int]]()
    for gap, size in sizes:
        start = len(text) + gap
        text += "-" * gap + chr(97 + len(places)) * size
        places.append((start, start + size))
    chosen = {start: (start + size, documents) for start, size, documents in ranges if start + size <= len(places)}
    ends, spans = 0, list[TracedSpan]()
    for start, (end, documents) in sorted(chosen.items()):
        if end > ends:
            spans.append(TracedSpan(start, end, "", documents, documents, []))
            ends = end
    found = pieces(text + ".", places, spans)
    assert "".join(piece.text for piece in found) == text + "."
    assert [piece.ends for piece in found if piece.ends] == list(range(1, len(spans) + 1))
    for token, (start, end) in enumerate(places):
        if end > start:
            expected = tuple(n for n, span in enumerate(spans, 1) if span.start <= token < span.end)
            assert {piece.spans for piece in found if chr(97 + token) in piece.text} == {expected}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"text": "!!!"}, "no token"),
        ({"text": "a", "least_tokens": "0"}, "from 1 to 1000"),
        ({"text": "a" * 10_001}, "FACTCENSUS_MAX_TEXT_CHARS"),
        ({"text": "a", "index": "other"}, "other"),
    ],
)
def test_a_text_that_cannot_be_traced_is_an_error_on_the_page(
    query: dict[str, str], message: str, http: httpx.Client
) -> None:
    answer = http.get("/trace", params={"index": "tiny", **query}, headers=HTML)
    assert answer.status_code in (404, 422)
    assert message in answer.text
