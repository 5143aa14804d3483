"""Tables sent while they are counted: in order, in every format, and stopped if the client does not read."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from loopback import serving, until
from test_facts_route import ALL, ARROW, JSON, NDJSON, ROUTE, arrow_of, rows_of

from factcensus.api import streams
from factcensus.api.routes import facts as facts_route
from factcensus.api.settings import Limits, Settings
from factcensus.indexer import CountIndex, Deadline, facts_from_rows


def many(rows: int) -> pa.Table:
    names = ["Curie", "Paris", "Warsaw", "nobody", "C++", "France"]
    return facts_from_rows(
        {"n": n, "subject": names[n % 6], "object": names[n // 6 % 6], "subject_aliases": ["Marie Curie"] * (n % 2)}
        for n in range(rows)
    )


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "FIRST_PIECE", 16)
    monkeypatch.setattr(streams, "LARGEST_PIECE", 64)


@pytest.mark.parametrize("rows", [0, 1, 1024, 1025, 10_000])
def test_pieces_cover_all_rows_in_order(rows: int) -> None:
    pieces = list(streams.pieces_of(rows))
    assert [row for start, size in pieces for row in range(start, start + size)] == list(range(rows))
    assert all(0 < size <= streams.LARGEST_PIECE for _, size in pieces)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("out", ALL)
def test_a_table_sent_in_pieces_equals_the_table_of_the_index(http: httpx.Client, index: CountIndex, out: str) -> None:
    facts = many(150)
    answer = http.post(
        ROUTE, content=arrow_of(facts), params={"windows": [0, 5]}, headers={"Content-Type": ARROW, "Accept": out}
    )
    assert (answer.status_code, answer.headers.get("Transfer-Encoding")) == (200, "chunked")
    expected = index.count_facts(facts, windows=[0, 5]).to_pylist()
    rows = rows_of(out, answer.content)
    if out == "text/csv":  # cells have no types
        rows = [row | {"n": int(row["n"])} for row in rows]
    for one in (*rows, *expected):
        one.pop("index_digest")
    assert rows == expected


def test_ten_thousand_facts_with_two_windows_fit_in_one_response(http: httpx.Client, index: CountIndex) -> None:
    facts = many(10_000)
    headers = {"Content-Type": ARROW}
    answer = http.post(ROUTE, content=arrow_of(facts), params={"windows": [0, 5]}, headers=headers, timeout=120)
    counts = pa.ipc.open_stream(answer.content).read_all()
    assert counts.equals(index.count_facts(facts, windows=[0, 5]))


@pytest.mark.usefixtures("small_pieces")
def test_the_first_rows_are_sent_before_the_last_ones_are_counted(
    http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, seen, go_on = CountIndex.count_facts, [], threading.Event()

    def counted(self: CountIndex, facts: pa.Table, **options: Any) -> pa.Table:
        seen.append(facts.num_rows)
        if len(seen) == 3:
            assert go_on.wait(60)
        return count(self, facts, **options)

    monkeypatch.setattr(CountIndex, "count_facts", counted)
    headers = {"Content-Type": ARROW, "Accept": NDJSON}
    with http.stream("POST", ROUTE, content=arrow_of(many(150)), headers=headers) as answer:
        lines = answer.iter_lines()
        first = [next(lines) for _ in range(16 + 32)]
        until(lambda: seen == [16, 32, 64])
        go_on.set()
        assert len(first) + len(list(lines)) == 150


@pytest.mark.usefixtures("small_pieces")
def test_an_invalid_row_is_refused_before_anything_is_sent(http: httpx.Client) -> None:
    facts = pa.concat_tables([many(100), many(1).set_column(1, "subject", [["..."]])])
    answer = http.post(ROUTE, content=arrow_of(facts), headers={"Content-Type": ARROW})
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:factcensus:problem:empty-query")
    assert "row 101" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("column", "out", "status"),
    [
        (pa.array([b"\xff"]), JSON, 406),
        (pa.array([b"\xff"]), ARROW, 200),
        (pa.array([7]).cast(pa.duration("s")), JSON, 406),
        (pa.array([{}], pa.struct([])), "application/vnd.apache.parquet", 406),
        (pa.array([{"a": [1]}]), JSON, 200),
        (pa.array([1 << 62]).cast(pa.timestamp("s")), JSON, 406),
    ],
)
def test_a_column_that_a_format_cannot_represent_is_named(
    http: httpx.Client, column: pa.Array, out: str, status: int
) -> None:
    facts = pa.table({"subject": ["Paris"], "object": ["France"], "extra": column})
    answer = http.post(ROUTE, content=arrow_of(facts), headers={"Content-Type": ARROW, "Accept": out})
    assert answer.status_code == status, answer.text
    if status == 406:
        assert "'extra'" in answer.json()["detail"]


@pytest.fixture
def slow_pieces(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Deadline], list[Deadline]]:
    """Make the second piece run until its deadline, and return the deadlines that were started and stopped."""
    monkeypatch.setattr(streams, "FIRST_PIECE", 16)
    monkeypatch.setattr(streams, "LARGEST_PIECE", 64)
    count, begun, stopped = CountIndex.count_facts, list[Deadline](), list[Deadline]()

    def counted(self: CountIndex, facts: pa.Table, *, deadline: Deadline, **options: Any) -> pa.Table:
        if facts.num_rows == 32:
            begun.append(deadline)
            for _ in range(3000):
                if deadline.flag[0]:
                    stopped.append(deadline)
                    break
                time.sleep(0.01)
        return count(self, facts, deadline=deadline, **options)

    monkeypatch.setattr(CountIndex, "count_facts", counted)
    return begun, stopped


@pytest.fixture
def impatient(index_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start a service for one request, whose first piece takes almost all of the time according to the clock."""
    readings = itertools.count()
    monkeypatch.setattr(facts_route, "monotonic", lambda: time.monotonic() + (59.5 if next(readings) else 0))
    with serving(Settings(indexes=(index_folder,), limits=Limits(deadline_seconds=60))) as base_url:
        yield base_url


@pytest.mark.parametrize("out", ALL)
def test_a_response_that_times_out_is_recognisably_incomplete(
    impatient: str, slow_pieces: tuple[list[Deadline], list[Deadline]], out: str
) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
        httpx.post(
            impatient + ROUTE, content=arrow_of(many(100)), headers={"Content-Type": ARROW, "Accept": out}, timeout=60
        )
    assert len(slow_pieces[1]) == 1
    assert "factcensus_answers_broken_off_total 1.0" in httpx.get(f"{impatient}/metrics").text.splitlines()


def test_the_count_stops_when_the_client_disconnects(
    url: str, slow_pieces: tuple[list[Deadline], list[Deadline]]
) -> None:
    begun, stopped = slow_pieces
    headers = {"Content-Type": ARROW, "Accept": NDJSON}
    with httpx.stream("POST", url + ROUTE, content=arrow_of(many(100)), headers=headers, timeout=60) as answer:
        lines = answer.iter_lines()  # kept, because garbage collection would close the connection
        next(lines)
        until(lambda: begun)
    until(lambda: stopped)
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_a_stream_ends_if_the_client_does_not_read(index_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PATIENCE_S", 0.5)
    facts = pa.table({"subject": ["Paris"] * 3000, "object": ["France"] * 3000, "note": ["x" * 3000] * 3000})
    body = arrow_of(facts)
    with serving(Settings(indexes=(index_folder,))) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            length = f"Content-Type: {ARROW}\r\nContent-Length: {len(body)}\r\n\r\n"
            head = f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\n{length}"
            connection.sendall(head.encode() + body)
            line = "factcensus_answers_broken_off_total 1.0"
            until(lambda: line in httpx.get(f"{url}/metrics", timeout=30).text.splitlines())
