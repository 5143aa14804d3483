"""The model under attack, and the results of an attack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from factcensus.eval.asking.generation import Continuation, continue_greedily, token_limit
from factcensus.eval.asking.matching import match_answer
from factcensus.eval.asking.questions import Asked
from factcensus.eval.asking.token_record import score_answers
from factcensus.unlearn.limits import Limits, limits_of
from factcensus.unlearn.selection import Row
from factcensus.unlearn.training.examples import Example, encode

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FORGET, PHANTOM = "forget", "phantom"


@dataclass(frozen=True, slots=True)
class AttackSettings:
    """The strength of the attacks.

    Attributes:
        forms: Forms in which a model is asked after relearning and quantisation.
        relearn_steps: Numbers of steps after which it is asked; increasing.
        relearn_share: Share of the forget subjects whose facts are trained on again, above 0 and below 1.
        relearn_rate: Learning rate of AdamW.
        relearn_batch: Facts per step.
        bits: Numbers of bits of quantised weights, 2 to 8.
        shots: Numbers of solved questions.
        samples: Number of continuations sampled for each question.
        probe_folds: Folds of the probe's cross-validation.
        probe_layers: Maximum number of probed layers; evenly spaced, including the last one.
    """

    forms: tuple[str, ...] = ("question", "cloze")
    relearn_steps: tuple[int, ...] = (2, 8, 32)
    relearn_share: float = 0.25
    relearn_rate: float = 1e-5
    relearn_batch: int = 16
    bits: tuple[int, ...] = (8, 4)
    shots: tuple[int, ...] = (1, 4)
    samples: int = 32
    probe_folds: int = 5
    probe_layers: int = 5


@dataclass(frozen=True, slots=True)
class Target:
    """A model with its questions and measured answers.

    Attributes:
        model: The model on its device.
        facts: The rows of the fact table, with ``fact_id``.
        asked: Every question of :func:`factcensus.eval.asking.questions.questions_of`, with all paraphrases.
        measured: Rows of facts.parquet of this model without attack.
        template: How a question becomes a prompt.
        seed: Seed of all random draws.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    facts: Sequence[Mapping[str, Any]]
    asked: Sequence[Asked]
    measured: Sequence[Mapping[str, Any]]
    template: str
    seed: int
    settings: AttackSettings = field(default_factory=AttackSettings)
    batch_tokens: int = 4096

    def part_of(self, row: int) -> str | None:
        """Return ``forget``, ``phantom``, or None for a fact that no attack covers.

        If the table does not show which facts were forgotten, all facts except phantoms count as forgotten.
        """
        fact = self.facts[row]
        if fact.get("role") == PHANTOM:
            return PHANTOM
        return FORGET if fact.get("used", FORGET) in (None, FORGET) else None

    def subject_of(self, row: int) -> str:
        """Return the subject of a fact, regardless of case."""
        return str(self.facts[row].get("subject", "")).casefold()

    def questions(self, *forms: str) -> list[Asked]:
        """Return the questions for attacked facts in these forms; only paraphrases have several variants."""
        return [each for each in self.asked if each.form in forms and self.part_of(each.row) is not None]

    def reference(self) -> dict[tuple[str, str, int], Mapping[str, Any]]:
        """Return the measured rows by fact, form and variant."""
        return {(row["fact_id"], row["form"], row["variant"]): row for row in self.measured}

    def encode(self, question: Asked, prompt: str | None = None) -> Example:
        """Return the token ids of a question, or of another prompt in its place.

        Raises:
            ExampleError: the question cannot be encoded, or the model cannot read it.
        """
        template, name = "plain" if question.plain else self.template, f"row {question.row + 1}, {question.form}"
        example = encode(self.tokenizer, prompt or question.prompt, question.answer, template, name)
        self.limits.check([example])
        return example

    @property
    def limits(self) -> Limits:
        """Return the limits of what the model can read."""
        return limits_of(self.model.config)

    def caps(self, encoded: Sequence[Example]) -> list[int]:
        """Return the maximum length of each continuation, in tokens."""
        limits = self.limits
        return [token_limit(len(each.answer_ids), limits.room(len(each.prompt_ids))) for each in encoded]

    def key(self, question: Asked) -> tuple[str, str, int]:
        """Return fact, form and variant of a question."""
        return str(self.facts[question.row]["fact_id"]), question.form, question.variant


@dataclass(frozen=True, slots=True)
class Answered:
    """Whether the greedy answer matches (None if undefined), the log-probability of the right answer, and the answer.

    Attributes:
        log_probability: Of the right answer, nats.
        said: The greedy continuation.
    """

    match: bool | None
    log_probability: float
    said: Continuation


def answer_all(target: Target, questions: Sequence[Asked], encoded: Sequence[Example]) -> list[Answered]:
    """Ask the model in its current state."""
    scores = score_answers(target.model, encoded, batch_tokens=target.batch_tokens)
    said = continue_greedily(
        target.model,
        target.tokenizer,
        [example.prompt_ids for example in encoded],
        target.caps(encoded),
        batch_tokens=target.batch_tokens,
    )
    found = []
    for question, score, continuation in zip(questions, scores, said, strict=True):
        match = match_answer(continuation.text, question.accepted)
        found.append(Answered(None if match is None else match.contains, score.total_log_probability, continuation))
    return found


def result(
    question: Asked,
    level: float,
    label: str,
    part: str | None,
    score: float | bool | None,
    *,
    measure: str = "recall",
    log_probability: float | None = None,
    reference: float | bool | None = None,
) -> Row:
    """Return the result for one fact under one attack at one level."""
    return {
        "row": question.row,
        "level": float(level),
        "level_label": label,
        "form": question.form,
        "part": part,
        "measure": measure,
        "score": None if score is None else float(score),
        "log_probability": log_probability,
        "reference": None if reference is None else float(reference),
    }


def recalls(
    target: Target,
    questions: Sequence[Asked],
    encoded: Sequence[Example],
    level: int,
    label: str,
    part_of: Callable[[Asked], str | None] | None = None,
) -> list[Row]:
    """Ask the model in its current state; return the recall of each fact, next to that without the attack.

    Args:
        encoded: The token ids of each question.
        part_of: Returns the part of a question; by default that of its fact.
    """
    reference = target.reference()
    return [
        result(
            question,
            level,
            label,
            part_of(question) if part_of else target.part_of(question.row),
            answered.match,
            log_probability=answered.log_probability,
            reference=reference.get(target.key(question), {}).get("match"),
        )
        for question, answered in zip(questions, answer_all(target, questions, encoded), strict=True)
    ]


@contextmanager
def restored(model: PreTrainedModel) -> Iterator[None]:
    """Restore parameters and mode of the model on exit.

    The copy is in host memory, so even a model that fills a GPU can be attacked.
    """
    mode = model.training
    kept = {name: parameter.detach().to("cpu", copy=True) for name, parameter in model.named_parameters()}
    gradients = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(kept[name])
                parameter.requires_grad_(gradients[name])
                parameter.grad = None
        model.train(mode)
