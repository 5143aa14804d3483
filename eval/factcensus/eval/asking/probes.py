"""Everything that is scored about each fact: its answer, wrong answers, true and false statements, multiple choice.

All of it is answers after prompts, so one token record holds it (:mod:`factcensus.eval.asking.token_record`), and the
metrics of both polarities and of rotated options are read from there (:mod:`factcensus.eval.metrics.record`).

A *content-free* prompt is the same prompt with a stand-in for the subject. What the model answers there it would
answer of anybody: that prior is taken off each candidate's log-probability (contextual calibration, Zhao et al. 2021;
their three stand-ins).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from factcensus.eval.asking.questions import Asked

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Forms in which the right answer is compared with wrong ones.
CONTRASTED = ("question", "cloze", "paraphrase")
STAND_INS = ("N/A", "[MASK]", "")
TRUE_FALSE = ("True", "False")
LETTERS = "ABCDEFGH"
ANSWER, DISTRACTOR, TRUTH, MULTIPLE = "answer", "distractor", "true_false", "multiple_choice"


@dataclass(frozen=True, slots=True)
class Probe:
    """One scored answer.

    Attributes:
        asked: Number of the question it belongs to.
        probe: ``answer``, ``distractor``, ``true_false`` or ``multiple_choice``.
        candidate: Which answer it is about: 0 the right one, from 1 the wrong ones.
        context: Of ``true_false`` the label (0 true, 1 false), of ``multiple_choice`` the rotation, else 0.
        prompt: What the model gets, before any template.
        answer: What is scored.
        plain: No chat template wraps the prompt.
        content_free: The prompt with each stand-in for its subject; empty if the subject does not stand in it.
    """

    asked: int
    probe: str
    candidate: int
    context: int
    prompt: str
    answer: str
    plain: bool
    content_free: tuple[str, ...]


def probes_of(
    asked: Sequence[Asked],
    facts: Sequence[Mapping[str, Any]],
    distractors: Sequence[tuple[str, ...]],
    *,
    labels: bool,
) -> list[Probe]:
    """All probes, each question's answer first.

    Args:
        asked: The questions.
        facts: The fact table's rows.
        distractors: Wrong objects of each row.
        labels: Whether to probe by true and false and by multiple choice as well: of each fact once, with its
            question, or with its cloze if it has none.
    """
    found: list[Probe] = []
    with_question = {each.row for each in asked if each.form == "question"}
    for number, question in enumerate(asked):
        fact, wrong = facts[question.row], distractors[question.row]
        contrasted = question.form in CONTRASTED and bool(wrong)
        free = content_free(question.prompt, fact) if contrasted else ()
        found.append(Probe(number, ANSWER, 0, 0, question.prompt, question.answer, question.plain, free))
        if not contrasted:
            continue
        for candidate, name in enumerate(wrong, 1):
            answer = _with_object(question.answer, str(fact["object"]), name)
            found.append(Probe(number, DISTRACTOR, candidate, 0, question.prompt, answer, question.plain, free))
        if labels and (question.form == "question" or (question.form == "cloze" and question.row not in with_question)):
            found += _true_false(number, question, fact, wrong)
            found += _multiple_choice(number, question, fact, wrong)
    return found


def _with_object(answer: str, right: str, wrong: str) -> str:
    """The answer's wording with another object in it; that object alone if the right one does not stand there."""
    return answer.replace(right, wrong) if right in answer else wrong


def _true_false(number: int, question: Asked, fact: Mapping[str, Any], wrong: Sequence[str]) -> Iterator[Probe]:
    """One true statement and the false ones, each with both labels."""
    for candidate, name in enumerate((str(fact["object"]), *wrong)):
        opening = str(fact.get("cloze") or question.prompt).rstrip()
        prompt = f"{opening} {name}.\nTrue or false? Answer:"
        free = content_free(prompt, fact)
        for context, label in enumerate(TRUE_FALSE):
            yield Probe(number, TRUTH, candidate, context, prompt, label, question.plain, free)


def _multiple_choice(number: int, question: Asked, fact: Mapping[str, Any], wrong: Sequence[str]) -> Iterator[Probe]:
    """Every rotation of the options, so that each stands once at each letter; every letter of each is scored."""
    options = (str(fact["object"]), *wrong)[: len(LETTERS)]
    for rotation in range(len(options)):
        order = [(place + rotation) % len(options) for place in range(len(options))]
        listed = "\n".join(f"{LETTERS[place]}. {options[candidate]}" for place, candidate in enumerate(order))
        prompt = f"{question.prompt}\n{listed}\nAnswer:"
        free = content_free(prompt, fact)
        for place, candidate in enumerate(order):
            yield Probe(number, MULTIPLE, candidate, rotation, prompt, LETTERS[place], question.plain, free)


def content_free(prompt: str, fact: Mapping[str, Any]) -> tuple[str, ...]:
    """The prompt with each stand-in for the subject's names; empty if no name stands in it."""
    return _without((str(fact.get("subject") or ""), *(fact.get("subject_aliases") or ())), prompt)


@lru_cache(1 << 17)
def _without(names: tuple[str, ...], prompt: str) -> tuple[str, ...]:
    """Made once for all checkpoints of a run."""
    pattern = "|".join(re.escape(name) for name in sorted(filter(None, names), key=len, reverse=True))
    parts = re.split(pattern, prompt, flags=re.IGNORECASE) if pattern else [prompt]
    if len(parts) == 1:
        return ()
    found = (re.sub(r" {2,}", " ", text.join(parts)).strip() for text in STAND_INS)
    return tuple(dict.fromkeys(filter(None, found)))


def knows_labels(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer knows the words and letters that true/false and multiple choice are made of.

    A tokenizer of one word a token that was made for another text has no "True" and no "B": asking would measure
    the unknown token.
    """
    if tokenizer.unk_token_id is None:
        return True
    text = f"True or false? Answer: {' '.join(TRUE_FALSE)}\n{' '.join(f'{letter}.' for letter in LETTERS)}"
    return tokenizer.unk_token_id not in tokenizer(text, add_special_tokens=False)["input_ids"]
