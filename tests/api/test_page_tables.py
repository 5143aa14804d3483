"""Tables of facts on the page: upload, counting, strata and download, all without scripts."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from html import unescape
from io import BytesIO
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi import Request
from loopback import serving
from test_page import HTML, Reader

from factcensus.api.jobs.records import Job
from factcensus.api.pages.rendering import html
from factcensus.api.pages.uploads import file_name
from factcensus.api.settings import Limits, Settings
from factcensus.indexer import CountIndex, facts_from_rows, read_facts, stratify
from factcensus.indexer.tables.files import render

CSV = (
    "subject,object,subject_aliases,note\n"
    "Marie Curie,Warsaw,Curie|Maria Skłodowska,<b>\n"
    "Paris,France,,x\n"
    "nowhere,Paris,,\n"
)


@pytest.fixture(scope="module")
def http(index_folder: Path) -> Iterator[httpx.Client]:
    limits = Limits(max_body_bytes=10_000, max_upload_bytes=20_000, max_windows=3, max_job_facts=50)
    with (
        serving(Settings(indexes=(index_folder,), limits=limits)) as url,
        httpx.Client(base_url=url, timeout=60, headers={**HTML, "Origin": url}) as client,
    ):
        yield client


def upload(http: httpx.Client, content: str | bytes = CSV, name: str = "facts.csv", **fields: str) -> httpx.Response:
    data = {"index": "tiny", "windows": "", **fields}
    return http.post("/tables", data=data, files={"facts": (name, content)})


def finished(http: httpx.Client, address: str) -> httpx.Response:
    for _ in range(600):
        page = http.get(address)
        if 'id="progress"' not in page.text:
            return page
        time.sleep(0.1)
    raise AssertionError(f"{address} is not counted")


def test_a_table_is_uploaded_counted_shown_and_downloaded(http: httpx.Client, index: CountIndex) -> None:
    sent = upload(http, windows="3, 10")
    assert sent.status_code == 303
    address = f"/{sent.headers['Location']}"
    page = finished(http, address)
    reader = Reader(page.text)
    assert [row[:3] for row in reader.rows if "Marie Curie" in row] == [["Marie Curie", "Warsaw", "3"]]
    assert 'role="img"' in page.text
    links = [tag["href"] for tag in reader.named("a") if tag.get("href")]
    downloads = [str(link) for link in links if "result?format=" in str(link) or "/strata." in str(link)]
    assert len(downloads) == 7
    got = {link: http.get(str(httpx.URL(http.base_url).join(f"/tables/{link}"))) for link in downloads}
    assert {answer.status_code for answer in got.values()} == {200}
    expected = index.count_facts(read_facts(BytesIO(CSV.encode()), "csv"), windows=[3, 10])
    csv = next(answer for link, answer in got.items() if link.endswith("format=csv"))
    assert csv.content == b"".join(render(expected, "csv"))
    strata = next(answer for link, answer in got.items() if "strata.csv" in link)
    assert strata.content == b"".join(render(stratify(expected, bins="quantile:3"), "csv"))
    assert 'attachment; filename="strata-' in strata.headers["Content-Disposition"]


def test_a_stratum_column_of_the_table_is_not_overwritten(http: httpx.Client) -> None:
    address = f"/{upload(http, 'subject,object,stratum' + chr(10) + 'Curie,Warsaw,rare' + chr(10)).headers['Location']}"
    finished(http, address)
    answer = http.get(f"{address}/strata.csv")
    assert answer.status_code == 422
    assert "already has a column 'stratum'" in unescape(answer.text)


def test_facts_of_the_table_link_to_their_page(http: httpx.Client) -> None:
    page = finished(http, f"/{upload(http, windows='3').headers['Location']}?by=cooccurrence_documents_w3")
    (link,) = [tag["href"] for tag in Reader(page.text).named("a") if "Marie" in str(tag.get("href"))]
    one = http.get(str(httpx.URL(http.base_url).join(f"/tables/{link}")))
    assert one.status_code == 200
    assert "Maria Skłodowska" in one.text
    assert "at most 3 tokens apart" in one.text


def test_bins_and_column_can_be_chosen_and_errors_are_shown(http: httpx.Client) -> None:
    address = f"/{upload(http).headers['Location']}"
    finished(http, address)
    assert "2+" in http.get(address, params={"bins": "edges:1,2"}).text
    assert "Facts by subject mentions" in http.get(address, params={"by": "subject_mentions"}).text
    for wrong in ({"bins": "quartiles"}, {"by": "absent"}, {"by": "note"}):
        page = http.get(address, params=wrong)
        (alert,) = [tag for tag in Reader(page.text).named("p") if tag.get("role") == "alert"]
        assert alert["class"] == "error"


@pytest.mark.parametrize(
    ("content", "name", "fields", "status", "says"),
    [
        ("", "facts.csv", {}, 422, "no header line"),
        ("subject,object\n,Warsaw\n", "facts.csv", {}, 422, "row 1"),
        ("subject\nCurie\n", "facts.csv", {}, 422, "object"),
        (CSV, "facts.exe", {}, 422, "unsupported file"),
        (CSV, "<img src=x>.csv.exe", {}, 422, "&lt;img src=x&gt;"),
        (CSV, "facts.parquet", {}, 400, "cannot be read as Parquet"),
        (CSV, "facts.arrow", {}, 400, "cannot be read as an Arrow stream"),
        (b"\xff\xfe", "facts.csv", {}, 422, "UTF-8"),
        ("{", "facts.json", {}, 400, "not JSON"),
        (CSV, "facts.csv", {"index": "absent"}, 404, "no index is named"),
        (CSV, "facts.csv", {"windows": "a"}, 422, "whole numbers"),
        (CSV, "facts.csv", {"windows": "1,2,3,4"}, 422, "FACTCENSUS_MAX_WINDOWS"),
        ("subject,object\n" + "a,b\n" * 51, "facts.csv", {}, 422, "FACTCENSUS_MAX_JOB_FACTS"),
        ("subject,object\n...,b\n", "facts.csv", {}, 422, "no token"),
    ],
)
def test_an_invalid_table_is_reported_on_the_page(
    http: httpx.Client, content: str | bytes, name: str, fields: dict[str, str], status: int, says: str
) -> None:
    answer = upload(http, content, name, **fields)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "text/html; charset=utf-8")
    assert says in answer.text
    assert [tag["role"] for tag in Reader(answer.text).named("p") if tag.get("class") == "error"] == ["alert"]


def test_a_form_without_a_file_is_refused(http: httpx.Client) -> None:
    for answer in (
        http.post("/tables", data={"index": "tiny"}),
        http.post("/tables", content=b"no form", headers={"Content-Type": "multipart/form-data; boundary=x"}),
        http.post("/tables", content=b"{}", headers={"Content-Type": "application/json"}),
        http.post("/tables", content=b"no form", headers={"Content-Type": "multipart/form-data"}),
    ):
        assert answer.status_code in (400, 422)
        assert "choose a file" in answer.text or "the form cannot be read" in answer.text


def test_a_file_above_the_limit_is_refused(http: httpx.Client) -> None:
    answer = upload(http, "subject,object\n" + "x" * 21_000)
    assert answer.status_code == 413
    assert "FACTCENSUS_MAX_UPLOAD_BYTES" in answer.text
    facts = [{"subject": "Paris", "object": "Curie", "note": "x" * 11_000}]
    as_a_whole = upload(http, json.dumps({"facts": facts}), "facts.json")
    assert as_a_whole.status_code == 413
    assert "FACTCENSUS_MAX_BODY_BYTES" in as_a_whole.text
    assert upload(http, json.dumps(facts[0]), "facts.jsonl").status_code == 303


def test_forms_of_other_sites_are_refused(http: httpx.Client) -> None:
    """A browser would send a stored password with such forms."""
    address = f"/{upload(http).headers['Location']}"
    for path in ("/tables", f"{address}/remove"):
        answer = http.post(path, data={"index": "tiny"}, headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403
        assert "another site" in answer.text
    assert http.get(address).status_code == 200


def test_a_removed_table_is_gone(http: httpx.Client) -> None:
    address = f"/{upload(http).headers['Location']}"
    assert address.rpartition("/")[2] in http.get("/tables").text
    answer = http.post(f"{address}/remove")
    assert (answer.status_code, answer.headers["Location"]) == (303, "../../tables")
    gone = http.get(address)
    assert gone.status_code == 404
    assert "Table not found" in gone.text
    assert address.rpartition("/")[2] not in http.get("/tables").text


def test_a_table_with_markup_is_shown_as_text(http: httpx.Client) -> None:
    attack = "<script>alert(1)</script>"
    sent = upload(http, f"subject,object\n{attack},Curie\n")
    page = finished(http, f"/{sent.headers['Location']}")
    assert len(Reader(page.text).named("script")) == 1  # the page's own
    assert attack not in page.text


def test_a_page_without_scripts_refreshes_itself() -> None:
    """Render the progress page directly, because seeing it depends on timing."""
    job = Job(
        "a" * 32,
        "",
        "tiny",
        "d",
        "text/csv",
        (),
        state="running",
        facts=9,
        counted=4,
        created=0,
        started=0,
        finished=None,
        error=None,
        generation=0,
    )
    request = Request({"type": "http", "method": "GET", "path": "/tables/a", "headers": [], "query_string": b""})
    page = bytes(html(request, "table.html", {"job": job, "finished": False}).body).decode()
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in page
    assert '<progress id="progress" max="9" value="4">' in page
    assert '<p role="status" class="hint">4 of 9 facts counted' in page


def test_a_long_table_shows_frequent_rare_and_unseen_facts_apart(http: httpx.Client) -> None:
    rows = [{"subject": f"name{n}", "object": "Curie"} for n in range(15)]
    rows += [{"subject": "Warsaw", "object": "Curie"}] * 10 + [{"subject": "Paris", "object": "France"}] * 12
    text = b"".join(render(facts_from_rows(rows), "csv"))
    sent = upload(http, text, "my facts.csv")
    page = finished(http, f"/{sent.headers['Location']}")
    titles = re.findall(r'<h2 id="(frequent|rarest|unseen)">([^<]*)</h2>', page.text)
    assert titles == [
        ("frequent", "The most frequent facts"),
        ("rarest", "The rarest facts"),
        ("unseen", "Facts that never occur"),
    ]
    facts = [row for row in Reader(page.text).rows if len(row) == 3 and row[0] != "Subject"]
    assert facts[:10] == [["Warsaw", "Curie", "3"]] * 10
    assert facts[10:20] == [["Paris", "France", "1"]] * 10
    assert facts[20:] == [[f"name{n}", "Curie", "0"] for n in range(10)]
    assert "2 facts between these and the most frequent ones are not shown." in page.text
    assert "The first 10 of 15; the download has all." in page.text
    assert "<h1>my facts.csv: 37 facts in tiny</h1>" in page.text
    listed = Reader(http.get("/tables").text)
    assert ["my facts.csv", "tiny", "37"] in [[row[0], *row[2:4]] for row in listed.rows]


def test_a_short_table_shows_its_facts_in_one_list(http: httpx.Client) -> None:
    page = finished(http, f"/{upload(http).headers['Location']}")
    titles = re.findall(r'<h2 id="(?:frequent|rarest|unseen)">([^<]*)</h2>', page.text)
    assert titles == ["Facts that occur, most frequent first", "Facts that never occur"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("C:\\data\\x.csv", "x.csv"),
        ("../a/b.csv", "b.csv"),
        ("a\nb\t.csv", "a b .csv"),
        ("é" * 200 + ".csv", "é" * 120),
    ],
)
def test_file_names_are_short_and_without_folders(given: str, name: str) -> None:
    assert file_name(given) == name


def test_a_table_with_times_that_only_arrow_can_represent_is_shown(http: httpx.Client) -> None:
    file = BytesIO()
    odd = pa.array([2**31 - 1], pa.date32())
    pq.write_table(pa.table({"subject": ["Paris"], "object": ["France"], "x": odd}), file)
    address = f"/{upload(http, file.getvalue(), 'facts.parquet').headers['Location']}"
    assert "Paris" in finished(http, address).text
    bins = http.get(f"{address}?bins=edges:1,{10**30}")
    assert bins.status_code == 200
    assert "invalid bins" in bins.text
