"""From selected facts to training sets: token ids, and the numbers that weights, margins and references need."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from factcensus.unlearn.config import Form, MethodConfig, RunConfig
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.examples import Example, encode
from factcensus.unlearn.objectives import get_objective
from factcensus.unlearn.objectives.weights import fact_weights
from factcensus.unlearn.scoring import mean_nll_of
from factcensus.unlearn.selection import Row, Selection
from factcensus.unlearn.train import ForgetSet

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SCORING_BATCH = 64


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that training needs and that needs no model: examples are (fact, form) pairs.

    Attributes:
        answers: The forget facts' own answers, n examples.
        refusals: The refusal after the same prompts, n examples.
        fact_of: (n,) which forget fact each example belongs to, 0 to m - 1.
        retain: The retain examples.
        never_seen: Examples of facts that the corpus does not have, and their relations.
        relations: (m,) relation of each forget fact.
        counts: (m,) counts of the forget facts, or None if the table has none.
    """

    answers: tuple[Example, ...]
    refusals: tuple[Example, ...]
    fact_of: tuple[int, ...]
    retain: tuple[Example, ...]
    never_seen: tuple[tuple[str, Example], ...]
    relations: tuple[str, ...]
    counts: tuple[int, ...] | None


def prompts(row: Row, forms: Sequence[Form]) -> list[tuple[Form, str]]:
    """The prompts of a fact in these forms, each with its form; ``paraphrases`` may be several, or none.

    Raises:
        ConfigError: the fact has no such column or an empty one.
    """
    found: list[tuple[Form, str]] = []
    for form in forms:
        value = row.get(form)
        if form == "paraphrases":
            found.extend(("paraphrases", str(paraphrase)) for paraphrase in value or [])
        elif value:
            found.append((form, str(value)))
        else:
            raise ConfigError(f"fact {row['fact_id']!r} has no {form}, and training.forms asks for it")
    if not found:
        raise ConfigError(f"fact {row['fact_id']!r} has no prompt in the forms {', '.join(forms)}")
    return found


def prepare(selection: Selection, config: RunConfig, tokenizer: PreTrainedTokenizerBase) -> Material:
    """Encode both sets; the first fact that cannot be encoded is an error that names it."""
    rows = selection.rows

    def encoded(row: Row, answer: str, end: bool = False) -> list[Example]:
        """An example a prompt. A cloze is the beginning of a sentence, never a user's message."""
        return [
            encode(tokenizer, prompt, answer, "plain" if form == "cloze" else config.template, str(row["fact_id"]), end)
            for form, prompt in prompts(row, config.training.forms)
        ]

    def answered(chosen: Sequence[Row]) -> list[tuple[int, Example]]:
        return [(number, each) for number, row in enumerate(chosen) for each in encoded(row, str(row["answer"]))]

    forget_rows = [rows[index] for index in selection.forget]
    answers = answered(forget_rows)
    refuses = any(get_objective(method.objective).answer == "refusal" for method in config.methods)
    roles = config.selection.never_seen_roles
    unseen = [row for row in rows if row.get("role") in roles] if _needs_never_seen(config) else []
    return Material(
        answers=tuple(example for _, example in answers),
        refusals=tuple(
            example
            for row in (forget_rows if refuses else [])
            for example in encoded(row, config.training.refusal, end=True)
        ),
        fact_of=tuple(number for number, _ in answers),
        retain=tuple(example for _, example in answered([rows[index] for index in selection.retain])),
        never_seen=tuple((str(unseen[number].get("relation")), example) for number, example in answered(unseen)),
        relations=tuple(str(row.get("relation")) for row in forget_rows),
        counts=_counts(forget_rows, config),
    )


def _needs_never_seen(config: RunConfig) -> bool:
    return any(method.margin == "never_seen" for method in config.methods)


def _counts(rows: Sequence[Row], config: RunConfig) -> tuple[int, ...] | None:
    """Counts of the forget facts; an error only if a method needs them."""
    column = config.selection.count_column
    counts = [row.get(column) for row in rows]
    if all(isinstance(count, int) and count >= 0 for count in counts):
        return tuple(int(count) for count in counts if count is not None)
    needing = [method.name for method in config.methods if method.weights != "uniform"]
    if needing:
        raise ConfigError(
            f"method {needing[0]!r} weighs facts by count, and the fact table has no count for every forget fact in "
            f"{column!r}: count them with `factcensus facts count`, or name another column in selection.count_column"
        )
    return None


class OriginalScores:
    """What the original model says of the forget set and of never-seen facts; computed when first asked for."""

    def __init__(self, material: Material, model: PreTrainedModel, pad_id: int) -> None:
        self._material, self._model, self._pad_id = material, model, pad_id
        self._answers: torch.Tensor | None = None
        self._refusals: torch.Tensor | None = None

    def _mean_nll(self, examples: Sequence[Example]) -> torch.Tensor:
        device = next(self._model.parameters()).device
        return mean_nll_of(self._model, examples, self._pad_id, SCORING_BATCH, device)

    def answers(self) -> torch.Tensor:
        """(n,) mean loss of each forget example's answer, nats per token."""
        if self._answers is None:
            self._answers = self._mean_nll(self._material.answers)
        return self._answers

    def summed(self, kind: str) -> torch.Tensor:
        """(n,) summed loss of each forget example's answer or refusal, nats."""
        if kind == "refusal" and self._refusals is None:
            self._refusals = self._mean_nll(self._material.refusals)
        examples = self._material.refusals if kind == "refusal" else self._material.answers
        mean = self._refusals if kind == "refusal" else self.answers()
        assert mean is not None
        return mean * torch.tensor([float(len(example.answer_ids)) for example in examples])

    def facts(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(m,) mean loss of each forget fact over its examples."""
        totals, numbers = np.zeros(len(self._material.relations)), np.zeros(len(self._material.relations))
        np.add.at(totals, list(self._material.fact_of), self.answers().numpy())
        np.add.at(numbers, list(self._material.fact_of), 1)
        return totals / numbers

    def never_seen(self) -> dict[str, float]:
        """Mean loss of never-seen facts by relation, nats per token.

        Raises:
            ConfigError: the fact table has none, or none of a relation that is to be forgotten.
        """
        losses = self._mean_nll([example for _, example in self._material.never_seen]).tolist()
        by_relation: dict[str, list[float]] = defaultdict(list)
        for (relation, _), loss in zip(self._material.never_seen, losses, strict=True):
            by_relation[relation].append(loss)
        missing = sorted(set(self._material.relations) - set(by_relation))
        if missing:
            raise ConfigError(
                f"margin 'never_seen' needs facts of the relation {missing[0]!r} that the corpus does not have "
                "(selection.never_seen_roles), and the table has none; give the margin as a number"
            )
        return {relation: sum(values) / len(values) for relation, values in by_relation.items()}


def forget_set(method: MethodConfig, material: Material, scores: OriginalScores, seed: int) -> ForgetSet:
    """The forget set as a method sees it: its sequences, weights, margins and references."""
    objective = get_objective(method.objective)
    examples = material.refusals if objective.answer == "refusal" else material.answers
    weights = fact_weights(
        method.weights,
        facts=len(material.relations),
        counts=material.counts,
        original_loss=scores.facts() if method.weights == "loss_rank" else None,
        strength=method.weight_strength,
        seed=seed,
    )
    margins = [0.0 if method.margin == "never_seen" else method.margin] * len(material.relations)
    if method.margin == "never_seen":
        levels = scores.never_seen()
        margins = [levels[relation] for relation in material.relations]
    fact_of = list(material.fact_of)
    nan = torch.full((len(examples),), float("nan"))
    return ForgetSet(
        examples=examples,
        weights=torch.tensor(weights, dtype=torch.float32)[fact_of],
        margin=torch.tensor(margins, dtype=torch.float32)[fact_of],
        reference_nll=scores.summed(objective.answer) if objective.needs_reference else nan,
    )


def index_provenance(selection: Selection, config: RunConfig) -> dict[str, Any]:
    """Which index the counts come from: what the table says, and what the configuration adds."""
    given = config.index.model_dump(exclude_none=True)
    for column, key in (("index", "name"), ("index_digest", "digest"), ("analyzer", "analyzer")):
        values = sorted({str(row[column]) for row in selection.rows if row.get(column) is not None})
        if len(values) == 1:
            given.setdefault(key, values[0])
        elif values:
            given.setdefault(key, json.dumps(values))
    return given
