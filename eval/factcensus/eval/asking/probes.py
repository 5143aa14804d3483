"""All texts scored for a fact: its answer, wrong answers, true and false statements, multiple choice.

All of them are answers after prompts, so one token record holds them (:mod:`factcensus.eval.asking.token_record`). The
metrics of true/false and of rotated options are computed from it (:mod:`factcensus.eval.metrics.record`).

A *content-free* prompt is the same prompt with a stand-in for the subject. The answers to it show what the model would
answer about anyone. This prior is subtracted from the log-probability of each candidate (contextual calibration, Zhao
et al. 2021, with their three stand-ins).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factcensus.eval.asking.questions import Asked
from factcensus.eval.asking.renaming import names_of, parts_between

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Forms of asking with wrong answers for comparison.
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
        candidate: Number of the answer: 0 for the right one, from 1 for wrong ones.
        context: For ``true_false`` the label (0 true, 1 false), for ``multiple_choice`` the rotation, otherwise 0.
        prompt: The prompt before any template is applied.
        answer: The text that is scored.
        plain: Whether the prompt is used without a chat template.
        content_free: The prompt with each stand-in for its subject; empty if it does not contain the subject.
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
    """Return all probes; the answer of each question comes first.

    Args:
        asked: The questions.
        facts: The rows of the fact table.
        distractors: Wrong objects for each row.
        labels: Whether to add true/false and multiple-choice probes, once per fact, with its question or else its
            cloze.
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
    """Return the answer with another object in place of the right one, or the object alone if it does not occur."""
    return answer.replace(right, wrong) if right in answer else wrong


def _true_false(number: int, question: Asked, fact: Mapping[str, Any], wrong: Sequence[str]) -> Iterator[Probe]:
    """Return the true statement and the false ones, each with both labels."""
    for candidate, name in enumerate((str(fact["object"]), *wrong)):
        opening = str(fact.get("cloze") or question.prompt).rstrip()
        prompt = f"{opening} {name}.\nTrue or false? Answer:"
        free = content_free(prompt, fact)
        for context, label in enumerate(TRUE_FALSE):
            yield Probe(number, TRUTH, candidate, context, prompt, label, question.plain, free)


def _multiple_choice(number: int, question: Asked, fact: Mapping[str, Any], wrong: Sequence[str]) -> Iterator[Probe]:
    """Return all rotations of the options, so that each option has each letter once; every letter is scored."""
    options = (str(fact["object"]), *wrong)[: len(LETTERS)]
    for rotation in range(len(options)):
        order = [(place + rotation) % len(options) for place in range(len(options))]
        listed = "\n".join(f"{LETTERS[place]}. {options[candidate]}" for place, candidate in enumerate(order))
        prompt = f"{question.prompt}\n{listed}\nAnswer:"
        free = content_free(prompt, fact)
        for place, candidate in enumerate(order):
            yield Probe(number, MULTIPLE, candidate, rotation, prompt, LETTERS[place], question.plain, free)


def content_free(prompt: str, fact: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the prompt with each stand-in in place of the subject; empty if it contains no name of the subject."""
    parts = parts_between(names_of(fact), prompt)
    if len(parts) == 1:
        return ()
    found = (re.sub(r" {2,}", " ", text.join(parts)).strip() for text in STAND_INS)
    return tuple(dict.fromkeys(filter(None, found)))


def knows_labels(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether a tokenizer knows the words and letters of true/false and multiple choice.

    A word-level tokenizer made for another text has no "True" and no "B"; the probes would measure the unknown token.
    """
    if tokenizer.unk_token_id is None:
        return True
    text = f"True or false? Answer: {' '.join(TRUE_FALSE)}\n{' '.join(f'{letter}.' for letter in LETTERS)}"
    return tokenizer.unk_token_id not in tokenizer(text, add_special_tokens=False)["input_ids"]
