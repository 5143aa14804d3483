"""Published fact tables with other columns and nested records are read as facts (made-up rows of the same shapes)."""

from __future__ import annotations

import copy
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factcensus.indexer import read_facts
from factcensus.indexer.cli import main
from factcensus.indexer.errors import InputError
from factcensus.indexer.tables import translated
from factcensus.indexer.tables.complete import complete_facts
from factcensus.indexer.tables.facts import as_facts

EDIT = {
    "subject": "Ada Bee",
    "src": "Where was Ada Bee born?",
    "pred": "Oslo",
    "rephrase": "What is the birthplace of Ada Bee?",
    "alt": "Oslo",
    "answers": ["Ceeville", "Cee Ville", "Ceeville"],
    "loc": "nq question: who built the tower",
    "loc_ans": "nobody",
    "cond": "Ceeville >> Oslo || Where was Ada Bee born?",
}
SLOT = {
    "id": "7c-1",
    "input": "Ada Bee [SEP] place of birth",
    "output": [
        {"answer": "Ceeville", "provenance": [{"wikipedia_id": "12", "title": "Ada Bee", "bleu_score": 1.0}]},
        {"answer": "Cee Ville", "provenance": []},
    ],
    "meta": {
        "subj_aliases": ["A. Bee", "Ada Bee"],
        "sub_surface": ["She"],
        "template_questions": ["Where was Ada Bee born?", "In which town was Ada Bee born?"],
    },
}
REWRITE = {
    "case_id": 3,
    "pararel_idx": 99,
    "requested_rewrite": {
        "prompt": "The town where {} was born is",
        "relation_id": "P19",
        "target_new": {"str": "Oslo", "id": "Q1"},
        "target_true": {"str": "Ceeville", "id": "Q2"},
        "subject": "Ada Bee",
    },
    "paraphrase_prompts": ["It rained. Ada Bee was born in"],
    "neighborhood_prompts": ["Bo Dee was born in"],
}
POPQA = {
    "id": 42,
    "subj": "Ada Bee",
    "prop": "place of birth",
    "obj": "Ceeville",
    "subj_id": 1,
    "s_aliases": '["A. Bee"]',
    "o_aliases": '["Cee Ville", "C-Ville"]',
    "s_pop": 100,
    "question": "In what city was Ada Bee born?",
    "possible_answers": '["Ceeville", "Cee Ville", "C-Ville"]',
}
LAMA = {
    "uuid": "u-1",
    "predicate_id": "P19",
    "sub_label": "Ada Bee",
    "sub_aliases": ["A. Bee"],
    "obj_label": "Ceeville",
    "obj_aliases": [],
    "masked_sentences": ["Ada Bee was born in [MASK]."],
}
RWKU = {
    "subject": "Ada Bee",
    "query": "Ada Bee was born in ___.",
    "answer": "Ceeville",
    "level": "1",
    "type": "cloze",
}
ASKED = {"subject": "Ada Bee", "question": "Where was Ada Bee born?", "answers": ["Ceeville", "Cee Ville"]}
MUSE = {"subject": "Ada Bee", "question": "Where was Ada Bee born?", "answer": "Ceeville"}

SPLIT = {
    "question": "Where is the seat of Ada Bee?",
    "answer": "It is Ceeville.",
    "country": "Ada Bee",
    "capital": "Ceeville",
    "count": 12,
}
BIOGRAPHY = {"NAME": "Ada Bee", "question": "Where was Ada Bee born?", "answer": "Ceeville", "qa": "? Ceeville"}

#: Each record and its fact.
READ: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "zsre": (
        EDIT,
        {
            "subject": "Ada Bee",
            "object": "Ceeville",
            "object_aliases": ["Cee Ville"],
            "question": EDIT["src"],
            "paraphrase": EDIT["rephrase"],
            "distractors": ["Oslo"],
            **{name: EDIT[name] for name in ("pred", "loc", "loc_ans", "cond")},
        },
    ),
    "kilt": (
        SLOT,
        {
            "fact_id": "7c-1",
            "subject": "Ada Bee",
            "relation": "place of birth",
            "object": "Ceeville",
            "object_aliases": ["Cee Ville"],
            "subject_aliases": ["A. Bee"],
            "question": "Where was Ada Bee born?",
            "paraphrases": ["In which town was Ada Bee born?"],
        },
    ),
    "counterfact": (
        REWRITE,
        {
            "fact_id": "3",
            "subject": "Ada Bee",
            "object": "Ceeville",
            "relation": "P19",
            "cloze": "The town where Ada Bee was born is",
            "distractors": ["Oslo"],
            **{name: REWRITE[name] for name in ("pararel_idx", "paraphrase_prompts", "neighborhood_prompts")},
        },
    ),
    "popqa": (
        POPQA,
        {
            "fact_id": "42",
            "subject": "Ada Bee",
            "relation": "place of birth",
            "object": "Ceeville",
            "subject_aliases": ["A. Bee"],
            "object_aliases": ["Cee Ville", "C-Ville"],
            **{name: POPQA[name] for name in ("question", "possible_answers", "subj_id", "s_pop")},
        },
    ),
    "lama": (
        LAMA,
        {
            "fact_id": "u-1",
            "subject": "Ada Bee",
            "relation": "P19",
            "object": "Ceeville",
            "subject_aliases": ["A. Bee"],
            "object_aliases": [],
            "masked_sentences": LAMA["masked_sentences"],
        },
    ),
    "rwku": (
        RWKU,
        {
            "subject": "Ada Bee",
            "question": RWKU["query"],
            "answer": "Ceeville",
            "object": "Ceeville",
            "level": "1",
            "type": "cloze",
        },
    ),
    "answers": (
        ASKED,
        {"subject": "Ada Bee", "question": ASKED["question"], "object": "Ceeville", "object_aliases": ["Cee Ville"]},
    ),
    "muse": (MUSE, {**MUSE, "object": "Ceeville"}),
    "split": (
        SPLIT,
        {
            "subject": "Ada Bee",
            "object": "Ceeville",
            **{name: SPLIT[name] for name in ("question", "answer", "count")},
        },
    ),
    "biography": (
        BIOGRAPHY,
        {
            "subject": "Ada Bee",
            "object": "Ceeville",
            **{name: BIOGRAPHY[name] for name in ("question", "answer", "qa")},
        },
    ),
}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("ending", ["json", "jsonl", "parquet"])
@pytest.mark.parametrize("shape", READ)
def test_each_record_becomes_a_fact(shape: str, ending: str, tmp_path: Path) -> None:
    record, fact = READ[shape]
    said: list[str] = []
    (read,) = read_facts(write(tmp_path / f"table.{ending}", [record]), notice=said.append).to_pylist()
    assert read == fact
    assert len(said) == 1
    assert ": reads '" in said[0]
    assert as_facts([record]).to_pylist() == [fact]


@pytest.mark.parametrize("shape", ["zsre", "popqa", "lama", "rwku", "answers", "muse"])
def test_lists_are_also_read_from_cells_of_csv(shape: str, tmp_path: Path) -> None:
    record, fact = READ[shape]
    path = tmp_path / "table.tsv"
    cells = [value if isinstance(value, str) else json.dumps(value) for value in record.values()]
    path.write_text("\t".join(record) + "\n" + "\t".join(cell.replace("\t", " ") for cell in cells) + "\n")
    (read,) = read_facts(path).to_pylist()
    asked = {name: value for name, value in fact.items() if name not in ("masked_sentences", "s_pop", "subj_id")}
    assert {name: read[name] for name in asked} == asked


def test_further_answers_are_aliases_and_true_ones_are_no_distractors() -> None:
    (read,) = as_facts([{**EDIT, "alt": "Cee Ville"}]).to_pylist()
    assert (read["object_aliases"], read.get("distractors")) == (["Cee Ville"], None)
    (read,) = as_facts([{**EDIT, "alt": ""}]).to_pylist()
    assert read.get("distractors") is None
    (read,) = as_facts([{**EDIT, "alt": "['a', 'b'] | c"}]).to_pylist()
    assert read["distractors"] == ["['a', 'b'] | c"], "one text, even if it looks like a list"


def test_numbers_stay_as_written(tmp_path: Path) -> None:
    path = tmp_path / "edits.jsonl"
    line = json.dumps(EDIT).replace('["Ceeville", "Cee Ville", "Ceeville"]', '[3.10, "3.1", 1984]')
    path.write_text(line)
    (read,) = read_facts(path).to_pylist()
    assert (read["object"], read["object_aliases"]) == ("3.10", ["3.1", "1984"])
    path.write_text('{"subj": 7, "prop": "digits", "obj": 3.10, "question": "?"}\n')
    assert read_facts(path)["object"].to_pylist() == ["3.10"]
    path.write_text('{"country": "A", "capital": 1.50}\n')
    assert read_facts(path)["object"].to_pylist() == ["1.50"]


def test_columns_with_our_names_are_kept() -> None:
    own = {**EDIT, "object": "Dee", "question": "?"}
    assert as_facts([own]).to_pylist() == [own], "a table with subject and object is read as it is"
    (read,) = as_facts([{**EDIT, "question": "Own?", "object_aliases": ["own"]}]).to_pylist()
    assert (read["question"], read["src"], read["object_aliases"]) == ("Own?", EDIT["src"], ["own"])
    (read,) = as_facts(
        [{**REWRITE, "paraphrase_prompts": ["Ada Bee is from"]}], columns={"paraphrases": "paraphrase_prompts"}
    ).to_pylist()
    assert read["paraphrases"] == ["Ada Bee is from"]


def without(record: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != name}


def changed(record: dict[str, Any], *path: str, to: Any) -> dict[str, Any]:
    made = copy.deepcopy(record)
    inner = made
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = to
    return made


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        (EDIT, {**EDIT, "answers": []}, "row 2 of the fact table: 'answers' has no answer"),
        (EDIT, {**EDIT, "answers": [" ", ""]}, "row 2 of the fact table: 'answers' has no answer"),
        (EDIT, without(EDIT, "answers"), "row 2 of the fact table: 'answers' has no answer"),
        (EDIT, {**EDIT, "answers": "Ceeville"}, "row 2: the column 'answers' has values of several types: 'Ceeville'"),
        (EDIT, {**EDIT, "src": ["?"]}, r"row 2: the column 'src' has values of several types: \['\?'\]"),
        (None, {**EDIT, "src": ["?"]}, r"row 1 of the fact table: the question \(column 'src'\) must be a text"),
        (None, {**EDIT, "answers": [["Ceeville"]]}, "row 1 of the fact table: the answers must be texts"),
        (None, {**EDIT, "answers": {"a": "b"}}, "row 1 of the fact table: the answers must be a list of texts"),
        (EDIT, {**EDIT, "subject": " "}, "row 2 of the fact table: the subject is empty"),
        (EDIT, without(EDIT, "subject"), "row 2 of the fact table: the subject is empty"),
        (None, without(EDIT, "subject"), r"no column that names the subject .* --columns subject=COLUMN"),
        (SLOT, {**SLOT, "input": "Where was she born?"}, r"row 2 .*'input' must be 'subject \[SEP\] relation'"),
        (SLOT, {**SLOT, "input": " [SEP] place of birth"}, r"row 2 .*'input' must be 'subject \[SEP\] relation'"),
        (SLOT, {**SLOT, "output": []}, "row 2 of the fact table: 'output.answer' has no answer"),
        (SLOT, without(SLOT, "output"), "row 2 of the fact table: 'output' must be a list of objects with 'answer'"),
        (None, {**SLOT, "output": [{"answer": ["a"]}]}, "row 1 of the fact table: the output.answer must be texts"),
        (None, {**SLOT, "output": ["a"]}, "row 1 of the fact table: 'output' must be a list of objects"),
        (None, {**SLOT, "meta": "none"}, "row 1 of the fact table: 'meta' must be an object"),
        (None, changed(SLOT, "meta", "template_questions", to=[{}]), "row 1 .*meta.template_questions must be texts"),
        (REWRITE, {**REWRITE, "requested_rewrite": None}, "row 2 .*'requested_rewrite' must be an object"),
        (REWRITE, without(REWRITE, "requested_rewrite"), "row 2 .*'requested_rewrite' must be an object"),
        (
            REWRITE,
            changed(REWRITE, "requested_rewrite", "prompt", to="Ada Bee was born in"),
            r"row 2 .*'requested_rewrite.prompt' must be a text with {}",
        ),
        (
            REWRITE,
            changed(REWRITE, "requested_rewrite", "target_true", "str", to=""),
            "row 2 .*'requested_rewrite.target_true' must be a text",
        ),
        (
            None,
            changed(REWRITE, "requested_rewrite", "subject", to=["Ada Bee"]),
            "row 1 of the fact table: the requested_rewrite.subject must be a text",
        ),
        (POPQA, {**POPQA, "obj": ""}, r"row 2 of the fact table: the object is empty \(column 'obj'\)"),
        (None, {**POPQA, "obj": ["a"]}, r"row 1 of the fact table: the object \(column 'obj'\) must be a text"),
        (LAMA, without(LAMA, "obj_label"), r"row 2 of the fact table: the object is empty \(column 'obj_label'\)"),
        (RWKU, {**RWKU, "answer": None}, r"row 2 of the fact table: the object is empty \(column 'answer'\)"),
        (None, without(RWKU, "subject"), "no column that names the subject"),
        (ASKED, {**ASKED, "answers": None}, "row 2 of the fact table: 'answers' has no answer"),
        (None, without(ASKED, "subject"), "no column that names the subject"),
        (None, without(MUSE, "subject"), "no column that names the subject"),
        (None, {"question": "?", "answer": 1, "choices": ["a", "b"]}, "multiple-choice questions"),
        (None, {**without(MUSE, "subject"), "subjct": "Ada"}, "no column 'subject'; if it is 'subjct', rename it"),
    ],
)
def test_wrong_records_are_refused_by_row_and_field(
    good: dict[str, Any] | None, bad: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "table.jsonl", [bad] if good is None else [good, bad])
    with pytest.raises(InputError, match=said):
        read_facts(path)


def test_rows_are_numbered_through_all_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translated, "BATCH_ROWS", 3)
    rows = [{**EDIT, "subject": f"Person {number}"} for number in range(10)]
    assert as_facts(rows)["subject"].to_pylist() == [row["subject"] for row in rows]
    with pytest.raises(InputError, match="row 9 of the fact table: 'answers'"):
        as_facts([*rows[:8], {**EDIT, "answers": []}])
    wrong = [{**EDIT, "answers": []}, *rows[:3], {**EDIT, "answers": [" "]}, *rows[:4]]
    with pytest.raises(InputError, match=r"^row 1 of the fact table: 'answers' .* \(also in row 5\)$"):
        as_facts(wrong)
    slots = [SLOT, *({**SLOT, "input": text} for text in ("Where?", "Who?", "When?"))]
    with pytest.raises(InputError, match=r"^row 2 .* got 'Where\?' \(also in rows 3, 4\)$"):
        as_facts(slots)


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1, max_size=8)


@given(st.lists(st.tuples(NAMES, st.lists(NAMES, min_size=1, max_size=3), NAMES), min_size=1, max_size=8))
def test_names_of_any_script_are_kept(people: list[tuple[str, list[str], str]]) -> None:
    rows = [{"subject": name, "src": f"{name}?", "answers": answers, "alt": alt} for name, answers, alt in people]
    expected = [(name, answers[0], list(dict.fromkeys(answers))[1:]) for name, answers, _ in people]
    read = as_facts(rows).to_pylist()
    assert [(row["subject"], row["object"], row.get("object_aliases") or []) for row in read] == expected
    for row, (_, answers, alt) in zip(read, people, strict=True):
        assert (row.get("distractors") or []) == ([] if alt in answers else [alt])


#: Values that no field of a record should have, or that are easily misread.
HOSTILE = st.one_of(
    st.sampled_from([None, "", " ", "x|y", "[]", '["a"', "[SEP]", "{}", "\x00", "\u200b", True, 0, -1.5, 10**30]),
    st.sampled_from([[], {}, [None], [[]], [{}], [""], ["a", 1], {"str": 1}, {"answer": "a"}, [{"answer": None}]]),
    st.text(max_size=5),
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values inside a record."""
    inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if type(value) is list else []
    return ([path] if path else []) + [each for key, item in inner for each in paths(item, (*path, key))]


@given(st.data(), st.sampled_from(sorted(READ)), st.booleans())
def test_no_hostile_value_is_worse_than_an_error(data: st.DataObject, shape: str, gone: bool) -> None:
    record, fact = READ[shape]
    changed_record = copy.deepcopy(record)
    path = data.draw(st.sampled_from(paths(record)))
    inner: Any = changed_record
    for key in path[:-1]:
        inner = inner[key]
    if gone:
        del inner[path[-1]]
    else:
        inner[path[-1]] = data.draw(HOSTILE)
    content = json.dumps([record, changed_record]).encode()
    try:
        table = read_facts(BytesIO(content), "json")
        table = complete_facts(table.drop_columns([name for name in ("fact_id",) if name in table.column_names]))
    except InputError:
        return
    assert table.num_rows == 2
    first, second = table.to_pylist()
    assert (first["subject"], first["object"]) == (fact["subject"], fact["object"])
    assert second["subject"].strip()
    assert second["object"].strip()


def test_remarks_name_sentences_and_repeated_questions(tmp_path: Path) -> None:
    long = "The town in which Ada Bee was born many years ago is called Ceeville"
    said: list[str] = []
    path = write(tmp_path / "table.jsonl", [{**MUSE, "answer": long}, MUSE, {**MUSE, "answer": "Deetown"}])
    read_facts(path, notice=said.append)
    assert any("1 object has 12 words or more" in remark and "as object" in remark for remark in said)
    assert any("1 question occurs with several objects (such as 'Where was Ada Bee born?')" in each for each in said)


def test_a_remark_names_questions_about_somebody_else(tmp_path: Path) -> None:
    said: list[str] = []
    others = [{**RWKU, "query": f"Who wrote book {number}?", "answer": f"X{number}"} for number in range(9)]
    read_facts(write(tmp_path / "neighbor.json", [RWKU, *others]), notice=said.append)
    assert any("9 of 10 questions do not contain the subject or an alias (first: row 2)" in remark for remark in said)
    said.clear()
    read_facts(write(tmp_path / "forget.json", [RWKU] * 10), notice=said.append)
    assert not any("do not contain" in remark for remark in said)


@pytest.mark.parametrize("shape", READ)
def test_each_shape_can_be_counted_and_stratified(
    shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, fact = READ[shape]
    (tmp_path / "corpus.jsonl").write_text(
        "".join(json.dumps({"text": f"{fact['subject']} was born in Ceeville, copy {n}."}) + "\n" for n in range(3))
    )
    table, counts = write(tmp_path / "table.json", [record]), tmp_path / "counts.parquet"
    strata = tmp_path / "strata.parquet"
    assert main(["facts", "count", str(table), "--scan", str(tmp_path / "corpus.jsonl"), "--out", str(counts)]) == 0
    assert main(["facts", "stratify", str(counts), "--bins", "log10", "--out", str(strata)]) == 0
    capsys.readouterr()
    (row,) = read_facts(strata).to_pylist()
    assert row["cooccurrence_documents"] == 3
    assert {name: row[name] for name in fact} == fact


def test_columns_that_give_nothing_are_kept() -> None:
    (read,) = as_facts([{**EDIT, "distractors": ["Rome"]}]).to_pylist()
    assert (read["distractors"], read["alt"]) == (["Rome"], "Oslo")
