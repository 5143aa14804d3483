"""The fact table of a study, made from tables of facts that the user gives, such as zsRE or PopQA."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import islice, product
from pathlib import Path
from typing import Any

import pyarrow as pa

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.reproduce.published_models.facts import INVENTED, overlap, role
from factcensus.eval.reproduce.published_models.studies import CAPITAL
from factcensus.indexer import read_facts
from factcensus.indexer.numbers import counted
from factcensus.indexer.tables.columns import Notice, silent
from factcensus.indexer.tables.complete import complete_facts

Row = Mapping[str, Any]
#: Columns of the given tables that a study keeps.
_KEPT = (
    "subject",
    "object",
    "subject_aliases",
    "object_aliases",
    "question",
    "answer",
    "cloze",
    "paraphrases",
    "distractors",
)
#: Minimum number of retain facts per fact to forget in each relation; with fewer, they are not matched by relation.
_LEAST_MATCHED = 0.5


def study_table(
    paths: Sequence[Path], *, invented: int = INVENTED, most: int | None = None, notice: Notice = silent
) -> pa.Table:
    """Return the fact table of given tables, with roles, and invented subjects with the role ``phantom``.

    Facts whose subject has several objects in a relation, or whose name contains the object, are left out, as in
    :func:`~factcensus.eval.reproduce.published_models.facts.fact_table`. Without a relation, it is the name of the
    file.

    Args:
        paths: Tables of facts, also of published shapes.
        invented: Number of invented subjects per table.
        most: Maximum number of facts per table; None for all.
        notice: Called with remarks about the tables.

    Raises:
        EvaluationInputError: A table has no usable fact, or its facts cannot all be asked in the same way.
        InputError: A table is invalid.
    """
    tables = [(path, _read(path, notice)) for path in paths]
    objects: dict[tuple[str, str], set[str]] = defaultdict(set)
    for path, given in tables:
        for row in given:
            objects[_key(row, path)].add(row["object"])
    rows: list[dict[str, Any]] = []
    taken: set[tuple[str, str]] = set()
    names = {subject for _, subject in objects}
    for path, given in tables:
        facts = list(islice(_usable(given, path, objects, taken), most))
        if not facts:
            raise EvaluationInputError(
                f"{path} has no usable fact: every subject has several objects or contains one, or is in another table"
            )
        rows += [{**fact, "role": role(fact["subject"])} for fact in facts]
        phantoms = _phantoms(facts, path, names, invented)
        names |= {phantom["subject"] for phantom in phantoms}
        rows += phantoms
    table = pa.Table.from_pylist([{"fact_id": f"fact-{number:06d}", **row} for number, row in enumerate(rows)])
    forms_of(table)
    return table


def _read(path: Path, notice: Notice) -> list[dict[str, Any]]:
    """Read a table; the study gives the facts other ids."""
    facts = read_facts(path, notice=notice)
    rows: list[dict[str, Any]] = complete_facts(
        facts.drop_columns([name for name in facts.column_names if name == "fact_id"])
    ).to_pylist()
    return rows


def _usable(
    rows: Sequence[Row], path: Path, objects: Mapping[tuple[str, str], set[str]], taken: set[tuple[str, str]]
) -> Iterator[dict[str, Any]]:
    """Yield each fact once, with the columns that a study keeps.

    Args:
        rows: The facts of one table.
        path: The table.
        objects: All objects of each relation and subject, in all tables.
        taken: Relation and subject of all facts so far; new ones are added.
    """
    for row in rows:
        key = _key(row, path)
        if key not in taken and len(objects[key]) == 1 and not overlap(row["subject"], row["object"]):
            taken.add(key)
            yield {"relation": key[0], **{column: row[column] for column in _KEPT if column in row}}


def _key(row: Row, path: Path) -> tuple[str, str]:
    return row.get("relation") or path.stem, row["subject"]


def check_roles(table: pa.Table) -> None:
    """Check that a study has facts to forget and facts to retain.

    Raises:
        EvaluationInputError: It has none of one kind, because it has so few facts.
    """
    roles = table["role"].to_pylist()
    for name, what in (("forget", "forgotten"), ("retain", "retained")):
        if name not in roles:
            number = counted(len(roles) - roles.count("phantom"), "usable fact")
            raise EvaluationInputError(
                f"the tables have {number}, none of them to be {what}; of 20 subjects, nine are to be forgotten and "
                "nine retained, so give more facts"
            )


def _phantoms(facts: Sequence[Row], path: Path, taken: Set[str], number: int) -> list[dict[str, Any]]:
    """Return facts about invented subjects: real questions with another name, each with the object of another fact.

    Args:
        facts: The facts of one table.
        path: The table.
        taken: Names that are not invented again: subjects and invented subjects of all tables.
        number: Number of facts to return.

    Raises:
        EvaluationInputError: No question contains the name of its subject, so none can ask about another name.
    """
    named = [fact for fact in facts if _renamed(fact, "") is not None]
    if not named:
        raise EvaluationInputError(
            f"{path}: no question contains the name of its subject, so no invented name can be asked about; check "
            "that the column 'subject' names the subject of each fact"
        )
    choice = random.Random(path.stem)
    names = sorted({"".join(parts) for parts in product(*CAPITAL.invented)} - taken)
    objects: dict[str, list[str]] = defaultdict(list)
    for fact in facts:
        objects[fact["relation"]].append(fact["object"])
    found = []
    for name in choice.sample(names, min(number, len(names))):
        asked = choice.choice(named)
        made = _renamed(asked, name)
        assert made is not None
        found.append({**made, "object": choice.choice(objects[asked["relation"]]), "role": "phantom"})
    return found


def _renamed(fact: Row, name: str) -> dict[str, Any] | None:
    """Return the relation and prompts of a fact with another subject; None if a prompt does not name the subject."""
    whole = re.compile(rf"(?<!\w){re.escape(fact['subject'])}(?!\w)")  # not "Iran" in "Iranian"
    prompts = {form: fact[form] for form in ("question", "cloze") if fact.get(form)}
    asked = {form: whole.sub(name, prompt) for form, prompt in prompts.items() if whole.search(prompt)}
    if not prompts or len(asked) < len(prompts):
        return None
    others = [whole.sub(name, prompt) for prompt in fact.get("paraphrases") or () if whole.search(prompt)]
    return {"relation": fact["relation"], "subject": name, **asked, **({"paraphrases": others} if others else {})}


def forms_of(table: pa.Table) -> list[str]:
    """Return the form in which all facts of a table can be trained: questions, or else sentences up to the object.

    Raises:
        EvaluationInputError: Some facts have neither.
    """
    for form in ("question", "cloze"):
        if form in table.column_names and all(table[form].to_pylist()):
            return [form]
    rows = table.to_pylist()
    row = next(row for row in rows if not (row.get("question") and row.get("cloze")))
    raise EvaluationInputError(
        f"the fact about {row['subject']!r} has no question (or, as CounterFact, no cloze), but all facts of a study "
        "must be asked in the same way; add the column 'question'"
    )


def is_matched(table: pa.Table) -> bool:
    """Return whether retain facts can be matched to the facts to forget by relation."""
    numbers: dict[str, dict[str, int]] = defaultdict(lambda: {"forget": 0, "retain": 0})
    for relation, name in zip(table["relation"].to_pylist(), table["role"].to_pylist(), strict=True):
        if name in ("forget", "retain"):
            numbers[relation][name] += 1
    return all(number["retain"] >= _LEAST_MATCHED * number["forget"] for number in numbers.values())
