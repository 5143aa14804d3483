"""The cost of a grid before it runs: parameters, tokens, operations and memory of every model.

The memory of a step is simulated (:mod:`factcensus.unlearn.planning.dry_step`), without weights and on any machine. The
first world is written, because its documents determine the vocabulary and the number of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.eval.study import Study
from factcensus.unlearn.progress import Progress, ProgressFunction, silent

if TYPE_CHECKING:
    from factcensus.eval.reproduce.grid import Grid

#: Tokens of the largest question with its answer, and of its answer, in a step of unlearning.
QUESTION_TOKENS, ANSWER_TOKENS = 24, 6


@dataclass(frozen=True, slots=True)
class ArmPlan:
    """The cost of one arm of a grid.

    Attributes:
        model: Name of the arm.
        parameters: Number of parameters, embeddings included.
        steps, tokens: Steps and tokens of the pre-training of one model.
        flop: Operations of the pre-training of one model.
        bytes: Peak memory of a step of pre-training.
        unlearning_bytes: Peak memory of a step of the most expensive method.
        models: Number of models over all worlds, oracles included.
    """

    model: str
    parameters: int
    steps: int
    tokens: int
    flop: float
    bytes: int
    unlearning_bytes: int
    models: int

    def hours(self, flop_per_second: float) -> float:
        """Return the hours of the pre-training of all models of the arm at a rate of operations."""
        return self.models * self.flop / flop_per_second / 3600


def plan_grid(grid: Grid, out: Path, progress: ProgressFunction = silent) -> list[ArmPlan]:
    """Return the cost of every arm, smallest model first; writes the first world of each arm into ``out``."""
    from factcensus.unlearn import write_world

    models = len(grid.seeds) + len(grid.oracle_seeds)
    corpora: dict[tuple[Any, ...], _Corpus] = {}  # arms that differ in the size of the model read the same one
    plans = []
    for study in [each for each in grid.studies(out) if each.seed == grid.seeds[0]]:
        progress(Progress(f"plan {study.name}", 0, 1))
        write_world(study.world, study.preset.world, study.seed)
        model = study.preset.pretraining
        key = (study.world, model.tokenizer, model.row_tokens)
        if key not in corpora:
            corpora[key] = _Corpus.of(study)
        plans.append(_plan(study, models, corpora[key]))
        progress(Progress(f"plan {study.name}", 1, 1))
    return sorted(plans, key=lambda each: each.parameters)


@dataclass(frozen=True, slots=True)
class _Corpus:
    """The vocabulary of a corpus, and its tokens and rows in one epoch."""

    vocabulary: int
    tokens: int
    rows: int

    @classmethod
    def of(cls, study: Study) -> _Corpus:
        from factcensus.unlearn.world.pretrain import reading_order

        tokenizer, order = reading_order(study.world, study.preset.pretraining, study.seed)
        return cls(len(tokenizer), sum(order.lengths), len(order.rows(0)))


def _plan(study: Study, models: int, corpus: _Corpus) -> ArmPlan:
    from factcensus.unlearn.planning.dry_step import Shape, step_cost
    from factcensus.unlearn.world.shape import count_parameters, model_config

    preset, settings = study.preset, study.preset.pretraining
    config = study.config()
    shape = model_config(corpus.vocabulary, settings, 0)
    fused = settings.device == "cuda"
    read = step_cost(
        shape,
        config.model_copy(update={"dtype": settings.dtype}),
        config.methods[0],
        Shape(settings.batch_rows, settings.row_tokens, settings.row_tokens - 1),
        fused_lists=fused,
    )
    batch = config.training.batch_forget
    forget = [
        step_cost(shape, config, method, Shape(batch, QUESTION_TOKENS, ANSWER_TOKENS), fused_lists=fused)
        for method in config.methods
    ]
    steps = settings.epochs * -(-corpus.rows // settings.batch_rows)
    return ArmPlan(
        model=preset.name,
        parameters=count_parameters(settings, corpus.vocabulary),
        steps=steps,
        tokens=settings.epochs * corpus.tokens,
        flop=read.flop_per_token * steps * settings.batch_rows * settings.row_tokens,
        bytes=read.peak_bytes,
        unlearning_bytes=max(each.peak_bytes for each in forget),
        models=models,
    )


def plan_json(plans: Sequence[ArmPlan]) -> list[dict[str, Any]]:
    """Return plans as plain values."""
    return [asdict(each) for each in plans]
