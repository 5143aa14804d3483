"""What `unlearn run` evaluates with: the shape of an evaluator, which lives in another part or in your own package."""

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
    """Measures one checkpoint, and sums up a run when all of it is there."""

    def evaluate(
        self, model: Any, tokenizer: Any, facts: pa.Table, *, template: str, point: str, seed: int
    ) -> tuple[pa.Table, pa.Table]:
        """Rows per (fact, form) and rows per answer token for one checkpoint.

        Args:
            model: A causal language model of transformers, in evaluation mode, on its device.
            tokenizer: Its tokenizer.
            facts: The fact table, with the column ``used``: ``forget``, ``retain`` or ``none`` in this run.
            template: How a prompt and an answer become a text (:func:`factcensus.unlearn.training.examples.encode`).
            point: ``before`` or ``after``.
            seed: The run's seed.
        """
        ...

    def finish(self, run_folder: Path) -> None:
        """Write summary.json and report.html from the run's tables."""
        ...


def get_evaluator(name: str) -> Evaluator | None:
    """A new evaluator of this name; None for ``none``.

    Raises:
        ConfigError: no installed package brings one of this name.
    """
    if name == NONE:
        return None
    known = {entry_point.name: entry_point for entry_point in entry_points(group=GROUP)}
    if name not in known:
        raise unknown_name("evaluator", name, [*sorted(known), NONE])
    evaluator: Evaluator = known[name].load()()
    return evaluator
