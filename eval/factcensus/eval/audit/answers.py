"""Ask a model about the audited person and about made-up people, and record every answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from factcensus.eval.asking.generation import sample_continuations
from factcensus.eval.asking.matching import match_answer
from factcensus.eval.asking.questions import Asked
from factcensus.eval.asking.token_record import score_answers
from factcensus.eval.attacks.target import Target, answer_all
from factcensus.eval.audit.prompts import renamed
from factcensus.unlearn.errors import ExampleError
from factcensus.unlearn.training.examples import Example, encode

PERSON, MADE_UP = "person", "made-up"
GREEDY, SAMPLE = "greedy", "sample"
#: Prefix of the ways of asking after relearning.
RELEARNED = "relearn_"
#: Columns of answers.parquet.
SCHEMA = pa.schema(
    [
        ("fact_id", pa.string()),
        ("subject", pa.string()),
        ("relation", pa.string()),
        ("about", pa.string()),
        ("name", pa.string()),
        ("way", pa.string()),
        ("variant", pa.int16()),
        ("decoding", pa.string()),
        ("seed", pa.int64()),
        ("sample", pa.int32()),
        ("prompt", pa.string()),
        ("expected", pa.string()),
        ("said", pa.string()),
        ("finished", pa.bool_()),
        ("match", pa.bool_()),
        ("log_probability", pa.float64()),
    ]
)


def greedy_answers(target: Target, questions: Sequence[Asked], names: Sequence[str], ways: str = "") -> pa.Table:
    """Ask each question about its subject and about every made-up person.

    Args:
        names: Names of the made-up people.
        ways: Prefix of the way of asking in the table, which is otherwise the form of the question.

    Returns:
        One row per question and person: the most probable answer of the model, and the log-probability of the right
        answer (the most probable one of all accepted answers), in nats.
    """
    everyone = _about_everyone(target, questions, names)
    asked = [question for question, _ in everyone]
    encoded = [target.encode(question) for question in asked]
    best = _most_probable(target, asked, encoded)
    rows = []
    for (question, name), answered, score in zip(everyone, answer_all(target, asked, encoded), best, strict=True):
        score = max(score, answered.log_probability)
        rows.append(
            _row(target, question, name, ways, said=answered.said.text, finished=answered.said.finished)
            | {"decoding": GREEDY, "log_probability": score if math.isfinite(score) else None}
        )
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def sampled_answers(
    target: Target, questions: Sequence[Asked], names: Sequence[str], *, samples: int, seed: int
) -> pa.Table:
    """Sample answers to each question about its subject and about every made-up person, at temperature 1."""
    everyone = _about_everyone(target, questions, names)
    encoded = [target.encode(question) for question, _ in everyone]
    drawn = sample_continuations(
        target.model,
        target.tokenizer,
        [example.prompt_ids for example in encoded],
        target.caps(encoded),
        samples=samples,
        seed=seed,
        batch_tokens=target.batch_tokens,
    )
    rows = [
        _row(target, question, name, "", said=each.text, finished=each.finished)
        | {"decoding": SAMPLE, "seed": seed, "sample": number}
        for (question, name), continuations in zip(everyone, drawn, strict=True)
        for number, each in enumerate(continuations)
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _about_everyone(target: Target, questions: Sequence[Asked], names: Sequence[str]) -> list[tuple[Asked, str | None]]:
    """Return each question about its subject (None), then about every made-up person."""
    return [
        (question if name is None else renamed(question, target.facts[question.row], name), name)
        for question in questions
        for name in (None, *names)
    ]


def _row(target: Target, question: Asked, name: str | None, ways: str, *, said: str, finished: bool) -> dict[str, Any]:
    fact = target.facts[question.row]
    match = match_answer(said, question.accepted)
    return {
        "fact_id": str(fact["fact_id"]),
        "subject": str(fact["subject"]),
        "relation": str(fact.get("relation") or ""),
        "about": PERSON if name is None else MADE_UP,
        "name": str(fact["subject"]) if name is None else name,
        "way": ways + question.form,
        "variant": question.variant,
        "prompt": question.prompt,
        "expected": question.answer,
        "said": said,
        "finished": finished,
        "match": None if match is None else match.contains,
    }


def _most_probable(target: Target, asked: Sequence[Asked], encoded: Sequence[Example]) -> list[float]:
    """Return the log-probability of the most probable accepted answer other than the expected one; -inf if none."""
    others: list[Example] = []
    owners: list[int] = []
    for number, (question, example) in enumerate(zip(asked, encoded, strict=True)):
        for text in question.accepted:
            other = _encoded(target, question, text)
            if other is not None and other.answer_ids != example.answer_ids:
                others.append(other)
                owners.append(number)
    best = [-math.inf] * len(asked)
    for number, score in zip(
        owners, score_answers(target.model, others, batch_tokens=target.batch_tokens), strict=True
    ):
        found = score.total_log_probability
        best[number] = max(best[number], found) if math.isfinite(found) else best[number]
    return best


def _encoded(target: Target, question: Asked, text: str) -> Example | None:
    """Return the token ids of another accepted answer; None if the model cannot read or write it."""
    if text == question.answer:
        return None
    template = "plain" if question.plain else target.template
    try:
        example = encode(target.tokenizer, question.prompt, text, template)
        target.limits.check([example])
    except ExampleError:
        return None
    return example
