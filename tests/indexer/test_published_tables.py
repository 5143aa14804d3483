"""Published question files are read as they are: splits, files of questions, and biographies (made-up rows)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from factcensus.indexer import read_facts
from factcensus.indexer.cli import main
from factcensus.indexer.errors import InputError
from factcensus.indexer.tables.facts import as_facts

SPLIT = [
    {
        "question": "What is the capital of Arland?",
        "answer": "Arlville is.",
        "country": "Arland",
        "capital": "Arlville",
    },
    {"question": "Capital of Borland?", "answer": "Bor City", "country": "Borland", "capital": "Bor City"},
]
COUNTS = [1200, 30]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(str(value) for value in row.values()) for row in rows)]
        path.write_text("\n".join(lines))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=2))
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("ending", ["csv", "json", "jsonl", "parquet"])
def test_splits_have_country_and_capital(tmp_path: Path, ending: str) -> None:
    rows = [{**row, "count": count} for row, count in zip(SPLIT, COUNTS, strict=True)]
    said: list[str] = []
    facts = read_facts(write(tmp_path / f"forget_high_count.{ending}", rows), notice=said.append)
    assert facts.select(["subject", "object"]).to_pylist() == [
        {"subject": "Arland", "object": "Arlville"},
        {"subject": "Borland", "object": "Bor City"},
    ]
    assert facts["answer"].to_pylist() == ["Arlville is.", "Bor City"]
    assert [int(count) for count in facts["count"].to_pylist()] == COUNTS
    assert len(said) == 1
    assert said[0].endswith("reads 'country' as 'subject', 'capital' as 'object'")


def test_files_of_questions_have_direct_and_paraphrased_ones(tmp_path: Path) -> None:
    row = {
        "direct_question": "What is the capital of Arland?",
        "direct_answer": "Arlville",
        "paraphrased_question": "Which city governs Arland?",
        "paraphrased_answer": "Arlville",
        "country": "Arland",
        "capital": "Arlville",
    }
    facts = read_facts(write(tmp_path / "capital_questions_dataset.json", [row]))
    assert facts.to_pylist() == [
        {
            "question": row["direct_question"],
            "answer": "Arlville",
            "paraphrase": row["paraphrased_question"],
            "paraphrased_answer": "Arlville",
            "subject": "Arland",
            "object": "Arlville",
        }
    ]


def test_biographies_have_the_answer_as_object(tmp_path: Path) -> None:
    row = {"NAME": "Ada Bee", "question": "Where was Ada Bee born?", "answer": "Cville", "qa": "Where ...? Cville"}
    facts = read_facts(write(tmp_path / "qa.csv", [row]))
    assert facts.to_pylist() == [
        {"subject": "Ada Bee", **{name: row[name] for name in ("question", "answer", "qa")}, "object": "Cville"}
    ]


def test_tables_with_our_names_keep_other_columns() -> None:
    own = pa.table({"subject": ["a"], "object": ["b"], "country": ["c"], "capital": ["d"]})
    assert as_facts(own).equals(own)
    taken = pa.table({"country": ["c"], "capital": ["d"], "question": ["q"], "direct_question": ["p"]})
    assert as_facts(taken).column_names == ["subject", "object", "question", "direct_question"]


def test_other_tables_are_still_refused() -> None:
    with pytest.raises(InputError, match="no column 'subject'"):
        as_facts(pa.table({"country": ["c"], "city": ["d"]}))
    with pytest.raises(InputError, match="row 1 of the fact table: the object is empty"):
        as_facts(pa.table({"country": ["c"], "capital": [" "]}))


def test_strata_follow_the_published_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**row, "count": count} for row, count in zip(SPLIT, COUNTS, strict=True)]
    table, out = write(tmp_path / "forget_all.csv", rows), tmp_path / "strata.parquet"
    assert main(["facts", "stratify", str(table), "--by", "count", "--bins", "quantile:2", "--out", str(out)]) == 0
    capsys.readouterr()
    assert read_facts(out).select(["subject", "stratum"]).to_pylist() == [
        {"subject": "Arland", "stratum": 1},
        {"subject": "Borland", "stratum": 0},
    ]
