"""The designs of the questions: worlds, models, methods and doses, as docs/questions.md registers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from factcensus.eval.reproduce.questions import count_and_loss, exposures, other_forms
from factcensus.eval.reproduce.questions.findings import Outcome
from factcensus.eval.reproduce.questions.wordings import WORDINGS
from factcensus.eval.statistics.worlds import Verdict
from factcensus.unlearn.presets import Preset
from factcensus.unlearn.world.settings import PretrainSettings, WorldSettings

if TYPE_CHECKING:
    import pandas as pd

    from factcensus.eval.study import Study

Size = Literal["smoke", "cpu"]


@dataclass(frozen=True, slots=True)
class Design:
    """A question, and the experiment that answers it.

    Attributes:
        number: Its number on the command line.
        question: The question.
        arms: One preset per model size.
        seeds: Seeds of worlds and models; no two questions share one, and none of them was used before.
        wordings: Number of additional wordings to ask, in addition to the question and the cloze.
        least: Minimum number of facts behind each share; a world with fewer has no number for that outcome.
        worlds: Returns one row per world with a column per outcome.
        outcomes: The outcomes, the primary one first.
        conclusions: The conclusion for each verdict about the primary outcome.
    """

    number: int
    question: str
    arms: tuple[Preset, ...]
    seeds: tuple[int, ...]
    wordings: int
    least: int
    worlds: Callable[[Sequence[Study], int], pd.DataFrame]
    outcomes: tuple[Outcome, ...]
    conclusions: Mapping[Verdict, str]


@dataclass(frozen=True, slots=True)
class _Scale:
    """The settings that differ between a test and the registered experiment.

    Attributes:
        models: The models by name, smallest first.
        middle: The model of the questions that compare no sizes.
        worlds: Number of worlds of each question.
        least: As in :class:`Design`.
    """

    world: WorldSettings
    models: Mapping[str, PretrainSettings]
    middle: str
    worlds: Mapping[int, int]
    least: int


_SCALES: Mapping[Size, _Scale] = {
    "smoke": _Scale(
        WorldSettings(people=35, exposures=(2, 8, 32), objects=4, phantoms=6, question_copies=4),
        {
            "tiny": PretrainSettings(width=32, layers=1, heads=2, feed_forward=96, epochs=12, learning_rate=5e-3),
            "small": PretrainSettings(width=48, layers=1, heads=2, feed_forward=96, epochs=12, learning_rate=5e-3),
        },
        "small",
        {1: 2, 2: 2, 3: 2, 4: 2},
        least=1,
    ),
    "cpu": _Scale(
        WorldSettings(),
        {
            "72k": PretrainSettings(width=48, feed_forward=128),
            "255k": PretrainSettings(),
            "548k": PretrainSettings(width=144, heads=6, feed_forward=384),
        },
        "255k",
        {1: 12, 2: 12, 3: 14, 4: 16},
        least=20,
    ),
}
#: Learning rates at which plain SimNPO leaves about half of the known facts, chosen on pilot worlds.
_RATES = {"72k": 3e-4, "255k": 1e-4, "548k": 1e-4, "tiny": 1e-3, "small": 1e-3}
#: Question 2 needs many facts that are forgotten as the question, so it doubles the rate.
_STRONGER = 2.0
#: The first seed of the worlds of each question.
_FIRST_SEED = {1: 1000, 2: 2000, 3: 3000, 4: 4000}


def design(number: int, size: Size) -> Design:
    """Return the design of a question at a size."""
    return {1: _count_and_loss, 2: _other_forms, 3: _wording, 4: _order}[number](_SCALES[size])


def _seeds(number: int, scale: _Scale) -> tuple[int, ...]:
    return tuple(range(_FIRST_SEED[number], _FIRST_SEED[number] + scale.worlds[number]))


def _preset(
    name: str, world: WorldSettings, model: PretrainSettings, methods: Sequence[str], stronger: float = 1.0
) -> Preset:
    rate = _RATES[name] * stronger
    training: dict[str, Any] = {"learning_rate": rate, "passes": 4.0, "batch_forget": 32, "batch_retain": 32}
    named = tuple({"preset": method} for method in methods)
    return Preset(name, world, model, training, named, seeds=1, oracle=False)


def _count_and_loss(scale: _Scale) -> Design:
    return Design(
        1,
        "Does the count help to unlearn beyond the model's own loss?",
        tuple(_preset(name, scale.world, model, count_and_loss.METHODS) for name, model in scale.models.items()),
        _seeds(1, scale),
        0,
        scale.least,
        count_and_loss.worlds,
        tuple(count_and_loss.outcomes(list(scale.models))),
        count_and_loss.CONCLUSIONS,
    )


def _other_forms(scale: _Scale) -> Design:
    model = scale.models[scale.middle]
    return Design(
        2,
        "Does forgetting asked one way reach other ways of asking, by frequency?",
        (_preset(scale.middle, scale.world, model, (other_forms.METHOD,), _STRONGER),),
        _seeds(2, scale),
        WORDINGS,
        scale.least,
        other_forms.worlds,
        tuple(other_forms.outcomes()),
        other_forms.CONCLUSIONS,
    )


def _wording(scale: _Scale) -> Design:
    model = scale.models[scale.middle]
    sides = ("distinct", "copied")
    return Design(
        3,
        "Do paraphrased exposures resist more than repeated ones?",
        (_preset(scale.middle, replace(scale.world, wording="dealt"), model, exposures.METHODS),),
        _seeds(3, scale),
        WORDINGS,
        scale.least,
        partial(exposures.worlds, share=exposures.distinct_share, one=sides[0], zero=sides[1]),
        tuple(exposures.outcomes("distinct minus copied", *sides)),
        exposures.WORDING_CONCLUSIONS,
    )


def _order(scale: _Scale) -> Design:
    model = scale.models[scale.middle]
    # One epoch over four times the documents, so that every document is read once and its step is its only one.
    epochs = model.epochs
    world = replace(
        scale.world,
        arrival="dealt",
        exposures=tuple(epochs * count for count in scale.world.exposures),
        question_copies=epochs * scale.world.question_copies,
    )
    sides = ("early", "late")
    return Design(
        4,
        "Does the order of exposure matter?",
        (_preset(scale.middle, world, replace(model, epochs=1), exposures.METHODS),),
        _seeds(4, scale),
        WORDINGS,
        scale.least,
        partial(exposures.worlds, share=exposures.early_share, one=sides[0], zero=sides[1]),
        tuple(exposures.outcomes("early minus late", *sides)),
        exposures.ORDER_CONCLUSIONS,
    )
