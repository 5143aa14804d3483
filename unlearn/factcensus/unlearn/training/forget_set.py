"""The forget set of a method: its examples, and reference values computed with the original model."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from factcensus.unlearn.config.method_config import MethodConfig, StrataControl
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.objectives import get_objective
from factcensus.unlearn.objectives.strata import count_strata, fact_strata
from factcensus.unlearn.objectives.weights import fact_weights
from factcensus.unlearn.training.alternatives import sample_alternatives
from factcensus.unlearn.training.controllers import Strata
from factcensus.unlearn.training.examples import Example
from factcensus.unlearn.training.over_forgetting import DEVIATIONS, Watch
from factcensus.unlearn.training.references import Arithmetic
from factcensus.unlearn.training.scoring import token_log_probabilities_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from factcensus.unlearn.training.material import Key, Material

SCORING_BATCH = 64
#: Maximum number of never-seen subjects on which each answer is scored; they are evenly spaced over all of them.
NEVER_SEEN_SUBJECTS = 8
#: Number of count quantiles for the over-forgetting alarm, if the fact table has no column `stratum`.
WATCHED_STRATA = 4


@dataclass(frozen=True, slots=True)
class ForgetSet:
    """A forget set of n examples (answers or refusals, depending on the objective), with values for each.

    Fields that the objective does not need are empty, None or NaN.

    Attributes:
        examples: The scored sequences.
        weights: (n,) weights with mean 1 over facts.
        margin: (n,) nats per token.
        reference_nll: (n,) loss under the original model in nats, summed over tokens.
        targets: n tensors (T_i,), nats: the never-seen log-probability of each token.
        replacements: n tuples: the tokens of the refusal, without the end-of-text token.
        preferred: n tuples of other answers to the same prompt; each pass uses the next one.
        preferred_nll: n tensors: the summed loss of each of these answers under the original model, nats.
        strata: The input of the strata controller.
        watch: The input of the over-forgetting alarm; None if it is off or there is no never-seen level.
    """

    examples: tuple[Example, ...]
    weights: torch.Tensor
    margin: torch.Tensor
    reference_nll: torch.Tensor
    targets: tuple[torch.Tensor, ...] = ()
    replacements: tuple[tuple[int, ...], ...] = ()
    preferred: tuple[tuple[Example, ...], ...] = ()
    preferred_nll: tuple[torch.Tensor, ...] = ()
    strata: Strata | None = None
    watch: Watch | None = None


@dataclass
class OriginalScores:
    """Scores of the forget set under the original model; each is computed on first use and cached.

    Attributes:
        arithmetic: The arithmetic used in training. Losses compare these scores with those of the trained model, which
            must therefore differ only by training.
    """

    material: Material
    model: PreTrainedModel
    pad_id: int
    arithmetic: Arithmetic = nullcontext
    _answers: list[torch.Tensor] | None = field(default=None, init=False)
    _never_seen: tuple[torch.Tensor, ...] | None = field(default=None, init=False)
    _spread: dict[Key, float] = field(default_factory=dict, init=False)

    def _tokens(self, examples: Sequence[Example]) -> list[torch.Tensor]:
        device = next(self.model.parameters()).device
        with self.arithmetic():
            return token_log_probabilities_of(self.model, examples, self.pad_id, SCORING_BATCH, device)

    def summed_nll(self, examples: Sequence[Example]) -> torch.Tensor:
        """Return the summed loss of each answer, (n,), nats."""
        mean = torch.stack([-tokens.mean() for tokens in self._tokens(examples)])
        return mean * torch.tensor([float(len(example.answer_ids)) for example in examples])

    def answers(self) -> list[torch.Tensor]:
        """Return the log-probability of each token of the forget answers, n tensors (T_i,), nats."""
        if self._answers is None:
            self._answers = self._tokens(self.material.answers)
        return self._answers

    def answer_nll(self) -> torch.Tensor:
        """Return the mean loss of each forget answer, (n,), nats per token."""
        return torch.stack([-tokens.mean() for tokens in self.answers()])

    def facts(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the mean loss of each fact to forget over its examples, (m,)."""
        totals, numbers = np.zeros(len(self.material.relations)), np.zeros(len(self.material.relations))
        np.add.at(totals, list(self.material.fact_of), self.answer_nll().numpy())
        np.add.at(numbers, list(self.material.fact_of), 1)
        return totals / numbers

    def never_seen(self) -> tuple[torch.Tensor, ...]:
        """Return each answer token's never-seen log-probability, n tensors (T_i,), nats.

        It is the log-probability for subjects that the corpus does not contain. The answer of the *fact itself* is
        scored after the prompts of at most 8 never-seen facts of the same relation and form, and the log-probabilities
        are averaged. The level thus includes the popularity of the answer and the predictability of its later tokens.
        It is never above the log-probability for the fact itself.

        Raises:
            ConfigError: the table has no never-seen facts of a relation to forget.
        """
        if self._never_seen is None:
            self._never_seen = self._measure_never_seen()
        return self._never_seen

    def _measure_never_seen(self) -> tuple[torch.Tensor, ...]:
        prompts: dict[tuple[str, str], list[Example]] = defaultdict(list)
        for key, example in self.material.never_seen:
            prompts[key].append(example)
        tried: dict[tuple[tuple[str, str], tuple[int, ...]], list[Example]] = {}
        for key, example in zip(self.material.keys, self.material.answers, strict=True):
            if key not in prompts:
                raise ConfigError(
                    f"the never-seen level needs facts of the relation {key[0]!r} (form {key[1]}) that the corpus does "
                    "not contain (selection.never_seen_roles), but the table has none; add some, such as the same "
                    "questions about invented names, or use a method without a never-seen level"
                )
            there = prompts[key]
            places = np.unique(np.linspace(0, len(there) - 1, min(len(there), NEVER_SEEN_SUBJECTS)).round().astype(int))
            tried.setdefault(
                (key, example.answer_ids),
                [Example(example.name, there[place].prompt_ids, example.answer_ids) for place in places],
            )
        scored = iter(self._tokens([example for examples in tried.values() for example in examples]))
        said = {what: torch.stack([next(scored) for _ in examples]) for what, examples in tried.items()}
        levels = {what: tokens.mean(dim=0) for what, tokens in said.items()}
        self._spread = _pooled_spread({what: tokens.mean(dim=1) for what, tokens in said.items()})
        return tuple(
            torch.minimum(levels[key, example.answer_ids], own)
            for key, example, own in zip(self.material.keys, self.material.answers, self.answers(), strict=True)
        )

    def never_seen_nll(self) -> torch.Tensor:
        """Return the mean loss of each forget answer at its never-seen level, (n,), nats per token."""
        return torch.stack([-tokens.mean() for tokens in self.never_seen()])

    def over_forgotten_nll(self) -> torch.Tensor | None:
        """Return the mean loss above which an answer is over-forgotten, (n,), nats per token.

        Returns None unless there are at least two never-seen facts of every relation and form.
        """
        if not set(self.material.keys) <= {key for key, _ in self.material.never_seen}:
            return None
        levels = self.never_seen_nll()
        if not set(self.material.keys) <= set(self._spread):
            return None
        return levels + DEVIATIONS * torch.tensor([self._spread[key] for key in self.material.keys])

    def preferred(self, method: MethodConfig, seed: int) -> tuple[tuple[Example, ...], ...]:
        """Return the answers that a preference method should prefer, n tuples."""
        if method.preferred == "refusal":
            return tuple((example,) for example in self.material.refusals)
        if method.preferred == "given":
            return self.material.given
        return sample_alternatives(
            self.model, self.material.answers, method.alternatives, pad_id=self.pad_id, seed=seed
        )


def _pooled_spread(means: Mapping[tuple[Key, tuple[int, ...]], torch.Tensor]) -> dict[Key, float]:
    """Return the pooled deviation of never-seen subjects around the mean of their answer, by relation and form.

    Args:
        means: Per relation, form and answer, the answer's mean log-probability for each of k subjects, (k,).
    """
    squares: dict[Key, float] = defaultdict(float)
    freedom: dict[Key, int] = defaultdict(int)
    for (key, _), values in means.items():
        squares[key] += float((values.double() - values.double().mean()).square().sum())
        freedom[key] += len(values) - 1
    return {key: math.sqrt(squares[key] / number) for key, number in freedom.items() if number > 0}


def forget_set(method: MethodConfig, material: Material, scores: OriginalScores, seed: int) -> ForgetSet:
    """Return the forget set of a method.

    Args:
        material: The examples of this method (:meth:`Material.of`), of which ``scores`` has the same answers.
    """
    objective = get_objective(method.objective)
    examples = material.refusals if objective.answer == "refusal" else material.answers
    n, fact_of = len(examples), list(material.fact_of)
    weights = fact_weights(
        method.weights,
        facts=len(material.relations),
        counts=material.counts,
        original_loss=scores.facts() if method.weights == "loss_rank" else None,
        strength=method.weight_strength,
        seed=seed,
    )
    margin = scores.never_seen_nll() if method.margin == "never_seen" else torch.full((n,), float(method.margin))
    preferred = scores.preferred(method, seed) if "preferred" in objective.needs else ()
    return ForgetSet(
        examples=examples,
        weights=torch.tensor(weights, dtype=torch.float32)[fact_of],
        margin=margin,
        reference_nll=scores.summed_nll(examples) if objective.needs_reference else torch.full((n,), float("nan")),
        targets=scores.never_seen() if "target" in objective.needs else (),
        replacements=_replacements(material) if "replacement_ids" in objective.needs else (),
        preferred=preferred,
        preferred_nll=tuple(scores.summed_nll(each) for each in preferred) if objective.needs_reference else (),
        strata=_strata(method.strata_control, material, scores, seed) if method.strata_control else None,
        watch=_watch(material, scores) if objective.scores_the_answer and material.watched else None,
    )


def _replacements(material: Material) -> tuple[tuple[int, ...], ...]:
    """Return the refusal's tokens after each prompt, without the end-of-text token."""
    return tuple(material.not_ended(example).answer_ids for example in material.refusals)


def _watch(material: Material, scores: OriginalScores) -> Watch | None:
    limit = scores.over_forgotten_nll()
    if limit is None:
        return None
    found = count_strata(WATCHED_STRATA, material.counts, material.strata)
    of = np.zeros(len(material.relations), dtype=np.int64) if found is None else found
    return Watch(torch.from_numpy(of)[list(material.fact_of)], scores.answer_nll(), limit)


def _strata(control: StrataControl, material: Material, scores: OriginalScores, seed: int) -> Strata:
    of = fact_strata(
        control.by,
        strata=control.strata,
        counts=material.counts,
        given=material.strata,
        original_loss=scores.facts() if control.by == "loss_rank" else None,
        seed=seed,
    )
    return Strata(
        of=torch.tensor(of, dtype=torch.int64)[list(material.fact_of)],
        never_seen=scores.never_seen_nll(),
        original=scores.answer_nll(),
    )
