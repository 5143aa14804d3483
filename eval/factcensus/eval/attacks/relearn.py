"""Relearning: whether brief training on some forgotten facts recovers the others.

Trained facts come back in any model, even one that never knew them. The *held-out* part is the informative one:
forgotten facts about other subjects, which the training does not mention. Compare its recall with that of phantoms
after the same training, about whom there is no knowledge to recover.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch

from factcensus.eval.asking.questions import Asked
from factcensus.eval.attacks.target import FORGET, Target, recalls, restored, result
from factcensus.eval.errors import EvaluationInputError
from factcensus.unlearn.limits import limits_of
from factcensus.unlearn.models import pad_id_of
from factcensus.unlearn.selection import Row
from factcensus.unlearn.training.examples import Example, collate
from factcensus.unlearn.training.scoring import answer_logits

RELEARNED, HELD_OUT = "relearned", "held_out"


def relearn(target: Target) -> Iterator[Row]:
    """Yield the recall after 0 and after each number of steps; parts ``relearned``, ``held_out`` and ``phantom``.

    Raises:
        EvaluationInputError: there are fewer than two forgotten subjects, so none can be held out.
    """
    settings = target.settings
    chosen = _subjects(target)
    questions = target.questions(*settings.forms)
    encoded = [target.encode(question) for question in questions]
    trained = _trained_on(target, chosen)
    measured = target.reference()

    def part_of(question: Asked) -> str | None:
        part = target.part_of(question.row)
        if part == FORGET:
            return RELEARNED if target.subject_of(question.row) in chosen else HELD_OUT
        return part

    for question in questions:  # 0 steps: the measures without attack
        row = measured.get(target.key(question), {})
        yield result(
            question,
            0,
            "0 steps",
            part_of(question),
            row.get("match"),
            log_probability=row.get("log_probability"),
            reference=row.get("match"),
        )
    with restored(target.model):
        for steps in after_each(target, trained):
            yield from recalls(target, questions, encoded, steps, f"{steps} steps", part_of)


def _subjects(target: Target) -> frozenset[str]:
    """Draw the subjects to relearn from the forgotten ones, by seed and evenly over strata.

    Subjects are sorted by the stratum of their first fact, in random order within a stratum, and taken at even
    intervals.
    """
    strata: dict[str, float] = {}
    for row, fact in enumerate(target.facts):
        if target.part_of(row) == FORGET:
            strata.setdefault(target.subject_of(row), float(fact.get("stratum") or 0))
    if len(strata) < 2:
        raise EvaluationInputError(
            f"relearn holds some subjects out and needs at least 2 forgotten ones, got {len(strata)}; omit the attack"
        )
    names = sorted(strata)
    shuffled = np.random.default_rng([target.seed, 20]).permutation(len(names))
    ordered = sorted((names[index] for index in shuffled), key=lambda name: strata[name])
    number = min(len(names) - 1, max(1, round(target.settings.relearn_share * len(names))))
    places = ((np.arange(number) + 0.5) * len(names) / number).astype(int)
    return frozenset(ordered[place] for place in places)


def _trained_on(target: Target, subjects: frozenset[str]) -> list[Example]:
    """Return the facts about these subjects in the first form that is asked."""
    forms = {question.form for question in target.asked}
    form = next(form for form in ("question", "cloze", *sorted(forms)) if form in forms)
    chosen = [each for each in target.questions(form) if target.subject_of(each.row) in subjects]
    return [target.encode(each) for each in chosen if target.part_of(each.row) == FORGET]


def after_each(target: Target, examples: list[Example]) -> Iterator[int]:
    """Train, and yield after each number of steps in the settings."""
    settings, model = target.settings, target.model
    parameters = [parameter for parameter in model.parameters() if parameter.is_floating_point()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    model.train(False)  # no dropout, as in unlearning
    optimizer = torch.optim.AdamW(parameters, lr=settings.relearn_rate, weight_decay=0.0)
    pad_id = pad_id_of(target.tokenizer, limits_of(target.model.config).vocabulary)
    for step in range(1, max(settings.relearn_steps) + 1):
        drawn = np.random.default_rng([target.seed, 21, step]).permutation(len(examples))
        batch = collate([examples[index] for index in drawn[: settings.relearn_batch]], pad_id).to(model.device)
        with torch.enable_grad():
            log_p = answer_logits(model, batch).log_softmax(-1)  # (B, T, V)
            of_answer = log_p.gather(-1, batch.answer_ids[..., None])[..., 0]
            loss: Any = -of_answer[batch.answer_mask].mean()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        cast("Any", optimizer).step()
        optimizer.zero_grad(set_to_none=True)
        if step in settings.relearn_steps:
            yield step
