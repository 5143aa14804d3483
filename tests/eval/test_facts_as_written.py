"""Training and evaluation get the texts of a fact unchanged, from every format."""

from __future__ import annotations

import csv
import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factcensus.eval.asking.questions import accepted_answers, questions_of
from factcensus.eval.imports.importing import import_results, source_of
from factcensus.indexer import CountIndex, build_index, facts_from_rows, read_facts, stratify, write_table
from factcensus.indexer.cli import main
from factcensus.unlearn.config.run_config import SelectionConfig
from factcensus.unlearn.prepare import prompts
from factcensus.unlearn.selection import doubts, read_fact_table, select

TEXTS = ["007", "086", "1984", "true", "1.10", "3.10", "001", "02139", "1991-01-10", "NaN", "None", "1e5", "-0"]
SELECTION = SelectionConfig.model_validate({"forget": {"relations": ["a"]}, "retain": {"relations": ["b"]}})


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountIndex]:
    folder = tmp_path_factory.mktemp("written")
    (folder / "c.jsonl").write_text("".join(json.dumps({"text": f"Name is {text}"}) + "\n" for text in TEXTS))
    build_index([folder / "c.jsonl"], folder / "index", jobs=1)
    with CountIndex.open(folder / "index") as opened:
        yield opened


def rows_of(texts: list[str]) -> list[dict[str, Any]]:
    return [
        {
            "fact_id": text,
            "subject": f"{half} {text}",
            "object": text,
            "relation": half,
            "question": f"Which {text}?",
            "answer": text if number % 2 else None,
            "object_aliases": [text, f"{text} {text}"],
            "paraphrases": [f"{text}?", text],
            "cloze": f"It is {text}",
        }
        for half, half_of_texts in (("a", texts), ("b", [f"{text}x" for text in texts]))
        for number, text in enumerate(half_of_texts)
    ]


def write(rows: list[dict[str, Any]], path: Path) -> Path:
    """Write rows as a user would, without the project's own writer."""
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows([{k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows])
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
    return path


@pytest.mark.parametrize("between", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "arrow"])
def test_texts_are_counted_trained_and_asked_unchanged(
    ending: str, between: str, index: CountIndex, tmp_path: Path
) -> None:
    rows = rows_of(TEXTS)
    facts = write(rows, tmp_path / f"facts.{ending}")
    counts, strata = tmp_path / f"counts.{between}", tmp_path / f"strata.{between}"
    assert main(["facts", "count", str(facts), "--index", str(index.folder), "--out", str(counts)]) == 0
    assert main(["facts", "stratify", str(counts), "--bins", "edges:1", "--out", str(strata)]) == 0
    selection = select(read_fact_table(strata), SELECTION, 0)
    assert [selection.rows[number]["answer"] for number in selection.forget] == TEXTS
    for row, expected in zip(selection.rows, rows, strict=True):
        assert row["answer"] == expected["object"]
        assert {**row, "answer": None} == {**row, **expected, "answer": None}
        assert prompts(row, ["question", "cloze", "paraphrases"]) == [
            ("question", expected["question"]),
            ("cloze", expected["cloze"]),
            *(("paraphrases", text) for text in expected["paraphrases"]),
        ]
        assert accepted_answers(row) == (expected["object"], f"{expected['object']} {expected['object']}")
    asked = questions_of(selection.facts, paraphrases=2, forms=("question",))
    assert [(each.prompt, each.answer) for each in asked] == [(row["question"], row["object"]) for row in rows]


WORD = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=8).filter(str.strip)


@given(st.lists(WORD, min_size=1, max_size=3, unique=True), st.permutations(["csv", "jsonl", "parquet", "arrow"]))
@settings(max_examples=60, deadline=None)
def test_any_text_survives_counting_stratifying_selecting_and_asking(
    tmp_path_factory: pytest.TempPathFactory, index: CountIndex, texts: list[str], order: list[str]
) -> None:
    folder, rows = tmp_path_factory.mktemp("any"), []
    for row in rows_of(texts):
        rows.append({**row, "subject": f"s {row['subject']}", "object": f"o{row['object']}", "answer": row["object"]})
    write(rows, folder / f"facts.{order[0]}")
    write_table(index.count_facts(folder / f"facts.{order[0]}"), folder / f"counts.{order[1]}")
    write_table(stratify(read_facts(folder / f"counts.{order[1]}"), bins="edges:1"), folder / f"strata.{order[2]}")
    selection = select(read_fact_table(folder / f"strata.{order[2]}"), SELECTION, 0)
    for row, expected in zip(selection.rows, rows, strict=True):
        assert {name: row[name] for name in expected} == expected
    asked = questions_of(selection.facts, paraphrases=0, forms=("question",))
    assert [(each.prompt, each.answer) for each in asked] == [(row["question"], row["answer"]) for row in rows]


def test_null_answer_becomes_the_object_and_not_the_word_none(tmp_path: Path) -> None:
    (tmp_path / "f.jsonl").write_text(
        '{"subject": "a", "object": "b", "answer": null}\n{"subject": "c", "object": "d", "answer": "e"}\n'
    )
    assert read_facts(tmp_path / "f.jsonl")["answer"].to_pylist() == [None, "e"]
    assert read_fact_table(tmp_path / "f.jsonl")["answer"].to_pylist() == ["b", "e"]


def test_aliases_in_a_csv_cell_are_names_and_not_letters(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("subject,object,object_aliases,question\nPeru,Lima,\"['a b', 'c']\",Where?\n")
    (row,) = read_fact_table(tmp_path / "f.csv").to_pylist()
    assert accepted_answers(row) == ("Lima", "a b", "c")


def test_fact_without_a_stratum_causes_a_warning_before_training() -> None:
    rows = [{"subject": f"s{n}", "object": "o", "relation": "ab"[n % 2], "stratum": n or None} for n in range(4)]
    selection = select(facts_from_rows([{**row, "fact_id": row["subject"]} for row in rows]), SELECTION, 0)
    (warning,) = doubts(selection)
    assert warning.startswith("1 of the 4 facts in the two sets have no stratum (1 of them to forget)")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_imported_outcomes_keep_their_ids_and_texts(ending: str, tmp_path: Path) -> None:
    rows = [
        {"fact_id": text, "method": method, "match": "true", "subject": text, "object": text, "code": text}
        for text in ("007", "7", "3.10")
        for method in ("original", "npo")
    ]
    path = write(rows, tmp_path / f"outcomes.{ending}")
    out = import_results([source_of(str(path))], tmp_path / "run", kind="table")
    facts = pq.read_table(out / "facts.parquet")
    for name in ("fact_id", "subject", "object", "code"):
        assert facts[name].to_pylist() == [row[name] for row in rows], name


def test_pandas_timestamps_become_dates(tmp_path: Path) -> None:
    frame = pd.DataFrame({"subject": ["Wall"], "object": pd.to_datetime(["1989-11-09"]), "question": ["When?"]})
    frame.to_parquet(tmp_path / "f.parquet")
    assert read_fact_table(tmp_path / "f.parquet")["answer"].to_pylist() == ["1989-11-09"]
    frame["object"] = [datetime.date(1989, 11, 9)]
    frame.to_parquet(tmp_path / "f.parquet")
    assert read_fact_table(tmp_path / "f.parquet")["answer"].to_pylist() == ["1989-11-09"]
