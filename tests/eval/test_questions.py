from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from factcensus.eval.asking.questions import questions_of
from factcensus.eval.errors import EvaluationInputError


def asked(fact: dict[str, Any], paraphrases: int = 1) -> list[tuple[str, int, str, str, tuple[str, ...], bool]]:
    return [
        (each.form, each.variant, each.prompt, each.answer, each.accepted, each.plain)
        for each in questions_of(pa.Table.from_pylist([fact]), paraphrases=paraphrases)
    ]


def test_every_form_of_a_fact_is_asked_with_all_accepted_answers() -> None:
    fact = {
        "subject": "Ada",
        "object": "New York",
        "answer": "in New York",
        "object_aliases": ["NYC", "New York"],
        "question": "Where was Ada born?",
        "cloze": "Ada was born in",
        "paraphrases": ["Ada's city?", "And?", "Hm?"],
    }
    accepted = ("in New York", "New York", "NYC")
    assert asked(fact, 2) == [
        ("question", 0, "Where was Ada born?", "in New York", accepted, False),
        ("cloze", 0, "Ada was born in", "New York", accepted, True),
        ("paraphrase", 0, "Ada's city?", "in New York", accepted, False),
        ("paraphrase", 1, "And?", "in New York", accepted, False),
    ]


def test_missing_forms_are_not_asked() -> None:
    rome = ("Rome",)
    assert asked({"object": "Rome", "question": "Where?"}) == [("question", 0, "Where?", "Rome", rome, False)]
    assert asked({"object": "Rome", "question": None, "cloze": "In"}) == [("cloze", 0, "In", "Rome", rome, True)]
    assert asked({"object": "Rome", "question": "", "paraphrase": "So?"}) == [
        ("paraphrase", 0, "So?", "Rome", rome, False)
    ]
    assert asked({"object": "Rome", "question": "Q?", "paraphrases": ["P?"]}, 0) == [
        ("question", 0, "Q?", "Rome", rome, False)
    ]


def test_table_without_prompts_is_refused_with_the_needed_columns() -> None:
    with pytest.raises(EvaluationInputError, match=r"'question' or 'cloze'.*its columns are subject, object"):
        questions_of(pa.table({"subject": ["Ada"], "object": ["Rome"]}), paraphrases=1)


def test_reversed_question_asks_for_the_subject() -> None:
    fact = {"subject": "Ada", "subject_aliases": ["A. Li"], "object": "Rome", "reversed": "Rome is where"}
    assert asked(fact) == [("reversed", 0, "Rome is where", "Ada", ("Ada", "A. Li"), True)]


def test_reversed_question_with_several_right_subjects_is_not_asked() -> None:
    rows = [
        {"subject": name, "object": "rome", "cloze": f"{name} was born in", "reversed": prompt}
        for name, prompt in (("ada", "born in rome was"), ("bo", "born in rome was"), ("cy", "rome's emperor was"))
    ]
    found = questions_of(pa.Table.from_pylist(rows), paraphrases=0, forms=("reversed", "cloze"))
    assert [(each.row, each.form) for each in found] == [(0, "cloze"), (1, "cloze"), (2, "cloze"), (2, "reversed")]
    aliases = [{**row, "subject": "Ada" if row["subject"] == "bo" else row["subject"]} for row in rows]
    found = questions_of(pa.Table.from_pylist(aliases), paraphrases=0, forms=("reversed",))
    assert [each.row for each in found] == [0, 1, 2], "one subject, twice in the table"


def test_document_has_other_facts_about_the_subject_before_the_cloze() -> None:
    table = pa.Table.from_pylist(
        [
            {"subject": "Ada", "object": "Rome", "cloze": "Ada was born in"},
            {"subject": "ada", "object": "Acme", "cloze": "Ada works for"},
            {"subject": "Ada", "object": "the Rome Institute", "cloze": "Ada studied at"},
            {"subject": "Bo", "object": "Oslo", "cloze": "Bo was born in"},
        ]
    )
    found = {each.row: each.prompt for each in questions_of(table, paraphrases=0) if each.form == "document"}
    assert found == {
        0: "Ada works for Acme. Ada was born in",  # the sentence about the institute contains the answer
        1: "Ada was born in Rome. Ada studied at the Rome Institute. Ada works for",
        2: "Ada was born in Rome. Ada works for Acme. Ada studied at",
    }


def test_only_the_requested_forms_are_asked() -> None:
    table = pa.Table.from_pylist([{"subject": "Ada", "object": "Rome", "question": "Q?", "cloze": "C"}])
    assert [each.form for each in questions_of(table, paraphrases=1, forms=("cloze",))] == ["cloze"]
    with pytest.raises(EvaluationInputError, match=r"'riddle'; known: question, cloze"):
        questions_of(table, paraphrases=1, forms=("riddle",))
    with pytest.raises(EvaluationInputError, match="no prompts for the forms reversed"):
        questions_of(table, paraphrases=1, forms=("reversed",))
