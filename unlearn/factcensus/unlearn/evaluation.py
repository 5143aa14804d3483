"""The interface of evaluators for `unlearn run`; other parts and packages provide them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from factcensus.unlearn.errors import ConfigError, unknown_name

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


def get_evaluator(name: str, settings: Mapping[str, Any] | None = None) -> Evaluator | None:
    """Return a new evaluator with this name; None for ``none``.

    Args:
        settings: Keyword arguments of the evaluator.

    Raises:
        ConfigError: no installed package has an evaluator with this name, or it does not accept one of the settings.
    """
    if name == NONE:
        if settings:
            raise ConfigError(f"evaluator_settings has {min(settings)!r}, but evaluator is 'none'; remove one of them")
        return None
    known = {entry_point.name: entry_point for entry_point in entry_points(group=GROUP)}
    if name not in known:
        raise unknown_name("evaluator", name, [*sorted(known), NONE])
    kind = known[name].load()
    for setting, value in (settings or {}).items():
        if setting not in (accepted := inspect.signature(kind).parameters):
            raise unknown_name(f"setting of the evaluator {name!r}:", setting, accepted)
        default = accepted[setting].default
        if default not in (None, inspect.Parameter.empty) and type(value) is not type(default):
            raise ConfigError(
                f"evaluator_settings.{setting} is {value!r}: expected {type(default).__name__}, such as {default!r}"
            )
    evaluator: Evaluator = kind(**(settings or {}))
    return evaluator
