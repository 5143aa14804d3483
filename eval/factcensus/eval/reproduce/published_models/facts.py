"""The fact table of a study, made from tables of subjects and objects."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.reproduce.published_models.studies import Relation
from factcensus.indexer.tables.files import read_table

#: Number of invented subjects per relation; their answers show what a model says about names it never read.
INVENTED = 24
#: Of 20 subjects: how many are to be forgotten, and how many retained. The others are used in no loss.
FORGET, RETAIN = 9, 9


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read the columns ``subject`` and ``object`` of a CSV file, in its order.

    Raises:
        EvaluationInputError: the file has other columns or no rows.
        InputError: the file is not a table.
    """
    table = read_table(path)
    if not {"subject", "object"} <= set(table.column_names) or not table.num_rows:
        raise EvaluationInputError(
            f"{path} has {table.num_rows} rows and the columns {', '.join(table.column_names)}; expected rows with "
            "subject and object, as the query in sources/ returns them"
        )
    columns = (table[name].cast(pa.string()).to_pylist() for name in ("subject", "object"))
    return [(subject, thing) for subject, thing in zip(*columns, strict=True) if subject and thing]


def fact_table(pairs: Mapping[Relation, Sequence[tuple[str, str]]], invented: int = INVENTED) -> pa.Table:
    """Return the fact table: facts with one object each, and invented subjects with the role ``phantom``.

    Facts whose subject has several objects, or whose name contains the object ("Mexico", "Mexico City"), are left out.
    The role depends only on the subject, so a larger table keeps the roles of the facts that it shares.
    """
    rows: list[dict[str, Any]] = []
    for relation, given in pairs.items():
        objects: dict[str, set[str]] = defaultdict(set)
        for subject, thing in given:
            objects[subject].add(thing)
        single = {subject: min(things) for subject, things in objects.items() if len(things) == 1}
        usable = {subject: thing for subject, thing in single.items() if not overlap(subject, thing)}
        if not usable:
            raise EvaluationInputError(
                f"relation {relation.name!r} has no usable fact: every subject has several objects, or contains one"
            )
        rows += [_row(relation, subject, thing, role(subject)) for subject, thing in usable.items()]
        rows += _invented(relation, sorted(set(usable.values())), set(objects), invented)
    return pa.Table.from_pylist([{"fact_id": f"{row['relation']}-{n}", **row} for n, row in enumerate(rows)])


def overlap(subject: str, thing: str) -> bool:
    """Return whether one name contains the other."""
    one, other = subject.casefold(), thing.casefold()
    return one in other or other in one


def role(subject: str) -> str:
    """Return the role of all facts of a subject."""
    place = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:4], "big") % 20
    return "forget" if place < FORGET else "retain" if place < FORGET + RETAIN else "bystander"


def _invented(relation: Relation, objects: Sequence[str], taken: set[str], number: int) -> list[dict[str, Any]]:
    """Return facts about invented subjects, each with an object of a real one."""
    first, middle, last = relation.invented
    names = sorted({a + b + c for a in first for b in middle for c in last} - taken)
    choice = random.Random(relation.name)
    chosen = choice.sample(names, min(number, len(names)))
    return [_row(relation, name, choice.choice(objects), "phantom") for name in chosen]


def _row(relation: Relation, subject: str, thing: str, role: str) -> dict[str, Any]:
    return {
        "relation": relation.name,
        "subject": subject,
        "object": thing,
        "role": role,
        "question": relation.question.format(subject=subject),
        "cloze": relation.cloze.format(subject=subject),
        "paraphrases": [relation.paraphrase.format(subject=subject)],
    }
