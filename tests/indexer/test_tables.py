"""Reading fact tables: texts stay as written in every format, and columns of the user are never overwritten."""

from __future__ import annotations

import datetime
import decimal
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factcensus.indexer import CountIndex, build_index, facts_from_rows, read_facts, scan_facts, stratify, write_table
from factcensus.indexer.cli import main
from factcensus.indexer.errors import InputError
from factcensus.indexer.tables.added import check_one_analyzer, countable
from factcensus.indexer.tables.complete import complete_facts
from factcensus.indexer.tables.facts import as_facts
from factcensus.indexer.tables.remarks import unmatched_commas
from factcensus.indexer.tables.values import list_in

from .corpora import records, write_corpus

FORMATS = ("csv", "jsonl", "parquet", "arrow")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(
        tmp_path_factory.mktemp("tables") / "c.jsonl", records(["James Bond is 007", "Paris is in France", "3.10"])
    )


@pytest.fixture(scope="module")
def index(corpus: Path) -> Iterator[CountIndex]:
    build_index([corpus], corpus.parent / "index", jobs=1)
    with CountIndex.open(corpus.parent / "index") as opened:
        yield opened


def read(path: Path, content: str | bytes, **options: Any) -> list[dict[str, Any]]:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    rows: list[dict[str, Any]] = read_facts(path, **options).to_pylist()
    return rows


# --- as written -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ("17390123456789012345", "17390123456789012345"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("3.10", "3.10"),
        ("1e5", "1e5"),
        ("-0", "-0"),
        ("7", "7"),
        ("true", "true"),
        ('"007"', "007"),
        ('"1991-01-10"', "1991-01-10"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_number_in_json_is_the_text_of_its_literal(literal: str, text: str, tmp_path: Path) -> None:
    line = f'{{"fact_id": {literal}, "subject": "a", "object": {literal}, "object_aliases": [{literal}, "x"]}}\n'
    (row,) = read(tmp_path / "f.jsonl", line)
    assert row == {"fact_id": text, "subject": "a", "object": text, "object_aliases": [text, "x"]}
    assert read(tmp_path / "f.json", f"[{line}]") == [row]


DATE = datetime.date(1991, 1, 10)


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pa.array([7, 2**63 - 1]), ["7", "9223372036854775807"]),
        (pa.array([17390123456789012345, 1], pa.uint64()), ["17390123456789012345", "1"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([DATE, DATE]), ["1991-01-10", "1991-01-10"]),
        (pa.array([datetime.datetime(1991, 1, 10)] * 2, pa.timestamp("ns")), ["1991-01-10", "1991-01-10"]),
        (
            pa.array([datetime.datetime(1991, 1, 10), datetime.datetime(1991, 1, 10, 12, 30)]),
            ["1991-01-10 00:00:00", "1991-01-10 12:30:00"],
        ),
        (pa.array([decimal.Decimal("3.10"), decimal.Decimal("0.00")]), ["3.10", "0.00"]),
        (pa.array([1984.0, 2001.0]), ["1984", "2001"]),
        (pa.array([3.1, 2.0]), ["3.1", "2.0"]),
        (pa.array([3.1, 0.5], pa.float32()), ["3.1", "0.5"]),
        (pa.array(["007", "1"]).dictionary_encode(), ["007", "1"]),
        (pa.array(["007", "1"], pa.large_string()), ["007", "1"]),
        (pa.array([b"007", b"1"]), ["007", "1"]),
    ],
)
@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_typed_values_become_text(values: pa.Array, texts: list[str], ending: str, tmp_path: Path) -> None:
    table = pa.table({"subject": ["a", "b"], "object": values})
    write = {"parquet": lambda: pq.write_table(table, tmp_path / "f.parquet"), "arrow": lambda: ipc(table, tmp_path)}
    write[ending]()
    assert read_facts(tmp_path / f"f.{ending}")["object"].to_pylist() == texts


ODD_TIMES = {
    "a date after the year 9999": pa.array([2**31 - 1], pa.date32()),
    "a duration of ages": pa.array([2**62], pa.duration("s")),
    "a time zone of nowhere": pa.array([5], pa.timestamp("us", "Not/AZone")),
    "a moment of ages": pa.array([2**62], pa.timestamp("s")),
}


@pytest.mark.parametrize("kind", ODD_TIMES)
@pytest.mark.parametrize("name", ["object", "object_aliases", "note"])
def test_time_that_python_cannot_hold_is_an_error_that_names_the_column(kind: str, name: str, tmp_path: Path) -> None:
    values = ODD_TIMES[kind]
    if name == "object_aliases":
        values = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), values)
    table = pa.table({"subject": ["a"], "object": ["b"]})
    table = table.drop_columns([name] if name in table.column_names else []).append_column(name, values)
    if name == "object" and kind == "a moment of ages":  # Arrow itself writes it as a text
        as_facts(table)
        return
    with pytest.raises(InputError, match=f"the column '{name}' of type .* cannot be written as text"):
        write_table(as_facts(table), tmp_path / "out.csv")


def ipc(table: pa.Table, folder: Path) -> None:
    with pa.ipc.new_file(folder / "f.arrow", table.schema) as writer:
        writer.write_table(table)


def test_float_column_of_whole_numbers_with_a_missing_value_is_integers(tmp_path: Path) -> None:
    """pandas stores integers with missing values as floats, and missing values as NaN."""
    for answers in (pa.array([1984.0, None]), pa.array([1984.0, float("nan")])):
        pq.write_table(
            pa.table({"subject": ["a", "b"], "object": ["c", "d"], "answer": answers}), tmp_path / "f.parquet"
        )
        assert read_facts(tmp_path / "f.parquet")["answer"].to_pylist() == ["1984", None]


@pytest.mark.parametrize("value", [float("inf"), {"a": 1}, ["a"], b"\xff"])
def test_value_without_a_text_error_names_row_and_column(value: Any) -> None:
    with pytest.raises(InputError, match=r"row 2 of the fact table: the answer"):
        facts_from_rows([{"subject": "a", "object": "b"}, {"subject": "a", "object": "b", "answer": value}])


def test_unknown_columns_keep_their_values_and_large_integers_stay_exact(tmp_path: Path) -> None:
    line = '{"subject":"a","object":"b","n":1,"big":18446744073709551617,"deep":{"id":[12345678901234567890]},"x":1.5}'
    (row,) = read(tmp_path / "f.jsonl", line)
    assert row["n"] == 1
    assert row["x"] == 1.5
    assert row["big"] == "18446744073709551617"
    assert row["deep"] == {"id": ["12345678901234567890"]}
    line = '{"subject":"a","object":"b","n":%s}\n'
    rows = read(tmp_path / "f.jsonl", line % 9007199254740993 + line % 0.5)
    assert [row["n"] for row in rows] == ["9007199254740993", "0.5"]


def test_nan_in_json_is_null_and_infinity_error_names_the_line(tmp_path: Path) -> None:
    rows = read(tmp_path / "f.jsonl", '{"subject":"a","object":"b","answer":NaN,"score":NaN}\n')
    assert rows == [{"subject": "a", "object": "b", "answer": None, "score": None}]
    with pytest.raises(InputError, match=r"line 1.*Infinity"):
        read(tmp_path / "f.jsonl", '{"subject":"a","object":"b","score":Infinity}\n')
    with pytest.raises(InputError, match=r"row 1 .* object is empty"):
        read(tmp_path / "f.jsonl", '{"subject":"a","object":NaN}\n')


def test_line_nested_too_deeply_error_names_the_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1: not readable JSON"):
        read(tmp_path / "f.jsonl", '{"subject":"a","x":' + "[" * 100_000 + "]" * 100_000 + "}\n")


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
NAME = TEXT.filter(lambda text: bool(text.strip()))
ITEMS = st.none() | st.lists(NAME, max_size=3)


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "fact_id": st.none() | TEXT,
                "subject": NAME,
                "object": NAME,
                "relation": st.none() | TEXT,
                "question": st.none() | TEXT,
                "answer": st.none() | TEXT,
                "paraphrase": st.none() | TEXT,
                "subject_aliases": ITEMS,
                "object_aliases": ITEMS,
                "paraphrases": ITEMS,
            }
        ),
        min_size=1,
        max_size=4,
    ),
    st.permutations(FORMATS),
)
@settings(max_examples=150, deadline=None)
def test_table_survives_every_path_through_the_formats(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], order: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("path")
    table = facts_from_rows(rows)
    assert table.to_pylist() == rows
    for ending in order:
        write_table(table, folder / f"facts.{ending}")
        table = read_facts(folder / f"facts.{ending}")
        assert table.to_pylist() == rows, ending


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "subject,object\nFrance,Paris\n",
        "Subject ;Object\nFrance;Paris\n",
        "SUBJECT\tObject \nFrance\tParis\n",
        "\ufeff subject , object\r\nFrance,Paris\r\n",
        "sep=;\nsubject;object\nFrance;Paris\n",
        '"subject";"object"\n"France";"Paris"\n',
    ],
)
def test_separator_case_and_padding_of_a_header_do_not_matter(content: str, tmp_path: Path) -> None:
    assert read(tmp_path / "f.csv", content) == [{"subject": "France", "object": "Paris"}]


def test_other_columns_keep_their_names_and_cells(tmp_path: Path) -> None:
    rows = read(tmp_path / "f.csv", "Subject;object; Note \nFrance;Paris; a,b \n")
    assert rows == [{"subject": "France", "object": "Paris", " Note ": " a,b "}]
    assert read(tmp_path / "f.csv", ",subject,object\n0,France,Paris\n") == [
        {"Unnamed: 0": "0", "subject": "France", "object": "Paris"}
    ]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_columns_with_the_same_new_name_are_refused(ending: str, tmp_path: Path) -> None:
    content = {
        "csv": "subject,Subject ,object\na,b,c\n",
        "jsonl": '{"subject": "a", "Subject ": "b", "object": "c"}\n',
    }[ending]
    with pytest.raises(InputError, match=r"'subject' and 'Subject ' would both be named 'subject'.*--columns"):
        read(tmp_path / f"f.{ending}", content)


def test_columns_are_renamed(tmp_path: Path) -> None:
    content = "Head,tail,subject\nFrance,Paris,geography\n"
    rows = read(tmp_path / "f.csv", content, columns={"subject": "head", "object": "tail", "topic": "subject"})
    assert rows == [{"subject": "France", "object": "Paris", "topic": "geography"}]
    with pytest.raises(InputError, match=r"no column 'heda' to rename; did you mean 'Head'"):
        read(tmp_path / "f.csv", content, columns={"subject": "heda"})
    with pytest.raises(InputError, match="'Head' and 'subject' would both be named 'subject'"):
        read(tmp_path / "f.csv", content, columns={"subject": "head", "object": "tail"})
    with pytest.raises(InputError, match=r"no column 'subject'; if it is 'subjct'.*--columns subject=subjct"):
        read(tmp_path / "f.csv", "subjct,object\na,b\n")


def test_misspelt_columns_and_doubtful_cells_are_reported(tmp_path: Path) -> None:
    remarks: list[str] = []
    read(tmp_path / "f.csv", 'subject,object,subject_alias,subject_id\na,b,"x",1\n', notice=remarks.append)
    assert len(remarks) == 1
    assert "'subject_alias'" in remarks[0]
    assert "'subject_aliases'" in remarks[0]
    remarks.clear()
    read(tmp_path / "f.csv", 'subject,object,subject_aliases\na,b,"[""x"", ""y"\n', notice=remarks.append)
    assert "first: row 1" in remarks[0]


# --- lists ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        ("a|b", ["a", "b"]),
        ('["a", "b|c"]', ["a", "b|c"]),
        ("['a', \"b's\"]", ["a", "b's"]),
        ("['a' 'b']", ["a", "b"]),
        ("['a'\n 'b c']", ["a", "b c"]),
        ("['it\\'s', None]", ["it's"]),
        ("[]", []),
        ('["007", 3.10, 12345678901234567890]', ["007", "3.10", "12345678901234567890"]),
        ("[1984, 2001]", ["1984", "2001"]),
        ("[X] is the capital of [Y]", ["[X] is the capital of [Y]"]),
        ("[MASK]", ["[MASK]"]),
        ("[X] is in [Y]|[Y] has [X]", ["[X] is in [Y]", "[Y] has [X]"]),
        ('["X"] is [Y]', ['["X"] is [Y]']),
    ],
)
def test_list_is_read_from_a_cell_in_every_notation(cell: str, items: list[str]) -> None:
    assert list_in(cell) == items


@given(st.lists(TEXT, max_size=4))
def test_lists_as_python_prints_them_are_read_back(items: list[str]) -> None:
    assert list_in(str(items)) == items


def test_item_without_a_text_error_names_the_row() -> None:
    facts = {"subject": ["a", "b"], "object": ["c", "d"], "subject_aliases": [["x", "y"], ["z", ["w"]]]}
    with pytest.raises(InputError, match=r"row 2 of the fact table: the subject_aliases"):
        facts_from_rows([dict(zip(facts, row, strict=True)) for row in zip(*facts.values(), strict=True)])
    nested = pa.table({**facts, "subject_aliases": [None, [["w"]]]})
    with pytest.raises(InputError, match=r"row 2 of the fact table: the subject_aliases"):
        as_facts(nested)


def test_commas_that_match_nothing_get_a_hint(index: CountIndex) -> None:
    facts = [{"subject": "France", "object": "nowhere", "object_aliases": ["X, Y"]}]
    hint = unmatched_commas(index.count_facts(facts))
    assert hint is not None
    assert hint.startswith("1 name or alias with a comma")
    assert "'X, Y'" in hint
    facts = [{"subject": "France", "subject_aliases": ["Gaul, Roman"], "object": "Paris"}]
    counts = index.count_facts(facts)
    assert unmatched_commas(counts) is None
    assert unmatched_commas(counts, lambda text: index.count(text).occurrences > 0) is not None


# --- counts and strata written back -----------------------------------------------------------------------------------


def test_counts_and_strata_written_back_by_pandas_are_read(index: CountIndex, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    facts = [
        {"fact_id": "007", "subject": "James Bond", "object": "007"},
        {"fact_id": "1", "subject": "France", "object": "Paris"},
    ]
    write_table(stratify(index.count_facts(facts), bins="edges:1"), tmp_path / "strata.csv")
    frame = pd.read_csv(tmp_path / "strata.csv", dtype={"fact_id": str, "object": str})
    frame.loc[0, ["stratum", "cooccurrence_pairs"]] = None
    assert frame["stratum"].dtype == float
    frame.to_csv(tmp_path / "back.csv")
    frame.to_parquet(tmp_path / "back.parquet", index=True)
    frame.to_json(tmp_path / "back.json", orient="records")
    for name in ("back.csv", "back.parquet", "back.json"):
        table = complete_facts(tmp_path / name)
        assert table["stratum"].to_pylist() == [None, 1], name
        assert table["cooccurrence_pairs"].to_pylist() == [None, 1], name
        assert table["stratum"].type == pa.int64()
        assert table["object"].to_pylist() == ["007", "Paris"]
        assert stratify(table, bins="edges:1")["stratum"].to_pylist() == [1, 1]


def test_count_column_with_other_values_is_refused_before_training() -> None:
    with pytest.raises(InputError, match=r"'stratum'.*integers"):
        complete_facts([{"subject": "a", "object": "b", "stratum": "rare"}])


# --- nothing of a user's is overwritten -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["index", "Index", "exact", "subject_mentions", "cooccurrence_pairs_w10", "analyzer"])
def test_column_that_counting_adds_is_refused_before_counting(name: str, index: CountIndex, corpus: Path) -> None:
    facts = [{"subject": "France", "object": "Paris", name: "mine"}]
    for count in (index.count_facts, lambda facts: scan_facts([corpus], facts, jobs=1)):
        with pytest.raises(InputError, match=rf"already has a column '{name}'.*--columns my_{name.lower()}={name}"):
            count(facts)


def test_column_by_source_is_refused_only_if_it_would_be_added(index: CountIndex) -> None:
    facts = [{"subject": "France", "object": "Paris", "by_source": "mine"}]
    assert index.count_facts(facts)["by_source"].to_pylist() == ["mine"]
    with pytest.raises(InputError, match="already has a column 'by_source'"):
        index.count_facts(facts, by="source")


@pytest.mark.parametrize("name", ["subject_mentions", "cooccurrence_pairs_w10"])
def test_field_with_the_name_of_a_count_is_refused_for_the_groups_of_a_table(name: str, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", [{"text": "a b", name: "mine"}])
    build_index([corpus], tmp_path / "ix", jobs=1)
    with CountIndex.open(tmp_path / "ix") as index:
        with pytest.raises(InputError, match=f"column '{name}'"):
            index.count_facts([{"subject": "a", "object": "b"}], by=name)
        assert index.count("a", by=name).groups.keys() == {"mine"}


def test_counted_facts_are_counted_again_without_old_windows_and_strata(index: CountIndex, tmp_path: Path) -> None:
    facts = [{"subject": "France", "object": "Paris", "note": "n"}]
    once = stratify(index.count_facts(facts, windows=[3], by="source"))
    for ending in FORMATS:
        write_table(once, tmp_path / f"counts.{ending}")
        again = index.count_facts(tmp_path / f"counts.{ending}", windows=[5])
        assert again.to_pylist() == index.count_facts(facts, windows=[5]).to_pylist(), ending


def test_user_column_stratum_is_kept_by_count_and_refused_by_stratify(index: CountIndex) -> None:
    counts = index.count_facts([{"subject": "France", "object": "Paris", "stratum": "01"}])
    assert counts["stratum"].to_pylist() == ["01"]
    with pytest.raises(InputError, match=r"already has a column 'stratum'.*--columns my_stratum=stratum"):
        stratify(counts)


@pytest.mark.parametrize("link", [None, os.link, os.symlink])
def test_out_is_never_the_input(link: Callable[[Path, Path], None] | None, corpus: Path, tmp_path: Path) -> None:
    facts = tmp_path / "facts.csv"
    facts.write_text("subject,object\nFrance,Paris\n")
    out = facts
    if link is not None:
        out = tmp_path / "out.csv"
        link(facts, out)
    before = facts.read_bytes()
    for command in (["count", str(facts), "--scan", str(corpus)], ["stratify", str(facts)]):
        assert main(["facts", *command, "--out", str(out)]) == 2
    assert main(["facts", "count", str(facts), "--scan", str(corpus.parent), "--out", str(corpus)]) == 2
    assert facts.read_bytes() == before


def test_counts_of_several_analyzers_are_not_stratified(index: CountIndex) -> None:
    counts = index.count_facts([{"subject": "France", "object": "Paris"}])
    other = counts.set_column(counts.column_names.index("analyzer"), "analyzer", pa.array(["words/0"]))
    with pytest.raises(InputError, match="different analyzers"):
        stratify(pa.concat_tables([counts, other]))
    check_one_analyzer(counts)


def test_command_renames_counts_and_hints(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "f.csv").write_text("head;tail;index\nFrance;no, where;17\n")
    command = ["facts", "count", str(tmp_path / "f.csv"), "--scan", str(corpus), "--out", str(tmp_path / "c.jsonl")]
    assert main([*command, "--columns", "subject=head,object=tail"]) == 2
    assert "--columns my_index=index" in capsys.readouterr().err
    assert not (tmp_path / "c.jsonl").exists()
    assert main([*command, "--columns", "subject=head,object=tail", "--columns", "my_index=index"]) == 0
    assert "with a comma or semicolon match" in capsys.readouterr().err
    row = json.loads((tmp_path / "c.jsonl").read_text())
    assert (row["subject"], row["object"], row["my_index"], row["index"]) == ("France", "no, where", "17", "scan")


# --- other tools ------------------------------------------------------------------------------------------------------


def typed_frame() -> Any:
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(
        {
            "fact_id": [1, 2],
            "subject": ["France", "James Bond"],
            "object": pd.Categorical(["Paris", "007"]),
            "answer": [None, 7],
            "year": pd.array([1789, None], dtype="Int64"),
            "kind": pd.Categorical(["a", "b"]),
            "when": pd.to_datetime(["2020-01-01 08:00", "2021-06-01 12:00"]),
            "sure": [True, False],
            "share": [0.5, 1.5],
            "text": ["x", None],
        },
        index=["r", "s"],
    )


def test_tables_of_pandas_are_counted_and_open_in_pandas_polars_and_duckdb(index: CountIndex, tmp_path: Path) -> None:
    pd, frame = pytest.importorskip("pandas"), typed_frame()
    frame.to_parquet(tmp_path / "facts.parquet")
    write_table(stratify(index.count_facts(tmp_path / "facts.parquet")), tmp_path / "strata.parquet")
    back = pd.read_parquet(tmp_path / "strata.parquet")
    for name in ("year", "kind", "when", "sure", "share", "text"):
        assert back[name].dtype == frame[name].dtype, name
        assert back[name].astype(object).where(back[name].notna(), None).tolist() == [
            None if pd.isna(value) else value for value in frame[name]
        ], name
    assert back["object"].tolist() == ["Paris", "007"]
    assert back["fact_id"].tolist() == ["1", "2"]
    assert back["cooccurrence_documents"].tolist() == [1, 1]
    duckdb = pytest.importorskip("duckdb")
    assert duckdb.sql(f"SELECT object, year, cooccurrence_documents FROM '{tmp_path}/strata.parquet'").fetchall() == [
        ("Paris", 1789, 1),
        ("007", None, 1),
    ]
    pl = pytest.importorskip("polars")
    in_polars = pl.read_parquet(tmp_path / "strata.parquet")
    assert in_polars["year"].to_list() == [1789, None]
    assert in_polars["cooccurrence_documents"].dtype == pl.Int64


def test_facts_are_a_path_records_or_a_table_of_any_library(index: CountIndex, tmp_path: Path) -> None:
    rows = [{"subject": "France", "object": "Paris"}, {"subject": "James Bond", "object": "007"}]
    expected = index.count_facts(rows).to_pylist()
    assert [row["cooccurrence_documents"] for row in expected] == [1, 1]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "f.parquet")
    given: list[Any] = [
        tmp_path / "f.parquet",
        str(tmp_path / "f.parquet"),
        iter(rows),
        table,
        table.to_batches()[0],
        table.to_reader(),
    ]
    for library in ("pandas", "polars"):
        module = pytest.importorskip(library)
        given.append(module.DataFrame(rows))
    for facts in given:
        assert index.count_facts(facts).to_pylist() == expected, type(facts)
    pd = pytest.importorskip("pandas")
    filtered = pd.DataFrame([{"subject": "x", "object": "y"}, *rows]).iloc[1:]
    assert index.count_facts(filtered).to_pylist() == expected
    for wrong in ({"subject": "a"}, 7, b"facts.csv"):
        with pytest.raises(TypeError, match="a path, a list of records"):
            index.count_facts(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="record 1 is"):
        index.count_facts(["France"])  # type: ignore[list-item]


def test_single_value_is_not_accepted_as_a_sequence(index: CountIndex) -> None:
    facts = [{"subject": "France", "object": "Paris"}]
    for windows in ("10", 10):
        with pytest.raises(TypeError, match="windows"):
            index.count_facts(facts, windows=windows)  # type: ignore[arg-type]
    assert countable(facts).num_rows == 1


@pytest.mark.full
def test_files_of_another_pandas_are_read_and_ours_are_read_by_it(index: CountIndex, tmp_path: Path) -> None:
    """The installed pandas is version 2 or 3; the other version comes from the package registry."""
    pd = pytest.importorskip("pandas")
    other = "pandas<3" if pd.__version__.startswith("3.") else "pandas>=3"
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", python.parent.parent], check=True)
    installed = subprocess.run([python, "-m", "pip", "install", "-q", other, "pyarrow"], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"{other} cannot be installed here: {installed.stderr[-200:]}")
    source = inspect.getsource(typed_frame).replace('pytest.importorskip("pandas")', "__import__('pandas')")
    write = f"from typing import Any\n{source}\ntyped_frame().to_parquet('facts.parquet')"
    subprocess.run([python, "-W", "ignore", "-c", write], cwd=tmp_path, check=True)
    write_table(index.count_facts(tmp_path / "facts.parquet"), tmp_path / "counts.parquet")
    read_back = f"""from typing import Any
import pandas as pd
{source}
frame, back = typed_frame(), pd.read_parquet("counts.parquet")
for name in ("year", "kind", "when", "sure", "share"):
    assert str(back[name].dtype) == str(frame[name].dtype), (name, back[name].dtype, frame[name].dtype)
    assert back[name].tolist()[0] == frame[name].tolist()[0], name
assert back["object"].tolist() == ["Paris", "007"]
assert back["cooccurrence_documents"].tolist() == [1, 1]
"""
    subprocess.run([python, "-W", "ignore", "-c", read_back], cwd=tmp_path, check=True)


# --- values that were lost silently -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["jsonl", "json"])
@pytest.mark.parametrize(
    "row",
    [
        '{"subject": "France", "subject": "Peru", "object": "Paris"}',
        '{"subject": "France", "object": "Paris", "answer" : "a", "\\u0061nswer": "b"}',
        '{"subject": "France", "object": "Paris", "note": {"a": 1, "a": 2}}',
    ],
)
def test_repeated_key_is_refused(row: str, ending: str, tmp_path: Path) -> None:
    content = f"[{row}]" if ending == "json" else f'{{"subject": "a", "object": "b"}}\n{row}\n'
    with pytest.raises(InputError, match=r"the key '\w+' is given twice"):
        read(tmp_path / f"f.{ending}", content)


def test_texts_with_colons_and_quotes_are_not_mistaken_for_keys(tmp_path: Path) -> None:
    row = {"subject": 'a "x": b', "object": "b", "note": {"k": '"k": 1'}, "score": 0.5}
    assert read(tmp_path / "f.jsonl", json.dumps(row) + "\n") == [row]


def test_columns_without_a_name_get_different_ones(tmp_path: Path) -> None:
    (row,) = read(tmp_path / "f.csv", ",Unnamed: 0,subject,object,\n0,1,France,Paris,x\n")
    assert row == {"Unnamed: 0.1": "0", "Unnamed: 0": "1", "subject": "France", "object": "Paris", "Unnamed: 4": "x"}


@pytest.mark.parametrize(
    ("cell", "items"),
    [
        ("[None]", []),
        ("[nan, None]", []),
        ("[nan nan]", []),
        ("()", []),
        ("set()", []),
        ("('a', 'b')", ["a", "b"]),
        ("('a',)", ["a"]),
        ("{'a b'}", ["a b"]),
        ("('a') is 'b'", ["('a') is 'b'"]),
        ("{a, b}", ["{a, b}"]),
        ("(None)", ["(None)"]),
        ("{'a': 1}", ["{'a': 1}"]),
        ("{}", ["{}"]),
    ],
)
def test_lists_of_nulls_tuples_and_sets_in_cells(cell: str, items: list[str]) -> None:
    assert list_in(cell) == items


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("subject,object,answer\na,b,NA\n", "1 cell of 'answer' is the word 'NA'"),
        ("subject,object,object_aliases\na,b,x|nan\n", "1 text of 'object_aliases' is the word 'nan'"),
        ("subject,object,object_aliases\na,b,NULL\n", "1 text of 'object_aliases' is the word 'NULL'"),
        ('subject,object\na, "b"\n', "1 cell of 'object' has spaces around the text"),
        ("subject,object,answer\na,b,\n", None),
    ],
)
def test_words_for_null_and_padding_are_reported(content: str, message: str | None, tmp_path: Path) -> None:
    remarks: list[str] = []
    read(tmp_path / "f.csv", content, notice=remarks.append)
    assert (message is None) == (not remarks), remarks
    assert message is None or message in remarks[0]


def views(values: list[Any], kind: pa.DataType) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array([0, None, 1], pa.uint32()), pa.array(values, kind))


@pytest.mark.parametrize("ending", [*FORMATS, "arrow"])
def test_views_and_dictionaries_of_polars_are_read_and_written_without(ending: str, tmp_path: Path) -> None:
    table = pa.table(
        {
            "subject": pa.array(["a", "b", "c"], pa.string_view()),
            "object": ["x", "y", "z"],
            "answer": views(["007", "3.10"], pa.string_view()),
            "own": views(["p", "q"], pa.string_view()),
            "object_aliases": pa.array([["v"], None, []], pa.list_(pa.string_view())),
            "several": pa.array([["v", None], None, []], pa.large_list(pa.string_view())),
            "viewed": pa.array([["v"], None, []], pa.list_view(pa.string())),
            "inner": pa.array([{"k": "v"}, None, {"k": None}], pa.struct([("k", pa.string_view())])),
            "runs": pa.RunEndEncodedArray.from_arrays([1, 3], ["p", "q"]),
        }
    )
    facts = as_facts(table)
    assert facts.to_pylist() == [
        {
            "subject": "a",
            "object": "x",
            "answer": "007",
            "own": "p",
            "object_aliases": ["v"],
            "several": ["v", None],
            "viewed": ["v"],
            "inner": {"k": "v"},
            "runs": "p",
        },
        {
            "subject": "b",
            "object": "y",
            "answer": None,
            "own": None,
            "object_aliases": None,
            "several": None,
            "viewed": None,
            "inner": None,
            "runs": "q",
        },
        {
            "subject": "c",
            "object": "z",
            "answer": "3.10",
            "own": "q",
            "object_aliases": [],
            "several": [],
            "viewed": [],
            "inner": {"k": None},
            "runs": "q",
        },
    ]
    assert not any("view" in str(kind) or "run_end" in str(kind) for kind in facts.schema.types)
    write_table(facts, tmp_path / f"f.{ending}")
    back = read_facts(tmp_path / f"f.{ending}")
    assert back["answer"].to_pylist() == ["007", None, "3.10"]


@pytest.mark.parametrize(
    ("column", "ending", "message"),
    [
        (pa.array([float("inf")]), "jsonl", "JSON cannot represent inf"),
        (pa.array([[float("-inf")]]), "csv", "JSON cannot represent -inf"),
        (pa.array([b"\xff"]), "jsonl", "is not UTF-8 text"),
        (pa.array([b"\xff"]), "csv", "is not UTF-8 text"),
        (pa.array([pa.MonthDayNano([1, 2, 3])]), "jsonl", "cannot represent MonthDayNano"),
        (pa.array([pa.MonthDayNano([1, 2, 3])]), "parquet", "Unhandled type"),
        (pa.array([{}]), "parquet", "no child field"),
    ],
)
def test_value_that_a_format_cannot_represent_is_refused_before_counting(
    column: pa.Array, ending: str, message: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pa.table({"subject": ["France"], "object": ["Paris"], "own": column})
    write_table(table, tmp_path / "f.arrow")
    out = tmp_path / f"counts.{ending}"
    assert main(["facts", "count", str(tmp_path / "f.arrow"), "--scan", str(corpus), "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "the column 'own' cannot be written" in error
    assert "count " not in error
    assert not out.exists()
    with pytest.raises(InputError, match="the column 'own' cannot be written"):
        write_table(table, out)


def test_objects_of_pandas_keep_their_texts() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {"subject": ["a", "b"], "object": ["x", "y"], "answer": [1984, "007"], "own": [2**70, 1]},
        index=pd.Index([2**70, "7"], name="fact_id"),
    )
    assert as_facts(frame).to_pylist() == [
        {"fact_id": str(2**70), "subject": "a", "object": "x", "answer": "1984", "own": str(2**70)},
        {"fact_id": "7", "subject": "b", "object": "y", "answer": "007", "own": "1"},
    ]
    with pytest.raises(InputError, match="Duplicate column names"):
        as_facts(pd.concat([frame, frame], axis=1))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f.csv", "subject,object\na,b\n".encode("utf-16"), "UTF-16; save it as UTF-8"),
        ("f.jsonl", '{"subject": "a", "object": "b"}\n'.encode("utf-16"), "UTF-16; save it as UTF-8"),
        ("f.json", '{"subject": "a", "object": "b"}\n'.encode("utf-16"), "UTF-16; save it as UTF-8"),
        ("f.csv", "subject;object\nMünchen;Bayern\n".encode("cp1252"), "not valid UTF-8, near 'subject;object\\nM"),
        ("f.csv", b"PK\x03\x04\x14\x00\x06\x00\x08\x00\xff", "the file is a spreadsheet with the ending of a CSV"),
        ("f.xlsx", b"PK\x03\x04", "is a spreadsheet; save its sheet of facts as CSV in UTF-8"),
        ("f.ODS", b"PK\x03\x04", "is a spreadsheet; save its sheet of facts as CSV in UTF-8"),
        ("f.csv", b"subject;object\na;b\n;\n;\n", "row 2 of the fact table: the subject is empty (also in row 3)"),
        ("f.csv", b"subject|object\na|b\n", "only the column 'subject|object'; separate columns by commas"),
        ("f.csv", b'subject, object\na, "b, c"\n', "in quotation marks, without a space before them"),
        ("f.json", b'{"subject": {"0": "a"}, "object": {"0": "b"}}', "orient='records'"),
        ("f.json", b'{"schema": {}, "data": [{"subject": "a", "object": "b"}]}', "orient='records'"),
    ],
)
def test_foreign_layout_of_a_table_gets_a_remedy(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)):
        read_facts(tmp_path / name)


def test_out_is_never_a_file_of_the_index(
    index: CountIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f.csv").write_text("subject,object\nFrance,Paris\n")
    (table,) = list(index.folder.glob("*.parquet"))[:1]
    before = table.read_bytes()
    assert main(["facts", "count", str(tmp_path / "f.csv"), "--index", str(index.folder), "--out", str(table)]) == 2
    assert "would overwrite the input" in capsys.readouterr().err
    assert table.read_bytes() == before


#: Counts a table where pandas is not installed, and prints how often pandas was looked for meanwhile.
_WITHOUT_PANDAS = """
import sys, importlib.abc
import pyarrow as pa, pyarrow.parquet
from factcensus.indexer import CountIndex
looked_for = []
class Hidden(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pandas":
            looked_for.append(name)
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Hidden())
facts = pa.table({"subject": ["a", "b"], "object": ["b", "a"], "subject_aliases": [["c"], None]})
with CountIndex.open(sys.argv[1]) as index:
    index.count_facts(facts.select(["subject", "object"]))
    looked_for.clear()
    for table in (facts, facts.to_pylist()):
        for options in ({}, {"by": "source"}, {"windows": [3]}):
            assert index.count_facts(table, **options).num_rows == 2
print(len(looked_for))
"""


def test_counting_does_not_look_for_pandas(tmp_path: Path) -> None:
    build_index([write_corpus(tmp_path / "corpus.jsonl", [{"text": "a b c"}])], tmp_path / "ix", jobs=1)
    command = [sys.executable, "-c", _WITHOUT_PANDAS, str(tmp_path / "ix")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"
