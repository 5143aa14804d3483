"""Three presets of the whole experiment: world, model, methods and doses that work together.

Doses are chosen so that forgetting is partial. No frequency effect can show if everything or nothing is forgotten.
docs/log.md has the underlying measurements.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from factcensus.unlearn.config.named import METHODS
from factcensus.unlearn.config.run_config import RunConfig, check_config
from factcensus.unlearn.world.settings import PretrainSettings, WorldSettings


@dataclass(frozen=True, slots=True)
class Preset:
    """A world, a model and methods.

    Attributes:
        name: ``smoke``, ``demo`` or ``gpu``.
        world: Settings of people and texts.
        pretraining: Settings of the model and its training.
        training: The section ``training`` of the run configuration.
        methods: The methods to run.
        seeds: Number of worlds and models; results of one seed do not generalise (docs/log.md).
        oracle: Whether to train a second model per seed, without the people to forget.
        device: The device to run on.
    """

    name: str
    world: WorldSettings
    pretraining: PretrainSettings
    training: dict[str, Any]
    methods: tuple[dict[str, Any], ...]
    seeds: int
    oracle: bool
    device: str = "cpu"

    def run_config(
        self,
        *,
        model: str | os.PathLike[str],
        facts: str | os.PathLike[str],
        out: str | os.PathLike[str],
        seed: int,
        evaluator: str = "standard",
        counts: bool = True,
    ) -> RunConfig:
        """Return a configuration with this preset's methods and doses for the given paths.

        Args:
            model, facts, out: As in the configuration.
            seed: The seed of the run.
            evaluator: Name of the evaluator, or ``none``.
            counts: Whether the fact table has counts; otherwise methods that need counts are left out.
        """
        return check_config(
            {
                "model": os.fspath(model),
                "facts": os.fspath(facts),
                "out": os.fspath(out),
                "seed": seed,
                "evaluator": evaluator,
                "device": self.device,
                "threads": self.pretraining.threads,
                "training": self.training,
                "methods": [
                    method for method in self.methods if counts or not METHODS[method["preset"]].weighs_by_count
                ],
            },
            f"preset {self.name}",
        )


_DOSE: dict[str, Any] = {"learning_rate": 2e-4, "passes": 4.0, "batch_forget": 32, "batch_retain": 32}
_METHODS: tuple[dict[str, Any], ...] = (
    {"preset": "grad_diff", "learning_rate": 1e-4},
    {"preset": "simnpo"},
    {"preset": "idk", "learning_rate": 3e-4},
    {"preset": "simnpo_count"},
    {"preset": "simnpo_loss_rank"},
    {"preset": "simnpo_shuffled_count"},
)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="smoke",
            world=WorldSettings(people=140),
            pretraining=PretrainSettings(),
            training=_DOSE,
            methods=({"preset": "simnpo"}, {"preset": "idk", "learning_rate": 4e-4}),
            seeds=1,
            oracle=False,
        ),
        Preset(
            name="demo",
            world=WorldSettings(people=280),
            pretraining=PretrainSettings(),
            training=_DOSE,
            methods=_METHODS,
            seeds=2,
            oracle=True,
        ),
        Preset(
            name="gpu",
            world=WorldSettings(people=10_080, objects=48, phantoms=1000),
            pretraining=PretrainSettings(
                width=320,
                layers=8,
                heads=5,
                feed_forward=864,
                initializer_range=0.02,
                epochs=10,
                batch_rows=64,
                row_tokens=128,
                learning_rate=1e-3,
                threads=None,
                device="cuda",
            ),
            training={**_DOSE, "batch_forget": 128, "batch_retain": 128},
            methods=_METHODS,
            seeds=3,
            oracle=True,
            device="cuda",
        ),
    )
}
