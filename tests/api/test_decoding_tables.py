"""Reading tables in pieces: the facts equal those of reading as a whole, with one piece in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factcensus.api.decoding import tables
from factcensus.api.decoding.bounds import Bounds, Ending, Refused
from factcensus.api.decoding.decoders import Decoded
from factcensus.api.decoding.tables import FactsReader
from factcensus.api.http.metrics import Metrics
from factcensus.api.http.problems import Problem
from factcensus.api.jobs.incoming import checked_pieces
from factcensus.api.jobs.records import NewJob
from factcensus.api.jobs.runner import JobRunner
from factcensus.api.jobs.store import JobStore
from factcensus.api.serving.catalog import Catalog
from factcensus.api.settings import Limits
from factcensus.indexer import CountIndex, read_facts
from factcensus.indexer.errors import EmptyQueryError, InputError
from factcensus.indexer.tables.files import render

ROWS = [
    {
        "subject": f"Curie {n}",
        "object": "Warsaw",
        "subject_aliases": ["Marie"] if n % 3 else [],
        "n": n,
        "note": f"\n{n}",
    }
    for n in range(50)
]
ENDINGS = get_args(Ending)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "PIECE_FACTS", 7)


def content_of(ending: str, rows: list[dict[str, Any]] = ROWS, batch: int = 3) -> bytes:
    table, sink = pa.Table.from_pylist(rows), BytesIO()
    if ending == "json":
        return json.dumps({"facts": rows, "windows": [5]}).encode()
    if ending == "parquet":
        pq.write_table(table, sink, row_group_size=batch)
    elif ending == "arrow":
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table, max_chunksize=batch)
    else:
        sink.write(b"".join(render(table, "csv" if ending == "csv" else "jsonl")))
    return sink.getvalue()


def opened(content: bytes, ending: Ending, file: BytesIO | None = None, **bounds: int) -> FactsReader:
    defaults = Bounds(
        facts=10**6, sent_bytes=10**8, sent_variable="FACTCENSUS_MAX_UPLOAD_BYTES", json_bytes=10**7, seconds=60
    )
    return FactsReader(file or BytesIO(content), ending, len(content), replace(defaults, **bounds))


def pieces_of(reader: FactsReader) -> list[pa.Table]:
    reader.check()
    return [pa.Table.from_batches([piece]) for piece in reader.pieces()]


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("batch", [1, 3, 7, 40])
@pytest.mark.parametrize("ending", ENDINGS)
def test_reading_in_pieces_equals_reading_as_a_whole(
    ending: Ending, batch: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kept:
        monkeypatch.setattr(tables, "KEPT_BYTES", 1000)
    reader = opened(content_of(ending, batch=batch), ending)
    pieces = pieces_of(reader)
    assert [piece.num_rows for piece in pieces] == [7] * 7 + [1]
    assert {piece.schema for piece in pieces} == {reader.schema}
    whole = [row | {"n": str(row["n"])} if ending == "csv" else row for row in ROWS]
    assert pa.concat_tables(pieces).to_pylist() == whole
    assert (reader.facts, reader.options) == (50, {"windows": [5]} if ending == "json" else {})


def test_column_types_of_pieces_are_unified() -> None:
    """The first piece has integers and no notes, the second neither, the third fractions and notes."""
    rows: list[dict[str, Any]] = [{"subject": "Curie", "object": "Paris"} for _ in range(21)]
    for row, more in ((0, {"n": 1}), (15, {"n": 2.5, "note": "x", "tags": ["a"]})):
        rows[row] |= more
    content = b"\n".join(json.dumps(row).encode() for row in rows)
    table = pa.concat_tables(pieces_of(opened(content, "jsonl")))
    assert table.to_pylist() == read_facts(BytesIO(content), "jsonl").to_pylist()
    assert table.schema.field("n").type == pa.float64()


def test_incompatible_column_types_are_refused() -> None:
    rows: list[dict[str, Any]] = [
        {"subject": "Curie", "object": "Paris", "n": n if n < 10 else "ten"} for n in range(20)
    ]
    with pytest.raises(InputError, match="several types"):
        opened(b"\n".join(json.dumps(row).encode() for row in rows), "jsonl").check()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"subject": {"a": 1}}, "row 31 of the fact table: the subject must be a text"),
        ({"subject_aliases": {"a": 1}}, "row 31 of the fact table: the subject_aliases must be a list of texts"),
        ({"note": ["a"]}, "row 31: the column 'note' has values of several types"),
    ],
)
def test_a_value_without_a_type_is_named_by_its_row_number_in_the_file(changed: dict[str, Any], says: str) -> None:
    rows = [*ROWS[:30], ROWS[30] | changed, *ROWS[31:]]
    with pytest.raises(InputError, match=says):
        opened(b"\n".join(json.dumps(row).encode() for row in rows), "jsonl").check()


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet", "arrow"])
def test_published_tables_are_read_in_pieces(ending: Ending) -> None:
    def edit(number: int, answers: list[str]) -> dict[str, Any]:
        return {"subject": f"Curie {number}", "src": "Where?", "answers": answers, "alt": "Oslo"}

    rows = [edit(n, ["Warsaw", "Warszawa"]) for n in range(20)]
    facts = pa.concat_tables(pieces_of(opened(content_of(ending, rows), ending))).to_pylist()
    assert [(fact["subject"], fact["object"]) for fact in facts] == [(f"Curie {n}", "Warsaw") for n in range(20)]
    assert all((fact["object_aliases"], fact["distractors"]) == (["Warszawa"], ["Oslo"]) for fact in facts)
    with pytest.raises(InputError, match="row 16 of the fact table: 'answers' has no answer"):
        opened(content_of(ending, [*rows[:15], edit(15, []), *rows[16:]]), ending).check()


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"subject": ""}, InputError, "row 31 of the fact table: the subject is empty"),
        ({"object": "..."}, EmptyQueryError, "row 31 of the fact table, object"),
        ({"subject": "x" * 101}, Problem, "the subject of row 31's name"),
    ],
)
@pytest.mark.parametrize("ending", ENDINGS)
def test_an_invalid_row_is_named_by_its_row_number_in_the_file(
    index: CountIndex, ending: Ending, changed: dict[str, str], error: type[Exception], says: str
) -> None:
    rows = [*ROWS[:30], ROWS[30] | changed, *ROWS[31:]]
    reader = opened(content_of(ending, rows), ending)

    def read() -> None:
        decoded = Decoded(50, 0, {}, reader.schema, iter(pieces_of(reader)))
        list(checked_pieces(decoded, index, Limits(max_text_chars=100)))

    with pytest.raises(error) as raised:
        read()
    assert says in (raised.value.detail if isinstance(raised.value, Problem) else str(raised.value))


def test_too_many_facts_are_refused_before_all_are_read() -> None:
    read: list[int] = []

    class File(BytesIO):
        def readline(self, size: int | None = -1) -> bytes:
            read.append(1)
            return super().readline(size)

        def __next__(self) -> bytes:
            read.append(1)
            return super().__next__()

    content = content_of("jsonl", ROWS * 20)
    with pytest.raises(Refused) as refused:
        opened(content, "jsonl", File(content), facts=30).check()
    assert "FACTCENSUS_MAX_JOB_FACTS" in refused.value.detail
    assert len(read) < 60


def test_a_parquet_file_that_decodes_to_too_much_is_refused() -> None:
    content = content_of("parquet", [row | {"note": "x" * 1000} for row in ROWS], batch=50)
    with pytest.raises(Refused) as refused:
        opened(content, "parquet", sent_bytes=100).check()
    assert "FACTCENSUS_MAX_UPLOAD_BYTES" in refused.value.detail


def test_an_incomplete_table_leaves_nothing_behind(index: CountIndex, tmp_path: Path) -> None:
    runner = JobRunner(tmp_path, Catalog(dict), Limits(max_jobs=1), Metrics())
    runner.open()
    table = read_facts(BytesIO(content_of("csv")), "csv")

    def broken() -> Iterable[pa.Table]:
        yield table
        raise OSError("the disk is full")

    def submit(pieces: Iterable[pa.Table]) -> None:
        runner.submit_pieces(index, pieces, NewJob([], 50, table.nbytes, "text/csv", ""))

    try:
        with pytest.raises(OSError, match="the disk is full"):
            submit(broken())
        assert runner.store.size_bytes() == 0
        assert runner.jobs("") == []
        submit([table])  # its slot is free again
        assert len(runner.jobs("")) == 1
    finally:
        runner.close()


def test_pieces_of_incomplete_tables_are_removed_when_the_store_opens(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    store.add_pieces("a", [pa.table({"subject": ["a"], "object": ["b"]})])
    assert store.size_bytes() > 0
    store.close()
    again = JobStore(tmp_path)
    assert again.size_bytes() == 0
    again.close()
