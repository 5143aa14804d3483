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

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from factcensus.indexer.errors import InputError
from factcensus.indexer.names import nearest, suggestion
from factcensus.indexer.records import windows_of
from factcensus.indexer.system.console import parse_size
from factcensus.indexer.tables.strata import check_bins
from factcensus.unlearn.config.chat_config import ChatConfig
from factcensus.unlearn.config.method_config import AdapterConfig, RetainConstraint, StrataControl
from factcensus.unlearn.config.method_config import MethodConfig as MethodConfig
from factcensus.unlearn.config.section import Section
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.objectives import objectives
from factcensus.unlearn.training.examples import check_template
from factcensus.unlearn.training.optimizers import OptimizerKind
from factcensus.unlearn.training.schedule import Schedule

Form = Literal["question", "cloze", "paraphrases"]
Dtype = Literal["float32", "bfloat16-autocast", "bfloat16"]


class ForgetConfig(Section):
    """Which facts to forget: those that meet every condition given. At least one condition must be given."""

    roles: tuple[str, ...] | None = Field(default=None, description="values of the column `role`")
    strata: tuple[int, ...] | None = Field(default=None, description="values of the column `stratum`")
    relations: tuple[str, ...] | None = Field(default=None, description="values of the column `relation`")
    limit: int | None = Field(default=None, ge=1, description="at most so many facts, drawn by the seed")
    known_before: bool = Field(
        default=False,
        description="only facts that the original model knows: every token of the answer is its first choice, in at "
        "least one of training.forms",
    )

    @model_validator(mode="before")
    @classmethod
    def _role_by_default(cls, given: Any) -> Any:
        conditions = ("roles", "strata", "relations")
        if isinstance(given, Mapping) and not any(given.get(name) is not None for name in conditions):
            return {**given, "roles": ("forget",)}
        return given


class RetainConfig(Section):
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
    match: tuple[Literal["relation", "stratum", "count"], ...] = Field(
        default=(),
        description="draw as many retain facts per forget fact in each relation, stratum, or pair of both; `count`: "
        "for each forget fact those whose count is nearest in ratio",
    )
    per_forget: float | None = Field(default=None, gt=0, description="retain facts per forget fact; all if not given")
    known_before: bool = Field(default=False, description="only facts that the original model knows, as in `forget`")


class SelectionConfig(Section):
    """The two sets, and the columns they are read from."""

    forget: ForgetConfig = ForgetConfig(roles=("forget",))
    retain: RetainConfig = RetainConfig()
    count_column: str = Field(
        default="cooccurrence_documents",
        description="the count that weights, strata, matching, evaluation and report follow",
    )
    never_seen_roles: tuple[str, ...] = Field(
        default=("phantom",), description="facts whose loss is the never-seen level"
    )


class TrainingConfig(Section):
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
    gradient_checkpointing: bool = Field(
        default=False, description="compute activations twice instead of keeping them; changes no loss"
    )
    schedule: Schedule = "constant"
    warmup_share: float = Field(default=0.1, ge=0, le=1)
    optimizer: OptimizerKind = "adamw"
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    refusal: str = Field(default="I do not know.", min_length=1, description="what refusal objectives teach")
    over_forgotten_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="alarm when more of a stratum's answers than this share are far below their never-seen level; "
        "needs facts with a role of selection.never_seen_roles; 1: not watched",
    )
    stop_over_forgotten: bool = Field(
        default=False, description="end a method's training at the step that raises this alarm, where it is watched"
    )
    save_every_steps: int = Field(
        default=100, ge=1, description="steps between saved states; SIGTERM saves at any step"
    )


class IndexConfig(Section):
    """Where the counts come from. With a ``url`` or a ``folder``, facts without counts are counted first."""

    name: str | None = Field(default=None, description="the index's name in the service")
    url: str | None = Field(default=None, description="a service that counts, such as http://127.0.0.1:8080")
    folder: Path | None = Field(default=None, description="an index folder on this machine, instead of a service")
    digest: str | None = Field(default=None, description="refuse to count in an index with another digest")
    windows: tuple[int, ...] = Field(default=(), description="windows in tokens to count co-occurrence in as well")
    bins: str = Field(default="quantile:3", description="strata of the count: quantile:K, log10 or edges:A,B,...")
    wait_s: float = Field(default=300.0, gt=0, description="seconds to wait for the service, at the start or later")
    batch_facts: int = Field(default=2000, ge=1, description="facts a request; finished ones are not asked again")

    @model_validator(mode="after")
    def _one_source(self) -> IndexConfig:
        if self.url is not None and self.folder is not None:
            raise ValueError("give url or folder, not both")
        if self.url is not None and self.name is None:
            raise ValueError("url needs the index's name there: set index.name")
        if not self.counts and (self.name is not None or self.digest is not None or self.windows):
            raise ValueError("nothing is counted without url or folder; set one of them, or remove this section")
        return self

    @field_validator("windows")
    @classmethod
    def _lengths(cls, windows: tuple[int, ...]) -> tuple[int, ...]:
        try:
            return tuple(windows_of(windows))
        except InputError as error:
            raise ValueError(str(error)) from None

    @field_validator("bins")
    @classmethod
    def _known_bins(cls, bins: str) -> str:
        try:
            check_bins(bins)
        except InputError as error:
            raise ValueError(str(error)) from None
        return bins

    @property
    def counts(self) -> bool:
        """Whether there is something to count with."""
        return self.url is not None or self.folder is not None


class RunConfig(Section):
    """One run: one model, one fact table, one seed, several methods."""

    model: str = Field(min_length=1, description="a folder, or a name on the hub where it can be reached")
    revision: str | None = Field(default=None, description="commit or branch on the hub")
    facts: Path = Field(description="fact or strata table: .parquet, .csv, .jsonl")
    columns: dict[str, str] = Field(
        default={}, description="columns of the table to rename, such as {subject = 'head', object = 'tail'}"
    )
    out: Path = Field(description="the run folder")
    methods: tuple[MethodConfig, ...] = Field(min_length=1)
    seed: int = Field(default=0, ge=0)
    template: str = Field(
        default="plain", description="plain, chat, or a text with {prompt} in it that ends with {answer}"
    )
    chat: ChatConfig = ChatConfig()
    attention: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] | None = Field(
        default=None, description="implementation of attention; the best that transformers finds if not given"
    )
    dtype: Dtype = Field(
        default="float32",
        description="float32; bfloat16-autocast: float32 parameters, bfloat16 arithmetic; bfloat16: loses updates",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, ge=1, description="threads of torch; 1 is best for small models")
    evaluator: str = Field(default="standard", description="an evaluator's name, or none")
    save_models: bool = Field(default=False, description="keep each unlearned model in cells/METHOD/model")
    compile: bool = Field(default=False, description="torch.compile the model; pays off in long runs on a GPU")
    memory: str | None = Field(
        default=None, description="memory of the device, such as 24GiB; what is there if not given"
    )
    trackers: tuple[str, ...] = Field(default=(), description="who else is told of every step: jsonl, or a package's")
    selection: SelectionConfig = SelectionConfig()
    training: TrainingConfig = TrainingConfig()
    index: IndexConfig = IndexConfig()

    @field_validator("template")
    @classmethod
    def _usable_template(cls, template: str) -> str:
        try:
            return check_template(template)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @field_validator("memory", mode="before")
    @classmethod
    def _readable_size(cls, size: Any) -> str | None:
        if size is None:
            return None
        parse_size(str(size))
        return str(size)

    @field_validator("methods")
    @classmethod
    def _different_names(cls, methods: tuple[MethodConfig, ...]) -> tuple[MethodConfig, ...]:
        names = [method.name for method in methods]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two methods are called {twice[0]!r}; give one of them another name")
        return methods

    @model_validator(mode="after")
    def _chat_is_used(self) -> RunConfig:
        if self.template != "chat" and not self.chat.is_default:
            raise ValueError(f"chat has settings, and template is {self.template!r}; set template to 'chat'")
        return self

    @property
    def needs_retain(self) -> bool:
        """Whether a method holds something in place."""
        return any(method.holds for method in self.methods)

    def resolved(self) -> dict[str, Any]:
        """Every setting with its value, as plain JSON."""
        return self.model_dump(mode="json")

    def fingerprint(self) -> str:
        """A digest of the settings that decide the results of all methods.

        Left out: the methods, which may be added to a run one by one (:meth:`method_fingerprint`); paths of model and
        facts, whose contents a run folder identifies by digests of their own; where a service answers; and what only
        decides how and where the work is done.
        """
        settings = self._deciding()
        settings.pop("methods")
        return _digest(settings)

    def method_fingerprint(self, method: MethodConfig) -> str:
        """A digest of what decides one method's results besides :meth:`fingerprint`."""
        return _digest(method.model_dump(mode="json"))

    def original_fingerprint(self) -> str:
        """A digest of the settings that decide what the evaluation says of the original model."""
        settings = self._deciding()
        settings.pop("methods")
        forms = settings.pop("training")["forms"]
        return _digest({**settings, "forms": forms})

    def _deciding(self) -> dict[str, Any]:
        settings = self.resolved()
        for name in ("out", "threads", "save_models", "model", "facts", "memory", "trackers"):
            settings.pop(name)
        settings["training"].pop("save_every_steps")
        for name in ("url", "folder", "wait_s", "batch_facts"):
            settings["index"].pop(name)
        return settings

    def learning_rate_of(self, method: MethodConfig) -> float:
        """Peak learning rate of a method."""
        return method.learning_rate if method.learning_rate is not None else self.training.learning_rate

    def passes_of(self, method: MethodConfig) -> float:
        """Passes over the forget set of a method."""
        return method.passes if method.passes is not None else self.training.passes


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def check_config(settings: Mapping[str, Any], where: str = "configuration") -> RunConfig:
    """A checked configuration from plain values."""
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        found = [each for each in error.errors() if not _follows(each, error.errors())]
        raise ConfigError(f"{where}: " + "; ".join(dict.fromkeys(map(_explain, found)))) from None


def _follows(details: Any, all_details: Sequence[Any]) -> bool:
    """Whether an error is only that a list is too short because what is in it is wrong."""
    path = details["loc"]
    inside = [each for each in all_details if each["loc"][: len(path)] == path and each["loc"] != path]
    return details["type"] == "too_short" and bool(inside)


def _explain(details: Any) -> str:
    """One line about one error of pydantic."""
    path = ".".join(str(part) for part in details["loc"])
    if details["type"] == "extra_forbidden":
        return f"unknown key {path!r}{_suggestion(path)}"
    if details["type"] == "missing":
        return f"{path!r} is missing"
    message, given = details["msg"].removeprefix("Value error, "), details["input"]
    if details["type"] == "tuple_type":
        message = 'expected a list, such as ["a", "b"]'
    if details["type"] == "value_error" and isinstance(given, Mapping):  # it names what it is about
        return f"{path!r}: {message}" if path else message
    return f"{path!r}: {message} (got {given!r})" if path else message


_SECTIONS: dict[str, type[BaseModel]] = {
    "": RunConfig, "methods": MethodConfig, "methods.strata_control": StrataControl,
    "methods.constraint": RetainConstraint, "methods.adapter": AdapterConfig,
    "selection": SelectionConfig, "selection.forget": ForgetConfig,
    "selection.retain": RetainConfig, "training": TrainingConfig, "index": IndexConfig, "chat": ChatConfig,
}  # fmt: skip


def _all_keys() -> list[str]:
    """Every key with its section, without numbers of methods."""
    of_losses = sorted({name for objective in objectives().values() for name in objective.parameters()})
    return [
        *(f"{section}.{key}".lstrip(".") for section, model in _SECTIONS.items() for key in model.model_fields),
        *(f"methods.parameters.{name}" for name in of_losses),
    ]


def _suggestion(path: str) -> str:
    """Return the keys that are spelled most like the last part of this one, in the same section if there are any."""
    section, _, last = ".".join(part for part in path.split(".") if not part.isdigit()).rpartition(".")
    own = _SECTIONS[section].model_fields if section in _SECTIONS else {}
    leaves = {key: key.rpartition(".")[2] for key in _all_keys()}
    near = last if last in leaves.values() else nearest(last, own) or nearest(last, leaves.values())
    if near is None:
        return suggestion(last, own or RunConfig.model_fields)
    known = [key for key, leaf in leaves.items() if leaf == near]
    same_section = [key for key in known if key.rpartition(".")[0] == section]
    return f"; did you mean {' or '.join(map(repr, (same_section or known)[:3]))}?"
