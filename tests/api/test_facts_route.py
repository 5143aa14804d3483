"""Counting tables of facts in five request and response formats; the counts equal those of the index."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factcensus.indexer import CountIndex, facts_from_rows, read_facts
from factcensus.indexer.tables.files import render

FACTS: list[dict[str, Any]] = [
    {"subject": "Marie Curie", "object": "Warsaw", "subject_aliases": ["Maria Skłodowska", "Curie"], "note": "a|b"},
    {"subject": "Paris", "object": "France", "subject_aliases": [], "note": 'with "quotes", and\na line break'},
    {"subject": "Nobody", "object": "Warsaw", "subject_aliases": ["Curie"], "note": "ünïcode 日本"},
]
JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
ALL = [JSON, NDJSON, CSV, ARROW, PARQUET]
ROUTE = "/v1/indexes/tiny/facts:count"
WINDOWS = [0, 5]


def parquet_of(table: pa.Table) -> bytes:
    out = BytesIO()
    pq.write_table(table, out, compression="gzip", row_group_size=2)
    return out.getvalue()


def arrow_of(table: pa.Table) -> bytes:
    out = BytesIO()
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table, max_chunksize=2)
    return out.getvalue()


def body_of(media_type: str) -> bytes:
    if media_type == JSON:
        return orjson.dumps({"facts": FACTS, "windows": WINDOWS})
    if media_type in (ARROW, PARQUET):
        return (arrow_of if media_type == ARROW else parquet_of)(facts_from_rows(FACTS))
    return b"".join(render(facts_from_rows(FACTS), "csv" if media_type == CSV else "jsonl"))


def rows_of(media_type: str, content: bytes) -> list[dict[str, Any]]:
    if media_type in (ARROW, PARQUET):
        read = pa.ipc.open_stream(content).read_all() if media_type == ARROW else pq.read_table(BytesIO(content))
        binary: list[dict[str, Any]] = read.to_pylist()
        return binary
    if media_type == JSON:
        in_json: list[dict[str, Any]] = orjson.loads(content)["facts"]
        return in_json
    rows: list[dict[str, Any]] = read_facts(BytesIO(content), "csv" if media_type == CSV else "jsonl").to_pylist()
    return rows


@pytest.fixture(scope="module")
def expected(index: CountIndex) -> pa.Table:
    return index.count_facts(facts_from_rows(FACTS), windows=WINDOWS)


@pytest.mark.parametrize("out", ALL)
@pytest.mark.parametrize("into", ALL)
def test_all_formats_return_the_counts_of_the_index(
    http: httpx.Client, expected: pa.Table, into: str, out: str
) -> None:
    params = {} if into == JSON else {"windows": WINDOWS}
    headers = {"Content-Type": into, "Accept": out}
    answer = http.post(ROUTE, content=body_of(into), params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].partition(";")[0] == out
    rows = expected.to_pylist()
    if out == CSV:  # cells have no types
        rows = read_facts(BytesIO(b"".join(render(expected, "csv"))), "csv").to_pylist()
    assert rows_of(out, answer.content) == rows
    assert [row["cooccurrence_documents"] for row in expected.to_pylist()] == [3, 1, 3]


@pytest.mark.parametrize("accept", [None, "*/*", "text/*, application/*;q=1.0, */*;q=0.1"])
@pytest.mark.parametrize("into", ALL)
def test_the_response_has_the_format_of_the_body_if_any_is_accepted(
    http: httpx.Client, into: str, accept: str | None
) -> None:
    headers = {"Content-Type": into} | ({"Accept": accept} if accept else {})
    answer = http.post(ROUTE, content=body_of(into), headers=headers)
    assert answer.headers["Content-Type"].partition(";")[0] == into


def test_other_columns_and_the_order_of_rows_are_kept(http: httpx.Client) -> None:
    facts = [{"subject": "Paris", "object": "France", "year": year, "tags": ["x"], "extra": None} for year in (3, 1, 2)]
    answer = http.post(ROUTE, json={"facts": facts})
    assert [fact["year"] for fact in answer.json()["facts"]] == [3, 1, 2]
    assert all(fact["tags"] == ["x"] and fact["extra"] is None for fact in answer.json()["facts"])
    assert answer.json()["facts"][0]["index"] == "tiny"


@pytest.mark.parametrize(
    ("media_type", "body", "status", "says"),
    [
        (JSON, b'{"facts": [{"subject": "a", "object": " "}]}', 422, "row 1"),
        (JSON, b'{"facts": [{"subject": "a", "object": {"b": 7}}]}', 422, "row 1"),
        (JSON, b'{"facts": [{"subject": "a"}]}', 422, "object"),
        (JSON, b'{"facts": []}', 422, "no rows"),
        (JSON, b'{"facts": [1]}', 422, "facts.0"),
        (JSON, b'{"facts": {}}', 422, "facts"),
        (JSON, b'{"facts": [{"subject": "a", "object": "b"}], "windows": [-1]}', 422, "windows.0"),
        (JSON, b'{"facts": [{"subject": "a", "object": "b"}], "windows": ["1"]}', 422, "windows.0"),
        (JSON, b'{"facts": [{"subject": "a", "object": "b"}], "window": 1}', 422, "window"),
        (JSON, b'{"facts": [{"subject": "a", "object": "b"}, {"subject": ["a"], "object": "b"}]}', 422, "row 2"),
        (JSON, b'{"facts": [{"subject": "a", "object": "b", "exact": "mine"}]}', 422, "'exact'"),
        (JSON, b'{"facts": [{"subject": "\\ud800", "object": "b"}]}', 400, "not JSON"),
        (JSON, b"[" * 5000, 400, "not JSON"),
        (JSON, b"\xff\xfe", 400, "not JSON"),
        (JSON, b"", 400, "not JSON"),
        (NDJSON, b'{"subject": "a", "object": "b"}\nnope\n', 422, "line 2"),
        (NDJSON, b'{"subject": "a", "object": "b"}\n["c"]\n', 422, "line 2"),
        (NDJSON, b'{"subject": "a", "object": "b"}\n{"subject": "...", "object": "b"}\n', 422, "row 2"),
        (NDJSON, b"", 422, "no rows"),
        (CSV, b"subject\na\n", 422, "object"),
        (CSV, b"subject,object\na,b,c\n", 422, "row 1"),
        (CSV, b"subject,object\na,\xff\n", 422, "UTF-8"),
        (CSV, b"", 422, "header"),
        (PARQUET, b"PAR1 and then something else", 400, "Parquet"),
        (PARQUET, b"", 400, "Parquet"),
        (PARQUET, parquet_of(pa.table({"subject": ["a"]})), 422, "object"),
        (PARQUET, parquet_of(pa.table({"subject": [[1]], "object": ["b"]})), 422, "row 1"),
        (PARQUET, parquet_of(pa.table({"subject": ["a"], "object": ["b"]}))[:-20], 400, "Parquet"),
        (ARROW, b"no stream", 400, "Arrow"),
        (ARROW, b"", 400, "Arrow"),
        (ARROW, arrow_of(pa.table({"subject": ["a"] * 9, "object": ["b"] * 9}))[:-100], 400, "Arrow"),
        (ARROW, arrow_of(pa.table({"subject": pa.array([], pa.string()), "object": []})), 422, "no rows"),
        ("text/plain", b"subject,object\na,b\n", 415, "text/csv"),
        ("", b"subject,object\na,b\n", 415, "text/csv"),
    ],
)
def test_a_body_that_is_not_a_fact_table_is_refused_with_the_reason(
    http: httpx.Client, media_type: str, body: bytes, status: int, says: str
) -> None:
    answer = http.post(ROUTE, content=body, headers={"Content-Type": media_type})
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert says in answer.json()["detail"]


def test_a_request_that_accepts_no_available_format_is_refused(http: httpx.Client) -> None:
    answer = http.post(ROUTE, content=body_of(CSV), headers={"Content-Type": CSV, "Accept": "image/png"})
    assert answer.status_code == 406
    assert "text/csv" in answer.json()["detail"]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([2**31 - 1], pa.date32()),
        pa.array([2**62], pa.duration("s")),
        pa.array([5], pa.timestamp("us", "Not/AZone")),
    ],
    ids=str,
)
def test_times_that_only_arrow_can_represent_are_refused_clearly(http: httpx.Client, values: pa.Array) -> None:
    carried = pa.table({"subject": ["Paris"], "object": ["France"], "x": values})
    for media_type in ("application/json", "application/x-ndjson", "text/csv"):
        answer = http.post(ROUTE, content=arrow_of(carried), headers={"Content-Type": ARROW, "Accept": media_type})
        assert answer.status_code == 406, answer.text
        assert "'x'" in answer.json()["detail"]
    assert http.post(ROUTE, content=arrow_of(carried), headers={"Content-Type": ARROW}).status_code == 200
    for name in ("subject", "fact_id"):
        asked = pa.table({"subject": ["Paris"], "object": ["France"]} | {name: values})
        answer = http.post(ROUTE, content=arrow_of(asked), headers={"Content-Type": ARROW})
        assert answer.status_code == 422, answer.text
        assert f"the column '{name}'" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("facts", "windows", "says"),
    [
        ([{"subject": "a", "object": "b"}] * 51, [], "FACTCENSUS_MAX_JOB_FACTS"),
        ([{"subject": "a", "object": "b"}], [1, 2, 3, 4], "FACTCENSUS_MAX_WINDOWS"),
        ([{"subject": "a", "object": "b", "object_aliases": ["c"] * 6}], [], "FACTCENSUS_MAX_ALIASES"),
        ([{"subject": "a", "object": "b" * 1001}], [], "FACTCENSUS_MAX_TEXT_CHARS"),
    ],
)
def test_a_batch_above_a_limit_is_refused_with_the_name_of_the_limit(
    limited: httpx.Client, facts: list[Any], windows: list[int], says: str
) -> None:
    answer = limited.post(ROUTE, json={"facts": facts, "windows": windows})
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:factcensus:problem:limit-exceeded"
    assert says in answer.json()["detail"]


@pytest.mark.parametrize("media_type", [ARROW, PARQUET])
def test_a_small_body_that_decodes_to_a_huge_table_is_refused(limited: httpx.Client, media_type: str) -> None:
    table = pa.table({"subject": ["a"], "object": ["b"], "note": ["x" * 5_000_000]})
    if media_type == PARQUET:
        body = parquet_of(table)
    else:
        out = BytesIO()
        with pa.ipc.new_stream(out, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
            stream.write_table(table)
        body = out.getvalue()
    assert len(body) < 20_000
    answer = limited.post(ROUTE, content=body, headers={"Content-Type": media_type})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:factcensus:problem:limit-exceeded")
    assert "uncompressed" in answer.json()["detail"]


@pytest.mark.parametrize("media_type", [JSON, NDJSON])
def test_numbers_in_json_are_kept_as_written_text(http: httpx.Client, media_type: str) -> None:
    row = b'{"fact_id": 123456789012345678901234567890, "subject": "Python", "object": 3.10, "object_aliases": [3.0]}'
    body = b'{"facts": [' + row + b"]}" if media_type == JSON else row
    answer = http.post(ROUTE, content=body, headers={"Content-Type": media_type})
    (counted,) = rows_of(media_type, answer.content)
    assert (counted["fact_id"], counted["object"]) == ("123456789012345678901234567890", "3.10")
    assert counted["object_aliases"] == ["3.0"]
