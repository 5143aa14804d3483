"""What is asked of a model about each fact: the question, the cloze prefix, and paraphrases, with accepted answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from factcensus.eval.errors import EvaluationInputError

#: Forms that a fact table brings columns for, in the order they are asked.
FORMS = ("question", "cloze", "paraphrase")


@dataclass(frozen=True, slots=True)
class Asked:
    """One way of asking for one fact.

    Attributes:
        row: The fact's row in its table.
        form: question, cloze or paraphrase.
        variant: Which of several of that form, from 0.
        prompt: What the model gets, before any template.
        answer: What should follow.
        accepted: All texts that count as the answer.
        plain: The prompt is a text to be continued, which no chat template should wrap.
    """

    row: int
    form: str
    variant: int
    prompt: str
    answer: str
    accepted: tuple[str, ...]
    plain: bool


def questions_of(facts: pa.Table, *, paraphrases: int) -> list[Asked]:
    """Every way of asking that a fact table has, at most ``paraphrases`` paraphrases a fact, in row order.

    The answer to a question is the column ``answer`` where there is one, else the object; a cloze is always continued
    by the object. A fact without a question or cloze of its own is not asked in that form.

    Raises:
        EvaluationInputError: no fact has any prompt.
    """
    asked = [question for row, fact in enumerate(facts.to_pylist()) for question in _ask(row, fact, paraphrases)]
    if not asked:
        raise EvaluationInputError(
            "the fact table has nothing to ask: give it a column 'question' or 'cloze' (the text before the object); "
            f"its columns are {', '.join(facts.column_names)}"
        )
    return asked


def _ask(row: int, fact: dict[str, Any], paraphrases: int) -> Iterator[Asked]:
    """The forms of one fact."""
    answer = str(fact.get("answer") or fact["object"])
    accepted = tuple(dict.fromkeys([answer, str(fact["object"]), *(fact.get("object_aliases") or ())]))
    single = fact.get("paraphrase")
    others = list(fact.get("paraphrases") or ([single] if single else []))[:paraphrases]
    if fact.get("question"):
        yield Asked(row, "question", 0, str(fact["question"]), answer, accepted, plain=False)
    if fact.get("cloze"):
        yield Asked(row, "cloze", 0, str(fact["cloze"]), str(fact["object"]), accepted, plain=True)
    for variant, paraphrase in enumerate(others):
        yield Asked(row, "paraphrase", variant, str(paraphrase), answer, accepted, plain=False)
