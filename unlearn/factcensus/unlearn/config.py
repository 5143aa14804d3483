"""The configuration of a run: typed, closed (an unknown key is an error), and complete before any model is loaded.

The smallest useful one::

    model = "model"                    # a folder or a hub name
    facts = "strata.parquet"           # what `factcensus facts stratify` wrote; CSV and JSON Lines do as well
    out = "run"
    methods = ["simnpo", {preset = "grad_diff", learning_rate = 1e-4}]
    [training]
    learning_rate = 6e-4
    passes = 4

Paths are relative to the working directory.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.examples import Template
from factcensus.unlearn.methods import METHODS
from factcensus.unlearn.objectives import get_objective
from factcensus.unlearn.objectives.retain import RetainKind
from factcensus.unlearn.objectives.weights import WeightKind
from factcensus.unlearn.schedule import Schedule

Form = Literal["question", "cloze", "paraphrases"]
Dtype = Literal["float32", "bfloat16-autocast", "bfloat16"]


class _Section(BaseModel):
    """Closed and unchangeable."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ForgetConfig(_Section):
    """Which facts to forget: those that meet every condition given. At least one condition must be given."""

    roles: tuple[str, ...] | None = Field(default=None, description="values of the column `role`")
    strata: tuple[int, ...] | None = Field(default=None, description="values of the column `stratum`")
    relations: tuple[str, ...] | None = Field(default=None, description="values of the column `relation`")
    limit: int | None = Field(default=None, ge=1, description="at most so many facts, drawn by the seed")

    @model_validator(mode="before")
    @classmethod
    def _role_by_default(cls, given: Any) -> Any:
        conditions = ("roles", "strata", "relations")
        if isinstance(given, Mapping) and not any(given.get(name) is not None for name in conditions):
            return {**given, "roles": ("forget",)}
        return given


class RetainConfig(_Section):
    """Which facts to hold in place: of those that meet the conditions, none about a subject that is to be forgotten."""

    roles: tuple[str, ...] | None = Field(
        default=("retain",), description="values of the column `role`; ignored without one"
    )
    strata: tuple[int, ...] | None = None
    relations: tuple[str, ...] | None = None
    bystanders_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of the people with role `bystander` to hold in place as well, by the seed",
    )
    match: tuple[Literal["relation", "stratum"], ...] = Field(
        default=(), description="draw as many retain facts per forget fact in each relation, stratum, or pair of both"
    )
    per_forget: float | None = Field(default=None, gt=0, description="retain facts per forget fact; all if not given")


class SelectionConfig(_Section):
    """The two sets, and the columns they are read from."""

    forget: ForgetConfig = ForgetConfig(roles=("forget",))
    retain: RetainConfig = RetainConfig()
    count_column: str = Field(default="cooccurrence_documents", description="the count that count weights follow")
    never_seen_roles: tuple[str, ...] = Field(
        default=("phantom",), description="facts whose loss is the never-seen level"
    )


class TrainingConfig(_Section):
    """Dose and optimiser, the same for all methods unless a method says otherwise."""

    forms: tuple[Form, ...] = Field(
        default=("question",), min_length=1, description="forms of asking that are trained on"
    )
    passes: float = Field(
        default=4.0, gt=0, description="the dose: passes over the forget set, each (fact, form) once a pass"
    )
    learning_rate: float = Field(default=1e-5, gt=0)
    batch_forget: int = Field(default=8, ge=1, description="forget examples a step")
    batch_retain: int = Field(default=8, ge=1, description="retain examples a step")
    micro_batch: int | None = Field(
        default=None, ge=1, description="examples a forward pass; changes memory, not the update"
    )
    schedule: Schedule = "constant"
    warmup_share: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    refusal: str = Field(default="I do not know.", min_length=1, description="what refusal objectives teach")
    save_every_steps: int = Field(
        default=100, ge=1, description="steps between saved states; SIGTERM saves at any step"
    )


class MethodConfig(_Section):
    """One method: a preset and what to change in it, or an objective of your own."""

    preset: str | None = None
    name: str = Field(
        default="", description="its folder and its name in tables; the preset's or the objective's if not given"
    )
    objective: str
    parameters: dict[str, float | None] = Field(default_factory=dict)
    weights: WeightKind = "uniform"
    weight_strength: float = Field(default=0.0, description="lambda in exp(lambda z(log10(1 + count)))")
    margin: float | Literal["never_seen"] = Field(
        default=0.0, description="nats per token, or each relation's never-seen level"
    )
    gamma: float = Field(default=1.0, gt=0, description="factor of the forget term")
    retain: RetainKind = "nll"
    alpha: float = Field(default=1.0, ge=0, description="factor of the retain term")
    learning_rate: float | None = Field(default=None, gt=0, description="instead of training.learning_rate")
    passes: float | None = Field(default=None, gt=0, description="instead of training.passes")

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"preset": given}
        if not isinstance(given, Mapping) or given.get("preset") is None:
            return given
        preset = given["preset"]
        if preset not in METHODS:
            raise ValueError(f"there is no preset {preset!r}; there are: {', '.join(METHODS)}")
        base = METHODS[preset]
        parameters = {**base.get("parameters", {}), **given.get("parameters", {})}
        if given.get("objective", base["objective"]) != base["objective"]:
            parameters = given.get("parameters", {})
        return {"name": preset, **base, **given, "parameters": parameters}

    @model_validator(mode="after")
    def _consistent(self) -> MethodConfig:
        objective = get_objective(self.objective)
        objective.check_parameters(self.parameters)
        if not self.name:
            object.__setattr__(self, "name", self.objective)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name) or self.name == "original":
            raise ValueError(
                f"name {self.name!r}: a method's name is letters, digits, dots, dashes, and not 'original'"
            )
        if self.margin != 0 and not objective.uses_margin:
            raise ValueError(f"objective {self.objective!r} has no margin; leave margin at 0")
        return self

    def loss_parameters(self) -> dict[str, Any]:
        """The loss's parameters, defaults filled in."""
        return {**get_objective(self.objective).parameters(), **self.parameters}


class IndexConfig(_Section):
    """Where the counts come from, for the record; a strata table of ours says it itself."""

    name: str | None = None
    url: str | None = None
    digest: str | None = None


class RunConfig(_Section):
    """One run: one model, one fact table, one seed, several methods."""

    model: str = Field(min_length=1, description="a folder, or a name on the hub where it can be reached")
    revision: str | None = Field(default=None, description="commit or branch on the hub")
    facts: Path = Field(description="fact or strata table: .parquet, .csv, .jsonl")
    out: Path = Field(description="the run folder")
    methods: tuple[MethodConfig, ...] = Field(min_length=1)
    seed: int = Field(default=0, ge=0)
    template: Template = "plain"
    dtype: Dtype = Field(
        default="float32",
        description="float32; bfloat16-autocast: float32 parameters, bfloat16 arithmetic; bfloat16: loses updates",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, ge=1, description="threads of torch; 1 is best for small models")
    evaluator: str = Field(default="standard", description="an evaluator's name, or none")
    save_models: bool = Field(default=False, description="keep each unlearned model in cells/METHOD/model")
    selection: SelectionConfig = SelectionConfig()
    training: TrainingConfig = TrainingConfig()
    index: IndexConfig = IndexConfig()

    @field_validator("methods")
    @classmethod
    def _different_names(cls, methods: tuple[MethodConfig, ...]) -> tuple[MethodConfig, ...]:
        names = [method.name for method in methods]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two methods are called {twice[0]!r}; give one of them another name")
        return methods

    def resolved(self) -> dict[str, Any]:
        """Every setting with its value, as plain JSON."""
        return self.model_dump(mode="json")

    def fingerprint(self) -> str:
        """A digest of the settings that decide the results.

        Left out: ``out``, ``threads``, what is saved, and the paths of model and facts, whose contents a run folder
        identifies by digests of their own.
        """
        settings = self.resolved()
        for name in ("out", "threads", "save_models", "model", "facts"):
            settings.pop(name)
        settings["training"].pop("save_every_steps")
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def learning_rate_of(self, method: MethodConfig) -> float:
        """Peak learning rate of a method."""
        return method.learning_rate if method.learning_rate is not None else self.training.learning_rate

    def passes_of(self, method: MethodConfig) -> float:
        """Passes over the forget set of a method."""
        return method.passes if method.passes is not None else self.training.passes


def check_config(settings: Mapping[str, Any], where: str = "configuration") -> RunConfig:
    """A checked configuration from plain values."""
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(_explain(details) for details in error.errors())) from None


def _explain(details: Any) -> str:
    """One line about one error of pydantic."""
    path = ".".join(str(part) for part in details["loc"])
    if details["type"] == "extra_forbidden":
        near = _near_misses(path)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known here: {', '.join(_siblings(path))}"
        return f"unknown key {path!r}; {hint}"
    if details["type"] == "missing":
        return f"{path!r} is missing"
    message = details["msg"].removeprefix("Value error, ")
    return f"{path!r}: {message} (got {details['input']!r})" if path else message


_SECTIONS: dict[str, type[BaseModel]] = {
    "": RunConfig, "methods": MethodConfig, "selection": SelectionConfig, "selection.forget": ForgetConfig,
    "selection.retain": RetainConfig, "training": TrainingConfig, "index": IndexConfig,
}  # fmt: skip


def _all_keys() -> list[str]:
    """Every key with its section, without numbers of methods."""
    return [f"{section}.{key}".lstrip(".") for section, model in _SECTIONS.items() for key in model.model_fields]


def _near_misses(path: str) -> list[str]:
    """At most three keys whose last part is spelled like this one's, those of the same section first."""
    section, _, last = path.rpartition(".")

    def likeness(key: str) -> float:
        other = key.rpartition(".")[2]
        spelled = difflib.SequenceMatcher(None, last, other).ratio()
        return max(spelled, 0.7 if len(last) > 3 and last in other else 0.0)

    near = [key for key in _all_keys() if likeness(key) >= 0.65]
    return sorted(near, key=lambda key: (key.rpartition(".")[0] != section, -likeness(key)))[:3]


def _siblings(path: str) -> Iterable[str]:
    section = ".".join(part for part in path.split(".")[:-1] if not part.isdigit())
    return _SECTIONS.get(section, RunConfig).model_fields
