"""The registry of forget losses: built-in modules, and entry points of other packages."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Literal, get_args

from factcensus.indexer.names import suggestion
from factcensus.unlearn.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    import torch

    from factcensus.unlearn.objectives.scores import AnswerScores

GROUP = "factcensus.objectives"
MODULES = (
    "grad_ascent",
    "grad_diff",
    "npo",
    "simnpo",
    "idk",
    "dpo",
    "rmu",
    "undial",
    "ce_u",
    "flatten",
    "jensun",
    "inverted_hinge",
    "flat",
    "learn",
    "never_seen",
)
Answer = Literal["answer", "refusal"]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The values that a parameter of a loss accepts.

    Attributes:
        described: The values in words, for error messages.
        includes: Returns whether a value is accepted.
    """

    described: str
    includes: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


NUMBER = Accepted("a number", _is_number)
ABOVE_ZERO = Accepted("a number above 0", lambda value: _is_number(value) and value > 0)
AT_LEAST_ZERO = Accepted("a number of at least 0", lambda value: _is_number(value) and value >= 0)
#: A float without decimals counts as an integer, because configurations store numbers as floats.
WHOLE = Accepted(
    "an integer of at least 0", lambda value: _is_number(value) and value >= 0 and value == int(value) < 2**63
)
TEXT = Accepted("a text", lambda value: isinstance(value, str))


def one_of(names: Collection[str]) -> Accepted:
    """Return the description of a parameter that accepts one of these names."""
    return Accepted(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names)


def or_none(accepted: Accepted) -> Accepted:
    """Return the same values and None."""
    return Accepted(f"{accepted.described}, or none", lambda value: value is None or accepted.includes(value))


#: Inputs that a loss may request in addition to the answer's log-probabilities; each is a field of ``AnswerScores``.
Need = Literal["reference_nll", "logits", "hidden", "reference_logits", "target", "replacement_ids", "preferred"]
NEEDS: tuple[Need, ...] = get_args(Need)


@dataclass(frozen=True, slots=True)
class Objective:
    """A forget loss and its inputs.

    Attributes:
        name: The name in a configuration.
        loss: ``loss(scores, **parameters) -> (B,)``: one loss per fact, nats; lower means more forgotten.
        answer: The text scored after the prompt: the fact's ``answer``, or the ``refusal`` that should replace it.
        needs: Fields of ``AnswerScores`` that must be set. None of them requires a second model: ``reference_nll`` is
            one cached number per fact, and ``reference_logits`` come from cached activations or from the model with
            its adapter switched off.
        token_mean: Whether the loss is a mean over the answer's tokens and can therefore be averaged over all tokens
            of a batch instead (``reduction = "token"``). Functions of the whole answer's loss cannot.
        uses_margin: Whether the loss uses ``scores.margin``.
        source: The paper.
        accepted: The values of its parameters; of a parameter that is missing here, those of the type of its default.
    """

    name: str
    loss: Callable[..., torch.Tensor]
    answer: Answer
    needs: frozenset[Need]
    uses_margin: bool
    source: str
    token_mean: bool = False
    accepted: Mapping[str, Accepted] = field(default_factory=dict)

    def parameters(self) -> dict[str, Any]:
        """Return the loss's parameters with their defaults."""
        return {
            name: parameter.default
            for name, parameter in inspect.signature(self.loss).parameters.items()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }

    def check_parameters(self, given: Mapping[str, Any]) -> None:
        """Raise ConfigError if a parameter is unknown, or its value is not accepted."""
        known = self.parameters()
        for name, value in given.items():
            if name not in known:
                raise ConfigError(
                    f"objective {self.name!r} has no parameter {name!r}{suggestion(name, known) or '; it has none'}"
                )
            accepted = self.accepted.get(name) or _like(known[name])
            if not accepted.includes(value):
                raise ConfigError(f"parameter {name!r} of {self.name!r} must be {accepted.described}, got {value!r}")

    def __call__(self, scores: AnswerScores, parameters: Mapping[str, Any]) -> torch.Tensor:
        """Return the loss of each fact, (B,)."""
        return self.loss(scores, **parameters)

    @property
    def needs_reference(self) -> bool:
        """Whether the loss needs the original model's loss of each answer."""
        return "reference_nll" in self.needs

    @property
    def scores_the_answer(self) -> bool:
        """Whether computing this loss also computes the loss of the fact's own answer."""
        return self.answer == "answer" and "hidden" not in self.needs

    @property
    def formula(self) -> str:
        """The first line of the loss's docstring."""
        return (inspect.getdoc(self.loss) or "").partition("\n")[0]


def objective(
    name: str,
    *,
    source: str,
    answer: Answer = "answer",
    needs: Collection[Need] = (),
    uses_margin: bool = False,
    token_mean: bool = False,
    accepted: Mapping[str, Accepted] | None = None,
) -> Callable[[Callable[..., torch.Tensor]], Objective]:
    """Turn a function ``(scores: AnswerScores, *, parameters) -> (B,)`` into an :class:`Objective`."""
    unknown = sorted(set(needs) - set(NEEDS))
    if unknown:
        raise unknown_name(f"need of the objective {name!r}:", unknown[0], NEEDS)

    def decorate(loss: Callable[..., torch.Tensor]) -> Objective:
        return Objective(name, loss, answer, frozenset(needs), uses_margin, source, token_mean, accepted or {})

    return decorate


def _like(default: Any) -> Accepted:
    """Return the values of the type of a default; anything if it has no default or None."""
    if isinstance(default, str):
        return TEXT
    return NUMBER if _is_number(default) else Accepted("any value", lambda _: True)


@cache
def objectives() -> dict[str, Objective]:
    """Return all objectives by name, built-in ones first."""
    found: dict[str, Objective] = {}
    for module in MODULES:
        for value in vars(import_module(f"factcensus.unlearn.objectives.{module}")).values():
            if isinstance(value, Objective):
                found.setdefault(value.name, value)
    for entry_point in entry_points(group=GROUP):
        value = entry_point.load()
        if not isinstance(value, Objective):
            raise ConfigError(
                f"entry point {entry_point.value!r} of group {GROUP} is not an objective; decorate the function with "
                "@factcensus.unlearn.objectives.objective(...)"
            )
        if value.name in found:
            raise ConfigError(f"entry point {entry_point.value!r}: an objective named {value.name!r} already exists")
        found[value.name] = value
    return found


def get_objective(name: str) -> Objective:
    """Return the objective with this name.

    Raises:
        ConfigError: the name is unknown; the message lists the known names.
    """
    known = objectives()
    if name not in known:
        raise unknown_name("objective", name, known)
    return known[name]
