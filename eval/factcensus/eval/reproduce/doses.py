"""Equal forgetting: unlearn with a rising dose until generation has lost a fixed amount, and interpolate between doses.

Models of different sizes forget different amounts at the same dose, and the disagreement of probability and generation
depends on how much was forgotten. They are therefore compared where generation has lost the same.

The measure is the loss of G (:mod:`factcensus.eval.statistics.agreement`): by how much the probability falls that one
sampled answer about a fact is right and one about a phantom is not. Doses are numbers of passes that double. At a
constant rate without warm-up, a smaller dose is the beginning of a larger one, so the doses of a method lie on one path
that starts at the original model, where nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.eval.evaluator import StandardEvaluator
from factcensus.eval.names import ORIGINAL
from factcensus.unlearn.progress import ProgressFunction
from factcensus.unlearn.run_folder import Cell

if TYPE_CHECKING:
    import pandas as pd

    from factcensus.eval.study import Study

#: The form of asking that unlearning trains on, in which the dose is measured.
FORM = "question"


@dataclass(frozen=True, slots=True)
class DoseRule:
    """The rule for the dose of a method.

    Attributes:
        first_passes: The smallest dose, in passes over the forget set.
        most_passes: The largest dose.
        lost: The loss of G at which models are compared.
        beyond: Doses rise until the loss exceeds ``lost`` by this much over the facts that the model itself knew, so
            that ``lost`` is also reached over the facts that all models knew.
    """

    first_passes: float = 1.0
    most_passes: float = 32.0
    lost: float = 0.2
    beyond: float = 0.03


class QuietEvaluator(StandardEvaluator):
    """The standard evaluator without a summary of each run; the grid has one report."""

    def finish(self, run_folder: Path) -> None:
        """Write nothing."""


def dose_name(method: str, passes: float) -> str:
    """Return the name of a method at a dose, such as ``simnpo-4``."""
    return f"{method}-{passes:g}"


def run_doses(
    study: Study, rule: DoseRule, evaluator: Mapping[str, Any], progress: ProgressFunction
) -> dict[str, list[float]]:
    """Run every method of a study at rising doses; return the doses of each method. Finished doses are not repeated.

    Args:
        study: The study; its model exists.
        rule: The rule for the doses.
        evaluator: Settings of the evaluator.
        progress: Called with progress reports.
    """
    from factcensus.unlearn import run_unlearning
    from factcensus.unlearn.config.run_config import check_config

    base = study.config().model_copy(update={"save_models": False}).resolved()
    methods = {each["name"]: each for each in base["methods"]}
    doses: dict[str, list[float]] = {name: [] for name in methods}

    def run(wanted: Sequence[tuple[str, float]]) -> None:
        at_doses = [{**methods[name], "name": dose_name(name, passes), "passes": passes} for name, passes in wanted]
        config = check_config({**base, "methods": at_doses, "evaluator_settings": dict(evaluator)})
        run_unlearning(config, QuietEvaluator(**evaluator), progress)

    pending = list(methods)
    while pending:
        wanted = [(name, 2 * doses[name][-1] if doses[name] else rule.first_passes) for name in pending]
        run(wanted)
        for name, passes in wanted:
            doses[name].append(passes)
        pending = [name for name in pending if _needs_more(study.run, name, doses[name][-1], rule)]
    run([(name, passes) for name in methods for passes in doses[name]])  # the tables of all doses together
    return doses


def _needs_more(run: Path, method: str, passes: float, rule: DoseRule) -> bool:
    if 2 * passes > rule.most_passes:
        return False
    before, after = (_read(run, name) for name in (ORIGINAL, dose_name(method, passes)))
    lost = generation(before, before) - generation(after, before)
    return lost < rule.lost + rule.beyond


def _read(run: Path, cell: str) -> pd.DataFrame:
    import pandas as pd

    from factcensus.eval.statistics.outcomes import with_defaults

    facts = with_defaults(Cell(run / "cells" / cell).read("facts").to_pandas())
    return pd.DataFrame(facts[facts["form"] == FORM])


def generation(after: pd.DataFrame, before: pd.DataFrame) -> float:
    """Return G of a model over the forget facts known before, in one form of asking; 0.5 if no fact was known."""
    from factcensus.eval.statistics.agreement import agreement

    found, _ = agreement(after, before)
    value = found["generation"]
    return 0.5 if value is None else float(value)


def at_lost(lost: Sequence[float], values: Sequence[float], target: float) -> float | None:
    """Interpolate a value at an amount of forgetting, linearly between the two doses where it is first crossed.

    Args:
        lost: The loss of G at each dose, in the order of the doses, without the original model.
        values: The value at each dose minus its value at the original model.
        target: The loss of G.

    Returns:
        The value, or None if no dose forgets this much.
    """
    previous_lost, previous_value = 0.0, 0.0
    for each, value in zip(lost, values, strict=True):
        if each >= target:
            share = (target - previous_lost) / (each - previous_lost)
            return previous_value + share * (value - previous_value)
        previous_lost, previous_value = each, value
    return None
