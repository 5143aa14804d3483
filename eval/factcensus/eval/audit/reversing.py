"""Reversed questions of an audit: given the object of a fact, the model is asked for the person.

A likely name is likely after every prompt, so the probability of a name after one reversed question shows nothing. What
counts is the *association* of name and object: how much likelier this object makes the name than other objects do. A
model that knows nothing about the fact has no reason to associate the person with the object more than a made-up person
with it, so the associations of all names are comparable, like the log-probabilities of an answer after all names.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from factcensus.eval.asking.generation import continue_greedily
from factcensus.eval.asking.matching import match_answer, words
from factcensus.eval.asking.questions import Asked, questions_of
from factcensus.eval.asking.renaming import about, names_of
from factcensus.eval.asking.token_record import score_answers
from factcensus.eval.attacks.target import Target
from factcensus.eval.audit.answers import GREEDY, MADE_UP, PERSON, SCHEMA
from factcensus.eval.audit.prompts import plain_relation
from factcensus.unlearn.errors import ExampleError

#: The ways of asking: for the object of the fact, and for other objects.
REVERSED, CONTROL = "reversed", "reversed_control"
#: Maximum number of other objects.
CONTROLS = 8
#: The fewest digits of an object from which other numbers can be made.
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Backwards:
    """A reversed question, and the same prompt with other objects."""

    question: Asked
    controls: tuple[str, ...]


def reversed_questions(facts: pa.Table, examples: pa.Table | None) -> list[Backwards]:
    """Return the reversed questions whose answers can be compared.

    A question needs other objects: those of other people's facts with the same relation, or other numbers with the same
    first half if the object is a number. It must not contain a word of the person's name, which would suggest the
    answer, and must not fit several people of the table.
    """
    rows: list[dict[str, Any]] = facts.to_pylist()
    others = rows + ([] if examples is None else examples.to_pylist())
    if not any(row.get("reversed") for row in rows):
        return []
    found = []
    for question in questions_of(facts, paraphrases=1, forms=("question", "cloze", "paraphrase", REVERSED)):
        fact = rows[question.row]
        if question.form != REVERSED or _suggests(question.prompt, names_of(fact)):
            continue
        objects = (str(fact["object"]), *(fact.get("object_aliases") or ()))
        controls = [about(question.prompt, objects, other) for other in _other_objects(fact, others)]
        fitting = tuple(each for each in controls if each is not None and not _suggests(each, names_of(fact)))
        if fitting:
            found.append(Backwards(question, fitting[:CONTROLS]))
    return found


def _suggests(prompt: str, names: Sequence[str]) -> bool:
    """Return whether a prompt contains a word of the names, also inside another word, as in an e-mail address."""
    text = "".join(words(prompt))
    return any(word in text for name in names for word in words(name) if len(word) > 2)


def _other_objects(fact: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return objects of other people with the relation of a fact; without any, numbers like its object."""
    relation, subject = _relation(fact), str(fact["subject"]).casefold()
    own = {words(str(each)) for each in (fact["object"], *(fact.get("object_aliases") or ()))}
    found = dict.fromkeys(
        str(row["object"])
        for row in rows
        if relation
        and _relation(row) == relation
        and str(row["subject"]).casefold() != subject
        and words(str(row["object"])) not in own
    )
    return list(found) or list(_other_numbers(str(fact["object"])))


def _relation(row: Mapping[str, Any]) -> str:
    return plain_relation(str(row.get("relation") or "")).casefold()


def _other_numbers(number: str) -> Iterator[str]:
    """Yield the number with other digits in its second half, always the same ones; nothing if it is a text."""
    places = [match.start() for match in re.finditer(r"\d", number)]
    if len(places) < _DIGITS or re.search(r"[^\W\d_]", number):
        return
    generator = random.Random(number)
    changed = places[len(places) // 2 :]
    for _ in range(CONTROLS):
        digits = list(number)
        for place in changed:
            digits[place] = generator.choice([digit for digit in "0123456789" if digit != number[place]])
        yield "".join(digits)


def reversed_answers(target: Target, backwards: Backwards, names: Sequence[str]) -> pa.Table:
    """Ask for the person, given the object of the fact and given other objects.

    Returns:
        One row per prompt and name: the most probable continuation, which does not depend on the name, whether it
        contains the name, and the log-probability of the name in nats. No rows if the model cannot read or write the
        name of the person.
    """
    question = backwards.question
    fact = target.facts[question.row]
    person = str(fact["subject"])
    rows: list[dict[str, Any]] = []
    prompts = [(REVERSED, 0, question.prompt), *((CONTROL, k, each) for k, each in enumerate(backwards.controls))]
    for way, variant, prompt in prompts:
        asked = [replace(question, prompt=prompt, answer=name) for name in (person, *names)]
        try:
            encoded = [target.encode(each) for each in asked]
        except ExampleError:
            return pa.Table.from_pylist([], schema=SCHEMA)
        scores = score_answers(target.model, encoded, batch_tokens=target.batch_tokens)
        longest = max(target.caps(encoded))
        ids = [encoded[0].prompt_ids]
        (said,) = continue_greedily(target.model, target.tokenizer, ids, [longest], batch_tokens=target.batch_tokens)
        for place, (each, score) in enumerate(zip(asked, scores, strict=True)):
            match = match_answer(said.text, (each.answer,) if place else question.accepted)
            value = score.total_log_probability
            rows.append(
                {
                    "fact_id": str(fact["fact_id"]),
                    "subject": person,
                    "relation": str(fact.get("relation") or ""),
                    "about": MADE_UP if place else PERSON,
                    "name": each.answer,
                    "way": way,
                    "variant": variant,
                    "decoding": GREEDY,
                    "prompt": prompt,
                    "expected": each.answer,
                    "said": said.text,
                    "finished": said.finished,
                    "match": None if match is None else match.contains,
                    "log_probability": value if value > float("-inf") else None,
                }
            )
    return pa.Table.from_pylist(rows, schema=SCHEMA)
