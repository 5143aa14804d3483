"""Measurements of one checkpoint beyond the standard evaluation: attacks, neutral text, benchmarks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from factcensus.eval.asking import utility
from factcensus.eval.asking.benchmarks import BenchmarkSettings, of_benchmarks
from factcensus.eval.asking.questions import questions_of
from factcensus.eval.attacks.run import run_attack
from factcensus.eval.attacks.target import AttackSettings, Target
from factcensus.eval.evaluator import StandardEvaluator
from factcensus.indexer.tables.complete import complete_facts
from factcensus.unlearn.progress import ProgressFunction, silent

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

#: More paraphrases than any table has; attacks ask all of them.
_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Extras:
    """The measurements to make in addition to the standard evaluation.

    Attributes:
        attacks: Names of attacks.
        attack_settings: Strength of the attacks.
        neutral: Texts for perplexity and KL.
        benchmarks: The benchmarks that lm-eval runs.
    """

    attacks: tuple[str, ...] = ()
    attack_settings: AttackSettings = field(default_factory=AttackSettings)
    neutral: tuple[str, ...] = ()
    benchmarks: BenchmarkSettings | None = None

    def identity(self) -> dict[str, Any]:
        """Return the settings that affect the numbers as plain values; neutral text is represented by its digest."""
        import hashlib

        text = hashlib.sha256("\0".join(self.neutral).encode()).hexdigest() if self.neutral else None
        benchmarks = None if self.benchmarks is None else {k: str(v) for k, v in asdict(self.benchmarks).items()}
        settings = {name: str(value) for name, value in asdict(self.attack_settings).items()} if self.attacks else None
        return {"attacks": list(self.attacks), "settings": settings, "neutral": text, "benchmarks": benchmarks}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model in memory with the facts and settings for asking it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    facts: pa.Table
    template: str
    seed: int
    evaluator: StandardEvaluator


def attack(
    checkpoint: Checkpoint,
    names: Sequence[str],
    settings: AttackSettings,
    measured: pa.Table,
    progress: ProgressFunction = silent,
) -> Iterator[tuple[str, pa.Table, pa.Table]]:
    """Run attacks one after another; yield name, rows of attack_facts.parquet and rows of attacks.parquet.

    Args:
        measured: facts.parquet of this model, without attack.
    """
    facts = complete_facts(checkpoint.facts)
    target = Target(
        checkpoint.model,
        checkpoint.tokenizer,
        facts.to_pylist(),
        questions_of(facts, paraphrases=_ALL, forms=checkpoint.evaluator.forms),
        measured.to_pylist(),
        checkpoint.template,
        checkpoint.seed,
        settings,
        checkpoint.evaluator.batch_tokens,
    )
    for name in names:
        yield (name, *run_attack(name, target, progress))


def utility_of(
    checkpoint: Checkpoint, extras: Extras, measured: pa.Table, original: PreTrainedModel | None
) -> pa.Table:
    """Return the rows of utility.parquet.

    Args:
        measured: facts.parquet of this model.
        original: The model before unlearning, for KL; None skips KL.
    """
    rows = utility.of_facts(measured)
    if extras.neutral:
        rows += utility.of_text(
            checkpoint.model,
            checkpoint.tokenizer,
            extras.neutral,
            original,
            batch_tokens=checkpoint.evaluator.batch_tokens,
        )
    if extras.benchmarks is not None:
        rows += of_benchmarks(
            checkpoint.model,
            checkpoint.tokenizer,
            extras.benchmarks,
            template=checkpoint.template,
            seed=checkpoint.seed,
        )
    return utility.as_table(rows)
