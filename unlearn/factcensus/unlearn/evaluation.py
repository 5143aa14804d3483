"""The interface of evaluators for `unlearn run`; other parts and packages provide them."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from factcensus.unlearn.errors import unknown_name

if TYPE_CHECKING:
    import pyarrow as pa

GROUP = "factcensus.evaluators"
NONE = "none"


class Evaluator(Protocol):
    """Evaluates checkpoints, and summarises a complete run."""

    def evaluate(
        self, model: Any, tokenizer: Any, facts: pa.Table, *, template: str, point: str, seed: int
    ) -> tuple[pa.Table, pa.Table]:
        """Evaluate one checkpoint; return a table with a row per (fact, form) and one with a row per answer token.

        Args:
            model: A causal language model of transformers, on its device, in evaluation mode.
            tokenizer: The tokenizer of the model.
            facts: The fact table, with the column ``used``: ``forget``, ``retain`` or ``none`` in this run.
            template: The template of prompts and answers (see :func:`factcensus.unlearn.training.examples.encode`).
            point: ``before`` or ``after``.
            seed: The seed of the run.
        """
        ...

    def finish(self, run_folder: Path) -> None:
        """Write summary.json and report.html from the run's tables."""
        ...


def get_evaluator(name: str) -> Evaluator | None:
    """Return a new evaluator with this name; None for ``none``.

    Raises:
        ConfigError: no installed package has an evaluator with this name.
    """
    if name == NONE:
        return None
    known = {entry_point.name: entry_point for entry_point in entry_points(group=GROUP)}
    if name not in known:
        raise unknown_name("evaluator", name, [*sorted(known), NONE])
    evaluator: Evaluator = known[name].load()()
    return evaluator
