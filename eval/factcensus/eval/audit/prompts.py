"""The questions of an audit: those of the fact table, and simple ones made from the relation of a fact."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from factcensus.eval.asking.questions import Asked, questions_of
from factcensus.eval.asking.renaming import about, names_of
from factcensus.eval.attacks.prompts import after_solved, solved_before, solved_questions
from factcensus.eval.attacks.target import FORGET, Target
from factcensus.eval.errors import EvaluationInputError
from factcensus.unlearn.errors import ExampleError
from factcensus.unlearn.selection import Row
from factcensus.unlearn.training.examples import Example

#: The forms asked about the person. Reversed questions have no name to replace; see audit/reversing.py.
FORMS = ("question", "cloze", "paraphrase", "document")
FEW_SHOT = "few_shot"
#: Maximum number of solved questions before a question.
SHOTS = 4
_ALL = 1_000_000
_FORWARD = ("question", "cloze", "paraphrases")
_CAPITAL, _UNDERSCORE = re.compile(r"(?<=[a-z0-9])[A-Z](?=[a-z])"), re.compile(r"_+")


def with_questions(facts: pa.Table) -> pa.Table:
    """Return a complete fact table in which every fact has a question, a cloze, a paraphrase and a reversed question.

    Missing ones are made from ``relation``: "What is the phone number of Jane Roe?", "The phone number of Jane Roe is",
    "Name: Jane Roe, phone number:" and "The person whose phone number is 555 is". A fact with a question, a cloze or
    paraphrases may lack a relation.

    Raises:
        EvaluationInputError: a fact has neither.
    """
    rows: list[Row] = facts.to_pylist()
    columns: dict[str, list[Any]] = {name: [] for name in (*_FORWARD, "reversed")}
    for number, row in enumerate(rows, 1):
        relation = plain_relation(str(row.get("relation") or ""))
        subject = str(row["subject"])
        if not relation and not any(row.get(name) for name in _FORWARD):
            raise EvaluationInputError(
                f"row {number} ({subject}) has nothing to ask; give a 'relation' such as phone number, or a 'question' "
                "or 'cloze' (the text before the object)"
            )
        made = {
            "question": f"What is the {relation} of {subject}?",
            "cloze": f"The {relation} of {subject} is",
            "paraphrases": [f"Name: {subject}, {relation}:"],
            "reversed": f"The person whose {relation} is {row['object']} is",
        }
        for name, column in columns.items():
            column.append(row.get(name) or (made[name] if relation else None))
    for name, column in columns.items():
        kind = pa.list_(pa.string()) if name == "paraphrases" else pa.string()
        array = pa.array(column, kind)
        place = facts.column_names.index(name) if name in facts.column_names else None
        facts = facts.append_column(name, array) if place is None else facts.set_column(place, name, array)
    return facts


def plain_relation(relation: str) -> str:
    """Return the name of a relation in words: ``birth_city`` and ``birthCity`` are "birth city"."""
    spaced = _UNDERSCORE.sub(" ", _CAPITAL.sub(lambda found: " " + found[0].lower(), relation))
    return " ".join(spaced.split())


def audited_questions(facts: pa.Table) -> list[Asked]:
    """Return the questions of a table in the order of its rows.

    Raises:
        EvaluationInputError: a question does not contain the name of its subject, so that it cannot be asked about
            other people; or two rows have the same question and answer, so that this fact would count twice.
    """
    rows = facts.to_pylist()
    asked = questions_of(facts, paraphrases=_ALL, forms=FORMS)
    first: dict[tuple[str, str], int] = {}
    for question in asked:
        same = first.setdefault((question.prompt, rows[question.row]["object"]), question.row)
        if question.form == "question" and same != question.row:
            raise EvaluationInputError(
                f"rows {same + 1} and {question.row + 1} ask {question.prompt!r} for the same answer; an audit counts "
                "each fact once, so remove one of them"
            )
        names = names_of(rows[question.row])
        if about(question.prompt, names, "") is None:
            raise EvaluationInputError(
                f"row {question.row + 1}: the {question.form} {question.prompt!r} does not contain the name "
                f"{names[0]!r}, so the same question cannot be asked about made-up people; write the name in it, or "
                "list the name it uses under 'subject_aliases'"
            )
    return asked


def questions_of_examples(examples: pa.Table | None, first_row: int) -> list[Asked]:
    """Return the questions of the examples, whose rows follow those of the audited facts."""
    if examples is None:
        return []
    asked = questions_of(examples, paraphrases=0, forms=("question",))
    return [replace(question, row=question.row + first_row) for question in asked]


def examples_to_relearn(target: Target) -> list[Example]:
    """Return the solved questions about people who are not audited.

    Raises:
        EvaluationInputError: there are none.
    """
    found = [target.encode(question) for questions in solved_questions(target).values() for question in questions]
    if not found:
        raise EvaluationInputError("the examples have no facts about people other than the audited ones; add some")
    return found


def few_shot_questions(target: Target, asked: Sequence[Asked]) -> list[Asked]:
    """Return each question after solved questions about other people; none if the target has no solved questions."""
    solved = solved_questions(target)
    found = []
    for question in asked:
        before = solved_before(target, question, solved, SHOTS) if question.form == "question" else []
        if before:
            longer = after_solved(target, before, question.prompt)
            found.append(replace(question, form=FEW_SHOT, prompt=longer))
    return found


def fitting(target: Target, asked: Sequence[Asked], names: Sequence[str]) -> list[Asked]:
    """Return the questions without those that are too long for the model because of the text before the question."""

    def fits(question: Asked) -> bool:
        if question.form not in (FEW_SHOT, "document"):
            return True
        fact = target.facts[question.row]
        try:
            for each in (question, *(renamed(question, fact, name) for name in names)):
                target.encode(each)
        except ExampleError:
            return False
        return True

    return [question for question in asked if fits(question)]


def renamed(question: Asked, fact: Mapping[str, Any], name: str) -> Asked:
    """Return the same question about another person."""
    prompt = about(question.prompt, names_of(fact), name)
    assert prompt is not None, "audited_questions has checked it"
    return replace(question, prompt=prompt)


def audited_rows(facts: pa.Table, examples: pa.Table | None) -> list[Row]:
    """Return the rows of both tables, marked in the column ``used`` as audited facts and as examples."""
    rows = [{**row, "used": FORGET, "role": None} for row in facts.to_pylist()]
    others = [] if examples is None else examples.to_pylist()
    return [*rows, *({**row, "used": "none", "role": None, "fact_id": f"example {row['fact_id']}"} for row in others)]
