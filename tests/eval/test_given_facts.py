"""``reproduce olmo`` and ``pythia`` with the user's tables of facts, such as zsRE (made-up rows of the same shapes)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.reproduce.published_models.given import forms_of, is_matched, study_table
from factcensus.indexer.cli import main
from factcensus.indexer.errors import InputError
from factcensus.unlearn.config.files import load_config


def edit(number: int, **changes: Any) -> dict[str, Any]:
    """Return a record of zsRE about an invented person."""
    name, town = f"Person{number} Bee", f"Town{chr(97 + number % 8)}"
    return {
        "subject": name,
        "src": f"Where was {name} born?",
        "rephrase": f"What is the birthplace of {name}?",
        "alt": "Oslo",
        "answers": [town, f"{town} City"],
        "loc": "nq question: who was it",
        "loc_ans": "nobody",
        **changes,
    }


def rewrite(number: int) -> dict[str, Any]:
    """Return a record of CounterFact about an invented person."""
    target = {"str": f"Town{chr(97 + number % 8)}", "id": "Q1"}
    return {
        "case_id": number,
        "requested_rewrite": {
            "prompt": "The birthplace of {} is",
            "relation_id": "P19",
            "target_new": {"str": "Oslo", "id": "Q2"},
            "target_true": target,
            "subject": f"Person{number} Bee",
        },
        "paraphrase_prompts": [],
        "neighborhood_prompts": ["Bo was born in"],
    }


def slot(number: int, relation: str = "place of birth") -> dict[str, Any]:
    """Return a record of zsRE in KILT about an invented person."""
    return {
        "id": f"id-{number}",
        "input": f"Person{number} Bee [SEP] {relation}",
        "output": [{"answer": f"Town{chr(97 + number % 8)}", "provenance": []}],
        "meta": {"template_questions": [f"Where was Person{number} Bee born?"]},
    }


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(rows) if path.suffix == ".json" else "\n".join(map(json.dumps, rows)))
    return path


def test_a_full_study_of_given_facts_has_no_queries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, out = write(tmp_path / "zsre_mend_eval.json", [edit(number) for number in range(60)]), tmp_path / "study"
    command = ["reproduce", "olmo", "--size", "paper", "--facts", str(table), "--out", str(out), "--json"]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["facts"] == 60 + 24
    assert "reads 'src' as 'question'" in captured.err
    assert not (out / "sources").exists()
    assert "curl" not in (out / "steps.sh").read_text()
    assert "has the facts of zsre_mend_eval.json" in (out / "README.md").read_text()
    config = load_config(out / "olmo-7b" / "lora.toml")
    assert (config.training.forms, config.selection.retain.match) == (("question",), ("relation",))
    facts = [json.loads(line) for line in (out / "facts.jsonl").read_text().splitlines()]
    real = [fact for fact in facts if fact["role"] != "phantom"]
    assert {fact["relation"] for fact in facts} == {"zsre_mend_eval"}
    assert real[0]["paraphrases"] == ["What is the birthplace of Person0 Bee?"]
    assert real[0]["object_aliases"] == ["Towna City"]
    for fact in facts[60:]:
        assert fact["question"] == f"Where was {fact['subject']} born?"
        assert fact["object"] in {f"Town{letter}" for letter in "abcdefgh"}
    before = (out / "facts.jsonl").read_bytes()
    assert main(command) == 0
    assert (out / "facts.jsonl").read_bytes() == before
    for size in ("paper", "smoke"):
        assert main(["reproduce", "olmo", "--size", size, "--out", str(out)]) == 2
        assert "give them with --facts again" in capsys.readouterr().err
    assert (out / "facts.jsonl").read_bytes() == before
    assert not (out / "sources").exists()
    other = write(tmp_path / "other.json", [edit(number) for number in range(50)])
    assert main([*command[:4], "--facts", str(other), "--out", str(out)]) == 2
    assert "has other facts than" in capsys.readouterr().err
    assert main([*command[:4], "--facts", str(out / "facts.jsonl"), "--out", str(out)]) == 2
    assert "would overwrite the input" in capsys.readouterr().err


def test_facts_are_kept_once_if_their_answer_is_unique(tmp_path: Path) -> None:
    rows = [
        edit(0),
        edit(0),
        edit(1),
        edit(1, answers=["Elsewhere"]),
        edit(2, subject="Mexico", src="Capital of Mexico?", answers=["Mexico City"]),
    ]
    table = study_table([write(tmp_path / "zsre.json", rows)], invented=0).to_pylist()
    assert [(row["subject"], row["object"]) for row in table] == [("Person0 Bee", "Towna")]
    with pytest.raises(EvaluationInputError, match="has no usable fact"):
        study_table([write(tmp_path / "zsre.json", rows[2:])])


def test_several_tables_form_one_study(tmp_path: Path) -> None:
    first = write(tmp_path / "first.json", [edit(number) for number in range(40)])
    second = write(tmp_path / "second.jsonl", [slot(number) for number in range(40)])
    table = study_table([first, second], invented=2)
    assert table.num_rows == 84
    assert set(table["relation"].to_pylist()) == {"first", "place of birth"}
    assert len(set(table["fact_id"].to_pylist())) == 84
    roles = {(row["subject"], row["role"]) for row in table.to_pylist()}
    assert len(roles) == len({subject for subject, _ in roles}), "the role of a person is the same in all tables"
    assert is_matched(table)
    with pytest.raises(EvaluationInputError, match=r"first\.json has no usable fact: .* is in another table"):
        study_table([first, first])
    disputed = write(tmp_path / "third.jsonl", [slot(0), slot(1, "x")])
    other = write(tmp_path / "fourth.jsonl", [{**slot(0), "output": [{"answer": "Elsewhere"}]}, slot(2, "x")])
    named = [row["subject"] for row in study_table([disputed, other], invented=0).to_pylist()]
    assert named == ["Person1 Bee", "Person2 Bee"], "tables that disagree about an object have no usable fact of it"


def test_invented_names_differ_between_tables_and_replace_whole_words(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    tables = [
        write(folder / "zsre.json", [edit(number) for number in numbers])
        for folder, numbers in ((tmp_path, range(20)), (tmp_path / "dev", range(20, 40)))
    ]
    names = [row["subject"] for row in study_table(tables).to_pylist()]
    assert len(names) == len(set(names)) == 40 + 2 * 24
    rows = [edit(n, subject=f"Iran{n}", src=f"Which Iran{n}ian is from Iran{n}?", rephrase="") for n in range(20)]
    for row in study_table([write(tmp_path / "countries.json", rows)]).to_pylist():
        if row["role"] == "phantom":
            number, name = row["question"].removeprefix("Which Iran").partition("ian is from ")[::2]
            assert (number.isdecimal(), name) == (True, f"{row['subject']}?")


def test_a_study_without_facts_to_forget_or_retain_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write(tmp_path / "zsre.json", [edit(0)])
    assert main(["reproduce", "olmo", "--size", "paper", "--facts", str(table), "--out", str(tmp_path / "out")]) == 2
    assert "the tables have 1 usable fact, none of them to be retained" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_repeated_ids_of_given_tables_do_not_matter(tmp_path: Path) -> None:
    rows = [{**slot(number), "id": "same"} for number in range(3)]
    table = study_table([write(tmp_path / "zsre.jsonl", rows)], invented=0)
    assert table["fact_id"].to_pylist() == ["fact-000000", "fact-000001", "fact-000002"]


def test_rare_relations_are_not_matched(tmp_path: Path) -> None:
    rows = [slot(number, f"relation {number}") for number in range(40)]
    assert not is_matched(study_table([write(tmp_path / "zsre.jsonl", rows)], invented=1))


def test_all_facts_are_asked_in_the_same_way(tmp_path: Path) -> None:
    sentences = write(tmp_path / "counterfact.json", [rewrite(number) for number in range(20)])
    assert forms_of(study_table([sentences])) == ["cloze"]
    questions = write(tmp_path / "zsre.json", [edit(number) for number in range(20)])
    with pytest.raises(EvaluationInputError, match="has no question"):
        study_table([questions, sentences])


def test_tables_that_cannot_be_studied_are_refused(tmp_path: Path) -> None:
    nameless = [edit(number, src="Where was she born?", rephrase="Where?") for number in range(20)]
    with pytest.raises(EvaluationInputError, match="no question contains the name of its subject"):
        study_table([write(tmp_path / "zsre.json", nameless)])
    with pytest.raises(InputError, match="no column that names the subject"):
        study_table([write(tmp_path / "muse.json", [{"question": "Who is it?", "answer": "Bo"}])])


@pytest.mark.parametrize("make", [edit, pytest.param(rewrite, marks=pytest.mark.full)])
def test_given_facts_are_counted_forgotten_and_reported(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTCENSUS_CACHE", str(tmp_path / "cache"))
    table, out = write(tmp_path / "facts.json", [make(number) for number in range(40)]), tmp_path / "study"
    assert main(["reproduce", "pythia", "--facts", str(table), "--out", str(out)]) == 0
    counted = pq.read_table(out / "counts" / "tiny.parquet").to_pylist()
    assert sum(row["role"] != "phantom" for row in counted) == 24
    for row in counted:
        number = int(row["subject"].removeprefix("Person").split()[0]) if row["role"] != "phantom" else None
        assert row["cooccurrence_documents"] == (0 if number is None else 2 ** (number % 6)), row["subject"]
    (folder,) = (path.parent for path in out.glob("*/full.toml"))
    summary = json.loads((folder / "full" / "summary.json").read_text())
    assert {each["name"] for each in summary["methods"]} == {"grad_diff", "never_seen"}
    assert "Person" in (folder / "report.html").read_text()
