"""The grid of the controlled experiment at three sizes: ``smoke`` (a test), ``cpu`` and ``paper``.

``paper`` has the numbers of the paper as far as they are published: 10,000 people with six attributes, biographies and
questions 1:3, half of the people upsampled tenfold, GPT-2 of four sizes, rows of 512 tokens, learning rate 1e-3. It
needs a GPU and was never run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from factcensus.eval.reproduce.doses import DoseRule
from factcensus.unlearn.presets import Preset
from factcensus.unlearn.world.settings import PretrainSettings, WorldSettings
from factcensus.unlearn.world.shape import PUBLISHED


@dataclass(frozen=True, slots=True)
class ControlledSettings:
    """The controlled experiment at one size.

    Attributes:
        models: One preset per model size, smallest first; all have the same world and methods.
        seeds: Default seeds of worlds and models.
        rule: The rule for the dose.
        evaluator: Settings of the evaluator.
        oracle_seeds: Seeds at which a model is retrained without the forget set, at every size.
    """

    models: tuple[Preset, ...]
    seeds: tuple[int, ...]
    rule: DoseRule = field(default_factory=DoseRule)
    evaluator: dict[str, Any] = field(default_factory=lambda: {"forms": ("question", "cloze"), "labels": False})
    oracle_seeds: tuple[int, ...] = ()


#: A constant rate without warm-up, so that a small dose is the beginning of a larger one. Rising doses go too far on
#: purpose, so there is no alarm about it.
_TRAINING: dict[str, Any] = {
    "batch_forget": 32,
    "batch_retain": 32,
    "schedule": "constant",
    "warmup_share": 0.0,
    "over_forgotten_share": 1.0,
}
_METHODS: tuple[dict[str, Any], ...] = (
    {"preset": "grad_diff", "learning_rate": 1e-4},
    {"preset": "npo", "learning_rate": 1e-4},
    {"preset": "simnpo", "learning_rate": 2e-4},
    {"preset": "idk", "learning_rate": 3e-4},
)
_SMALL = PretrainSettings(epochs=5)


def _models(
    world: WorldSettings,
    base: PretrainSettings,
    shapes: dict[str, tuple[int, int, int, int]],
    methods: tuple[dict[str, Any], ...] = _METHODS,
) -> tuple[Preset, ...]:
    """Return one preset per model: name, and (layers, heads, width, units of the feed-forward layer)."""
    return tuple(
        Preset(
            name=name,
            world=world,
            pretraining=replace(base, width=width, layers=layers, heads=heads, feed_forward=feed_forward),
            training=_TRAINING,
            methods=methods,
            seeds=1,
            oracle=False,
            device=base.device,
        )
        for name, (layers, heads, width, feed_forward) in shapes.items()
    )


CONTROLLED: dict[str, ControlledSettings] = {
    "smoke": ControlledSettings(
        models=_models(
            WorldSettings(people=42, exposures=(4, 16, 64), objects=8, phantoms=24),
            _SMALL,
            {"72k": (2, 4, 48, 128), "255k": (2, 4, 96, 256)},
            methods=(_METHODS[0], _METHODS[3]),
        ),
        seeds=(0, 1),
        rule=DoseRule(first_passes=4.0, most_passes=16.0, lost=0.1),
    ),
    "cpu": ControlledSettings(
        models=_models(
            WorldSettings(people=280),
            _SMALL,
            {"72k": (2, 4, 48, 128), "255k": (2, 4, 96, 256), "1400k": (3, 4, 192, 512)},
        ),
        seeds=tuple(range(10)),
        oracle_seeds=(0,),
    ),
    "paper": ControlledSettings(
        models=_models(
            WorldSettings(
                people=10_000,
                attributes="six",
                objects=None,
                exposures=(1, 10),
                phantoms=1000,
                questions_per_biography=3.0,
            ),
            PretrainSettings(
                architecture="gpt2",
                initializer_range=0.02,
                epochs=25,
                batch_rows=32,
                row_tokens=512,
                learning_rate=1e-3,
                threads=None,
                save_every_steps=1000,
                device="cuda",
                dtype="bfloat16-autocast",
            ),
            {f"{size}M": (*shape, 4 * shape[2]) for size, shape in PUBLISHED.items()},
            methods=tuple({**method, "learning_rate": method["learning_rate"] / 10} for method in _METHODS),
        ),
        seeds=(0, 1, 2),
        oracle_seeds=(0, 1, 2),
    ),
}
