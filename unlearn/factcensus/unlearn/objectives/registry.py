"""The registry of forget losses: ours by module, other packages' by entry point."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal

from factcensus.unlearn.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from factcensus.unlearn.scoring import AnswerScores

GROUP = "factcensus.objectives"
MODULES = ("grad_ascent", "grad_diff", "npo", "simnpo", "idk")
Answer = Literal["answer", "refusal"]


@dataclass(frozen=True, slots=True)
class Objective:
    """A forget loss and what it needs.

    Attributes:
        name: What a configuration calls it.
        loss: ``loss(scores, **parameters) -> (B,)``: a loss for each fact, nats; less is more forgotten.
        answer: What is scored after the prompt: the fact's ``answer``, or the ``refusal`` that should replace it.
        needs_reference: Whether ``scores.reference_nll`` must be there: the original model's loss, which is computed
            once before training and kept as one number a fact, never as a second model.
        uses_margin: Whether ``scores.margin`` means anything to it.
        source: The paper.
    """

    name: str
    loss: Callable[..., torch.Tensor]
    answer: Answer
    needs_reference: bool
    uses_margin: bool
    source: str

    def parameters(self) -> dict[str, Any]:
        """Names of the loss's own parameters, with their defaults."""
        return {
            name: parameter.default
            for name, parameter in inspect.signature(self.loss).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }

    def check_parameters(self, given: Mapping[str, Any]) -> None:
        """Raise ConfigError for a parameter that the loss does not have."""
        known = self.parameters()
        for name in given:
            if name not in known:
                has = ", ".join(known) or "none"
                raise ConfigError(f"objective {self.name!r} has no parameter {name!r}; its parameters: {has}")

    def __call__(self, scores: AnswerScores, parameters: Mapping[str, Any]) -> torch.Tensor:
        """(B,) the loss of each fact."""
        return self.loss(scores, **parameters)

    @property
    def formula(self) -> str:
        """The first line of the loss's docstring."""
        return (inspect.getdoc(self.loss) or "").partition("\n")[0]


def objective(
    name: str,
    *,
    source: str,
    answer: Answer = "answer",
    needs_reference: bool = False,
    uses_margin: bool = False,
) -> Callable[[Callable[..., torch.Tensor]], Objective]:
    """Make an :class:`Objective` of a function ``(scores: AnswerScores, *, parameters) -> (B,)``."""

    def decorate(loss: Callable[..., torch.Tensor]) -> Objective:
        return Objective(name, loss, answer, needs_reference, uses_margin, source)

    return decorate


@cache
def objectives() -> dict[str, Objective]:
    """Every objective by name, ours first."""
    found: dict[str, Objective] = {}
    for module in MODULES:
        for value in vars(import_module(f"factcensus.unlearn.objectives.{module}")).values():
            if isinstance(value, Objective):
                found.setdefault(value.name, value)
    for entry_point in entry_points(group=GROUP):
        value = entry_point.load()
        if not isinstance(value, Objective):
            raise ConfigError(
                f"entry point {entry_point.value!r} of group {GROUP} is no objective: decorate the function with "
                "@factcensus.unlearn.objectives.objective(...)"
            )
        if value.name in found:
            raise ConfigError(f"entry point {entry_point.value!r}: there is an objective {value.name!r} already")
        found[value.name] = value
    return found


def get_objective(name: str) -> Objective:
    """The objective of this name.

    Raises:
        ConfigError: there is none; the message lists those there are.
    """
    known = objectives()
    if name not in known:
        raise ConfigError(f"there is no objective {name!r}; there are: {', '.join(known)}")
    return known[name]
