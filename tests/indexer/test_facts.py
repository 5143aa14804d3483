"""Reading fact tables and writing counts tables."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factcensus.indexer import CountIndex, build_index, read_facts, write_table
from factcensus.indexer.cli import main
from factcensus.indexer.errors import InputError
from factcensus.indexer.tables.facts import check_facts

from .corpora import records, write_corpus

ROWS: list[dict[str, Any]] = [
    {
        "fact_id": "f1",
        "relation": "capital",
        "subject": "France",
        "object": "Paris",
        "subject_aliases": ["French Republic", "RF, the"],
        "object_aliases": [],
        "question": "Which?",
        "paraphrases": ["One?", "Two?"],
        "region": "Europe",
    },
    {
        "fact_id": "f2",
        "relation": "capital",
        "subject": "C++ | C#",
        "object": 'say "hello"',
        "subject_aliases": [],
        "object_aliases": ["hi|ho"],
        "question": "Was\nist?",
        "paraphrases": [],
        "region": "",
    },
    {
        "fact_id": "f3",
        "relation": "capital",
        "subject": "日本",
        "object": "東京",
        "subject_aliases": ["Japan"],
        "object_aliases": ["Tokyo", "Tōkyō"],
        "question": "",
        "paraphrases": ["?"],
        "region": "Asia",
    },
]
LISTS = ("subject_aliases", "object_aliases", "paraphrases")


def write_facts(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as CSV (lists as JSON in a cell), JSON Lines or Parquet."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            for row in rows:
                cells = {k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()}
                writer.writerow(cells)
    return path


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountIndex]:
    folder = tmp_path_factory.mktemp("facts")
    texts = ["Paris is the capital of France", "Tokyo 東京 日本 Japan", "The French Republic", "C++ C# say hello hi ho"]
    corpus = write_corpus(folder / "c.jsonl", records(texts))
    build_index([corpus], folder / "wiki", jobs=1)
    with CountIndex.open(folder / "wiki") as opened:
        yield opened


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_fact_tables_of_every_format_have_the_same_rows(ending: str, tmp_path: Path) -> None:
    table = read_facts(write_facts(tmp_path / f"facts{ending}", ROWS))
    rows = table.to_pylist()
    assert [row["subject"] for row in rows] == ["France", "C++ | C#", "日本"]
    assert [row["object"] for row in rows] == ["Paris", 'say "hello"', "東京"]
    for column in LISTS:
        assert [row[column] or [] for row in rows] == [row[column] for row in ROWS]
    assert [row["region"] or "" for row in rows] == ["Europe", "", "Asia"]
    assert [row["fact_id"] for row in rows] == ["f1", "f2", "f3"]
    assert [row["question"] or "" for row in rows] == ["Which?", "Was\nist?", ""]


@pytest.mark.parametrize(
    ("cell", "aliases"),
    [
        ("a|b", ["a", "b"]),
        ("a | b", ["a", "b"]),
        ('["a", "b|c"]', ["a", "b|c"]),
        ("a, b", ["a, b"]),
        ("", []),
        ("[]", []),
        ('["only"]', ["only"]),
    ],
)
def test_list_in_a_csv_cell_is_json_or_separated_by_bars(cell: str, aliases: list[str], tmp_path: Path) -> None:
    with (tmp_path / "f.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["subject", "object", "subject_aliases"], ["s", "o", cell], ["t", "o", ""]])
    rows = read_facts(tmp_path / "f.csv").to_pylist()
    assert [alias.strip() for alias in rows[0]["subject_aliases"] or []] == aliases


def test_csv_with_a_byte_order_mark_and_windows_line_ends_is_read(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_bytes("\ufeffsubject,object\r\nFrance,Paris\r\nÎle,Été\r\n".encode())
    assert read_facts(tmp_path / "f.csv").to_pylist() == [
        {"subject": "France", "object": "Paris"},
        {"subject": "Île", "object": "Été"},
    ]


def test_csv_with_a_repeated_column_is_refused(tmp_path: Path) -> None:
    """One of the two would be lost silently."""
    (tmp_path / "f.csv").write_text("subject,object,note,note\nFrance,Paris,a,b\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"f\.csv: the table has the column 'note' twice"):
        read_facts(tmp_path / "f.csv")


def test_csv_cells_stay_text(tmp_path: Path) -> None:
    """A book called 1984 is not a number, NA is not missing, and True is not a truth value."""
    (tmp_path / "f.csv").write_text("subject,object,n\n1984,007,01\nNA,null,2\nTrue,1e5,3\n", encoding="utf-8")
    rows = read_facts(tmp_path / "f.csv").to_pylist()
    assert [(row["subject"], row["object"]) for row in rows] == [("1984", "007"), ("NA", "null"), ("True", "1e5")]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("role", ["subject", "object"])
@pytest.mark.parametrize("empty", ["", "   ", None])
def test_empty_subject_or_object_error_names_the_row(empty: str | None, role: str, ending: str, tmp_path: Path) -> None:
    """Rows are numbered from 1, without the header."""
    rows = [{"subject": f"s{n}", "object": f"o{n}"} for n in range(20)]
    rows[16][role] = empty  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"\brow 17\b") as raised:
        read_facts(write_facts(tmp_path / f"f{ending}", rows))
    assert role in str(raised.value)


@pytest.mark.parametrize("role", ["subject", "object"])
def test_subject_without_tokens_error_names_the_row(role: str, index: CountIndex, tmp_path: Path) -> None:
    rows = [{"subject": f"s{n}", "object": f"o{n}"} for n in range(20)]
    rows[16][role] = "— !"
    table = read_facts(write_facts(tmp_path / "f.jsonl", rows))
    with pytest.raises(InputError, match=r"\brow 17\b"):
        index.count_facts(table)


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("role", ["subject", "object"])
def test_missing_column_is_named(role: str, ending: str, tmp_path: Path) -> None:
    rows = [{"subject": "s", "object": "o", "x": "y"}]
    del rows[0][role]
    with pytest.raises(InputError, match=role):
        read_facts(write_facts(tmp_path / f"f{ending}", rows))


def test_unreadable_table_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "f.parquet").write_bytes(b"no parquet")
    (tmp_path / "f.jsonl").write_bytes(b"{no json\n")
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "f.xlsx").write_bytes(b"")
    for name in ("f.parquet", "f.jsonl", "empty.csv", "f.xlsx", "absent.csv"):
        with pytest.raises(InputError, match=name.replace(".", r"\.")):
            read_facts(tmp_path / name)


def test_counts_table_has_fact_columns_then_counts_in_order(index: CountIndex, tmp_path: Path) -> None:
    facts = read_facts(write_facts(tmp_path / "f.jsonl", ROWS))
    table = index.count_facts(facts, windows=[0, 25])
    assert table.column_names == [
        *facts.column_names,
        "subject_mentions",
        "object_mentions",
        "subject_documents",
        "object_documents",
        "cooccurrence_documents",
        "cooccurrence_pairs",
        "cooccurrence_documents_w0",
        "cooccurrence_pairs_w0",
        "cooccurrence_documents_w25",
        "cooccurrence_pairs_w25",
        "index",
        "index_digest",
        "analyzer",
        "exact",
    ]
    for column in table.column_names[-14:-4]:
        assert pa.types.is_integer(table.schema.field(column).type)
    assert table["index"].to_pylist() == ["wiki"] * 3
    assert set(table["index_digest"].to_pylist()) == {index.digest}
    assert set(table["exact"].to_pylist()) == {True}
    assert table.select(facts.column_names).equals(facts)
    rows = table.to_pylist()
    # row 3: 日本, Japan with 東京, Tokyo, Tōkyō; the first of each are adjacent in "Tokyo 東京 日本 Japan"
    assert [row["subject_mentions"] for row in rows] == [2, 1, 2]
    assert [row["cooccurrence_documents"] for row in rows] == [1, 1, 1]
    assert [row["cooccurrence_pairs"] for row in rows] == [1, 2, 4]
    assert [row["cooccurrence_pairs_w0"] for row in rows] == [0, 1, 1]


def test_windows_keep_their_order_without_repeats(index: CountIndex, tmp_path: Path) -> None:
    facts = read_facts(write_facts(tmp_path / "f.jsonl", ROWS))
    names = [name for name in index.count_facts(facts, windows=[7, 2, 7]).column_names if "documents_w" in name]
    assert sorted(names) == ["cooccurrence_documents_w2", "cooccurrence_documents_w7"]


def test_table_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("subject,object\n", encoding="utf-8")
    with pytest.raises(InputError, match="no rows"):
        read_facts(tmp_path / "f.csv")


def test_rows_keep_their_order_and_repeats(index: CountIndex, tmp_path: Path) -> None:
    pairs = [("Paris", "France"), ("x", "y"), ("Paris", "France"), ("Japan", "日本")] * 700
    rows = [{"subject": subject, "object": object_} for subject, object_ in pairs]
    table = index.count_facts(read_facts(write_facts(tmp_path / "f.jsonl", rows)))
    assert table["subject"].to_pylist() == [row["subject"] for row in rows]
    assert table["cooccurrence_documents"].to_pylist() == [1, 0, 1, 1] * 700


def test_counting_counted_facts_again_replaces_the_numbers(index: CountIndex, tmp_path: Path) -> None:
    once = index.count_facts(read_facts(write_facts(tmp_path / "f.jsonl", ROWS)), windows=[3])
    write_table(once, tmp_path / "counts.parquet")
    again = index.count_facts(read_facts(tmp_path / "counts.parquet"), windows=[3])
    assert sorted(again.column_names) == sorted(once.column_names)
    assert again.select(once.column_names).to_pylist() == once.to_pylist()


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_counts_table_survives_every_format(ending: str, index: CountIndex, tmp_path: Path) -> None:
    """After writing, reading and stratifying, lists are the same and counts are still numbers."""
    table = index.count_facts(read_facts(write_facts(tmp_path / "f.jsonl", ROWS)), windows=[3])
    write_table(table, tmp_path / f"counts{ending}")
    code = main(["facts", "stratify", str(tmp_path / f"counts{ending}"), "--out", str(tmp_path / "strata.parquet")])
    assert code == 0
    strata = pq.read_table(tmp_path / "strata.parquet")
    assert strata.column_names[: table.num_columns] == table.column_names
    for name in table.column_names:
        before, after = table[name].to_pylist(), strata[name].to_pylist()
        assert [value or None for value in after] == [value or None for value in before], name


def test_table_is_not_written_to_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.parquet"):
        write_table(pa.table({"a": [1]}), tmp_path / "f.xlsx")


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.string()),
        pa.large_list(pa.large_string()),
        pa.list_(pa.large_string()),
        pa.list_(pa.string(), 1),
        pa.list_view(pa.string()),
        pa.list_(pa.dictionary(pa.int32(), pa.string())),
    ],
)
def test_aliases_of_every_arrow_type_become_the_same_lists(kind: pa.DataType) -> None:
    names = pa.array(["a", "b", "c"], pa.string())
    aliases = pa.array([["q"], None, ["r"]], pa.list_(pa.string()))
    table = pa.table({"subject": names, "object": names, "subject_aliases": pa.array(aliases.to_pylist(), kind)})
    checked = check_facts(table)["subject_aliases"]
    assert checked.type == pa.list_(pa.string())
    assert checked.to_pylist() == aliases.to_pylist()
