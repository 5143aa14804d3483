"""The forms of asking for a fact, with the accepted answers.

A fact that was unlearned in one form may still be known in another, so all forms that the table allows are asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from factcensus.eval.asking.matching import match_answer
from factcensus.eval.errors import EvaluationInputError
from factcensus.indexer.names import suggestion

#: The forms of asking, in order.
FORMS = ("question", "cloze", "paraphrase", "reversed", "document")
#: Maximum number of sentences before the fact in the form ``document``.
DOCUMENT_SENTENCES = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """One question for one fact.

    Attributes:
        row: Row of the fact in its table.
        form: One of :data:`FORMS`.
        variant: Number of the question among several of one form, from 0.
        prompt: The prompt before any template is applied.
        answer: The expected answer.
        accepted: All texts that count as the answer.
        plain: Whether the prompt is a text to continue, without a chat template.
    """

    row: int
    form: str
    variant: int
    prompt: str
    answer: str
    accepted: tuple[str, ...]
    plain: bool


def questions_of(facts: pa.Table, *, paraphrases: int, forms: Sequence[str] = FORMS) -> list[Asked]:
    """Return all questions that a fact table allows, in row order.

    ============== ============================================== ==========================
    form           prompt                                         answer
    ============== ============================================== ==========================
    ``question``   column ``question``                            ``answer``, or the object
    ``cloze``      column ``cloze``: the text before the object   the object
    ``paraphrase`` ``paraphrases`` or ``paraphrase``              as for a question
    ``reversed``   column ``reversed``: asks for the subject      the subject
    ``document``   column ``document``, or other facts about the subject followed by the cloze
    ============== ============================================== ==========================

    Forms without a prompt are skipped. A reversed prompt is also skipped if the table uses it for several subjects: one
    answer could then be right for only one of the facts, whatever the model knows about the others.

    Args:
        paraphrases: Maximum number of paraphrases per fact; the first ones are taken.
        forms: The forms of asking.

    Raises:
        EvaluationInputError: a form does not exist, or no fact has a prompt in these forms.
    """
    if unknown := [form for form in forms if form not in FORMS]:
        raise EvaluationInputError(f"unknown form of asking {unknown[0]!r}{suggestion(unknown[0], FORMS)}")
    rows = facts.to_pylist()
    sentences = _sentences(rows) if "document" in forms else {}
    ambiguous = _ambiguous(rows) if "reversed" in forms else set()
    asked = [
        question
        for row, fact in enumerate(rows)
        for question in _ask(row, fact, paraphrases, sentences)
        if question.form in forms and not (question.form == "reversed" and question.prompt in ambiguous)
    ]
    if not asked:
        raise EvaluationInputError(
            f"the fact table has no prompts for the forms {', '.join(forms)}; add a column 'question' or 'cloze' (the "
            f"text before the object); its columns are {', '.join(facts.column_names)}"
        )
    return asked


def accepted_answers(fact: Mapping[str, Any]) -> tuple[str, ...]:
    """Return all texts that count as the answer to a question: the answer, the object and its aliases."""
    texts = [_answer(fact), str(fact["object"]), *(fact.get("object_aliases") or ())]
    return tuple(dict.fromkeys(texts))


def _answer(fact: Mapping[str, Any]) -> str:
    return str(fact.get("answer") or fact["object"])


def _ask(
    row: int, fact: Mapping[str, Any], paraphrases: int, sentences: Mapping[str, list[tuple[int, str]]]
) -> Iterator[Asked]:
    """Yield the questions for one fact."""
    accepted = accepted_answers(fact)
    single = fact.get("paraphrase")
    others = list(fact.get("paraphrases") or ([single] if single else []))[:paraphrases]
    if fact.get("question"):
        yield Asked(row, "question", 0, str(fact["question"]), _answer(fact), accepted, plain=False)
    if fact.get("cloze"):
        yield Asked(row, "cloze", 0, str(fact["cloze"]), str(fact["object"]), accepted, plain=True)
    for variant, paraphrase in enumerate(others):
        yield Asked(row, "paraphrase", variant, str(paraphrase), _answer(fact), accepted, plain=False)
    if fact.get("reversed"):
        names = (str(fact["subject"]), *(fact.get("subject_aliases") or ()))
        yield Asked(row, "reversed", 0, str(fact["reversed"]), names[0], names, plain=True)
    if document := _document(row, fact, accepted, sentences):
        yield Asked(row, "document", 0, document, str(fact["object"]), accepted, plain=True)


def _ambiguous(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Return the reversed prompts that fit several subjects."""
    subjects: dict[str, set[str]] = defaultdict(set)
    for fact in rows:
        if fact.get("reversed"):
            subjects[str(fact["reversed"])].add(str(fact["subject"]).casefold())
    return {prompt for prompt, names in subjects.items() if len(names) > 1}


def _sentences(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, str]]]:
    """Return for each subject the row and sentence of every fact with a cloze."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for row, fact in enumerate(rows):
        if fact.get("cloze"):
            sentence = f"{str(fact['cloze']).rstrip()} {fact['object']}."
            found[str(fact.get("subject", "")).casefold()].append((row, sentence))
    return found


def _document(
    row: int,
    fact: Mapping[str, Any],
    accepted: tuple[str, ...],
    sentences: Mapping[str, list[tuple[int, str]]],
) -> str | None:
    """Return the cloze after other sentences about the subject; None if the table has no other fact about it.

    Sentences that contain the answer are left out, because the model would only have to repeat it.
    """
    if fact.get("document"):
        return str(fact["document"])
    if not fact.get("cloze"):
        return None
    before = []
    for other, sentence in sentences.get(str(fact.get("subject", "")).casefold(), ()):
        match = match_answer(sentence, accepted) if other != row else None
        if other != row and match is not None and not match.contains:
            before.append(sentence)
    return " ".join([*before[:DOCUMENT_SENTENCES], str(fact["cloze"])]) if before else None
