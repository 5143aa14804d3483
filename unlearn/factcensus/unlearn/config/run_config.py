"""The configuration of a run, checked completely before any model is loaded. Unknown keys are errors.

The smallest useful configuration::

    model = "model"                    # a folder or a name on the Hugging Face Hub
    facts = "strata.parquet"           # written by `factcensus facts stratify`; or CSV, JSON Lines
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
from factcensus.indexer.numbers import parse_size
from factcensus.indexer.records import windows_of
from factcensus.indexer.tables.strata import check_bins
from factcensus.unlearn.config.chat_config import ChatConfig
from factcensus.unlearn.config.choices import OptimizerKind, Schedule, check_template
from factcensus.unlearn.config.method_config import AdapterConfig, RetainConstraint, StrataControl
from factcensus.unlearn.config.method_config import MethodConfig as MethodConfig
from factcensus.unlearn.config.section import ConfigSection
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.objectives import objectives

Form = Literal["question", "cloze", "paraphrases"]
Dtype = Literal["float32", "bfloat16-autocast", "bfloat16"]


class ForgetConfig(ConfigSection):
    """The facts to forget: those that meet every condition given. Without a condition, the role is ``forget``."""

    roles: tuple[str, ...] | None = Field(default=None, description="values of the column `role`")
    strata: tuple[int, ...] | None = Field(default=None, description="values of the column `stratum`")
    relations: tuple[str, ...] | None = Field(default=None, description="values of the column `relation`")
    limit: int | None = Field(default=None, ge=1, description="maximum number of facts, chosen at random by the seed")
    known_before: bool = Field(
        default=False,
        description="only facts that the original model knows: in at least one of training.forms, every token of the "
        "answer is its first choice",
    )

    @model_validator(mode="before")
    @classmethod
    def _role_by_default(cls, given: Any) -> Any:
        conditions = ("roles", "strata", "relations")
        if isinstance(given, Mapping) and not any(given.get(name) is not None for name in conditions):
            return {**given, "roles": ("forget",)}
        return given


class RetainConfig(ConfigSection):
    """The facts to retain: those that meet the conditions and are not about a subject of the forget set."""

    roles: tuple[str, ...] | None = Field(
        default=("retain",), description="values of the column `role`; ignored if the table has no such column"
    )
    strata: tuple[int, ...] | None = None
    relations: tuple[str, ...] | None = None
    bystanders_share: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="share of the people with role `bystander` to retain as well, chosen by the seed",
    )
    match: tuple[Literal["relation", "stratum", "count"], ...] = Field(
        default=(),
        description="choose the same number of retain facts per forget fact within each relation, stratum or both; "
        "`count`: choose the facts with the nearest count by ratio for each forget fact",
    )
    per_forget: float | None = Field(default=None, gt=0, description="retain facts per forget fact; all by default")
    known_before: bool = Field(default=False, description="only facts that the original model knows, as in `forget`")


class SelectionConfig(ConfigSection):
    """The forget and retain sets, and the columns that define them."""

    forget: ForgetConfig = ForgetConfig(roles=("forget",))
    retain: RetainConfig = RetainConfig()
    count_column: str = Field(
        default="cooccurrence_documents",
        description="the count used by weights, strata, matching, evaluation and report",
    )
    never_seen_roles: tuple[str, ...] = Field(
        default=("phantom",), description="roles of the facts that define the never-seen level"
    )


class TrainingConfig(ConfigSection):
    """Dose and optimiser of all methods; a method may override some of them."""

    forms: tuple[Form, ...] = Field(default=("question",), min_length=1, description="forms of asking to train on")
    passes: float = Field(
        default=4.0,
        gt=0,
        le=1e9,
        description="the dose: passes over the forget set; each pass uses every (fact, form) once",
    )
    learning_rate: float = Field(default=1e-5, gt=0)
    batch_forget: int = Field(default=8, ge=1, description="forget examples per step")
    batch_retain: int = Field(default=8, ge=1, description="retain examples per step")
    micro_batch: int | None = Field(
        default=None, ge=1, description="examples per forward pass; changes memory, not the update"
    )
    gradient_checkpointing: bool = Field(
        default=False, description="recompute activations instead of storing them; changes no loss"
    )
    schedule: Schedule = "constant"
    warmup_share: float = Field(default=0.1, ge=0, le=1)
    optimizer: OptimizerKind = "adamw"
    weight_decay: float = Field(default=0.0, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    refusal: str = Field(default="I do not know.", min_length=1, description="text that refusal objectives teach")
    over_forgotten_share: float = Field(
        default=0.05,
        ge=0,
        le=1,
        description="raise an alarm if more than this share of a stratum's answers is far below the never-seen level; "
        "needs facts with a role in selection.never_seen_roles; 1 switches it off",
    )
    stop_over_forgotten: bool = Field(
        default=False, description="end a method's training at the step that raises this alarm"
    )
    save_every_steps: int = Field(
        default=100, ge=1, description="steps between saved states; SIGTERM saves at any step"
    )

    @field_validator("forms")
    @classmethod
    def _each_form_once(cls, forms: tuple[Form, ...]) -> tuple[Form, ...]:
        if twice := [form for form in forms if forms.count(form) > 1]:
            raise ValueError(f"{twice[0]!r} is given twice; training.passes sets the dose")
        return forms

    @field_validator("refusal")
    @classmethod
    def _refusal_has_text(cls, refusal: str) -> str:
        if not refusal.strip():
            raise ValueError("expected a text that is not blank")
        return refusal


class IndexConfig(ConfigSection):
    """The source of the counts. With a ``url`` or ``folder``, facts without counts are counted first."""

    name: str | None = Field(default=None, description="name of the index in the service")
    url: str | None = Field(default=None, description="address of a counting service, such as http://127.0.0.1:8080")
    folder: Path | None = Field(default=None, description="an index folder on this machine, instead of a service")
    digest: str | None = Field(default=None, description="refuse an index with another digest")
    windows: tuple[int, ...] = Field(
        default=(), description="windows, in tokens, in which to count co-occurrence as well"
    )
    bins: str = Field(default="quantile:3", description="strata of the count: quantile:K, log10 or edges:A,B,...")
    wait_s: float = Field(default=300.0, gt=0, description="seconds to wait for the service before the run fails")
    batch_facts: int = Field(default=2000, ge=1, description="facts per request; finished requests are not repeated")

    @model_validator(mode="after")
    def _one_source(self) -> IndexConfig:
        if self.url is not None and self.folder is not None:
            raise ValueError("url and folder are both given; give one of them")
        if self.url is not None and self.name is None:
            raise ValueError("url needs the name of the index in the service; set index.name")
        if not self.counts and (self.name is not None or self.digest is not None or self.windows):
            raise ValueError(
                "the section needs url or folder to count anything; set one of them, or remove the section"
            )
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
        """Whether there is an index to count in."""
        return self.url is not None or self.folder is not None


class RunConfig(ConfigSection):
    """One run: one model, one fact table, one seed, several methods."""

    model: str = Field(min_length=1, description="a folder, or a name on the Hugging Face Hub")
    revision: str | None = Field(default=None, description="commit or branch on the Hugging Face Hub")
    facts: Path = Field(description="fact or strata table: .parquet, .csv, .jsonl")
    columns: dict[str, str] = Field(
        default={}, description="columns of the table to rename, such as {subject = 'head', object = 'tail'}"
    )
    out: Path = Field(description="the run folder")
    methods: tuple[MethodConfig, ...] = Field(min_length=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    template: str = Field(
        default="plain", description="plain, chat, or a text that contains {prompt} and ends with {answer}"
    )
    chat: ChatConfig = ChatConfig()
    opening: Literal["tokenizer", "end-of-text"] = Field(
        default="tokenizer",
        description="tokens before every text, including a cloze: those that the tokenizer adds, or the end-of-text "
        "token, as between documents in pre-training; a chat template adds its own",
    )
    attention: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"] | None = Field(
        default=None, description="implementation of attention; by default chosen by transformers"
    )
    dtype: Dtype = Field(
        default="float32",
        description="float32; bfloat16-autocast: float32 parameters with bfloat16 arithmetic; bfloat16: loses updates",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, ge=1, description="number of torch threads; 1 is best for small models")
    evaluator: str = Field(default="standard", description="name of an evaluator, or none")
    evaluator_settings: dict[str, bool | int | str | tuple[str, ...]] = Field(
        default={}, description="settings of the evaluator, such as {as_published = true, samples = 0}"
    )
    save_models: bool = Field(default=False, description="keep each unlearned model in cells/METHOD/model")
    fsdp: bool = Field(
        default=False,
        description="share weights, gradients and optimiser over the processes of `accelerate launch` (FSDP), so that "
        "a model can be trained that does not fit one device",
    )
    compile: bool = Field(default=False, description="use torch.compile; worthwhile in long runs on a GPU")
    memory: str | None = Field(
        default=None, description="memory limit, such as 24GiB; by default the memory of the device"
    )
    trackers: tuple[str, ...] = Field(
        default=(), description="receivers of every training step: jsonl, or a tracker of another package"
    )
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

    @field_validator("facts", "out", mode="before")
    @classmethod
    def _named_path(cls, path: Any) -> Any:
        if isinstance(path, str) and not path.strip():
            raise ValueError("expected the name of a file or folder")
        return path

    @field_validator("methods")
    @classmethod
    def _different_names(cls, methods: tuple[MethodConfig, ...]) -> tuple[MethodConfig, ...]:
        names = [method.name for method in methods]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two methods are named {twice[0]!r}; give one of them another name")
        return methods

    @model_validator(mode="after")
    def _chat_is_used(self) -> RunConfig:
        if self.template != "chat" and not self.chat.is_default:
            raise ValueError(f"chat has settings, but template is {self.template!r}; set template to 'chat'")
        return self

    @model_validator(mode="after")
    def _attention_has_a_kernel(self) -> RunConfig:
        if self.attention is not None and self.attention.startswith("flash_attention"):
            if self.dtype != "bfloat16":
                raise ValueError(
                    f"attention is {self.attention!r}, whose kernels take bfloat16 only, but dtype is {self.dtype!r}, "
                    "in which the original model is scored in float32; set dtype to 'bfloat16', or attention to 'sdpa'"
                )
            if self.device == "cpu":
                raise ValueError(f"attention is {self.attention!r}, which needs a GPU, but device is 'cpu'")
        return self

    @model_validator(mode="after")
    def _can_be_sharded(self) -> RunConfig:
        if self.fsdp and self.compile:
            raise ValueError("fsdp and compile are both true, which is not supported; use one of them")
        for method in self.methods if self.fsdp else ():
            if (reason := method.whole_weights_because) is not None:
                raise ValueError(
                    f"method {method.name!r} does not work with fsdp: {reason}; remove it, or set fsdp to false"
                )
        return self

    @property
    def needs_retain(self) -> bool:
        """Whether any method has a retain term."""
        return any(method.holds for method in self.methods)

    def resolved(self) -> dict[str, Any]:
        """Return all settings with their values, as plain JSON types."""
        return self.model_dump(mode="json")

    def fingerprint(self) -> str:
        """Return a digest of the settings that determine the results of all methods.

        It excludes the methods, which may be added to a run later (:meth:`method_fingerprint`); the paths of model and
        facts, whose contents have separate digests; the address of the service; and settings that affect only how and
        where the work is done.
        """
        settings = self._deciding()
        settings.pop("methods")
        return _digest(settings)

    def method_fingerprint(self, method: MethodConfig) -> str:
        """Return a digest of the settings that, with :meth:`fingerprint`, determine the results of one method."""
        return _digest(method.fingerprint())

    def original_fingerprint(self) -> str:
        """Return a digest of the settings that determine the evaluation of the original model."""
        settings = self._deciding()
        settings.pop("methods")
        forms = settings.pop("training")["forms"]
        return _digest({**settings, "forms": forms})

    def _deciding(self) -> dict[str, Any]:
        settings = self.resolved()
        for name in ("out", "threads", "save_models", "model", "facts", "memory", "trackers", "fsdp"):
            settings.pop(name)
        settings["training"].pop("save_every_steps")
        if self.opening == "tokenizer":  # the default, which digests of earlier versions do not have
            settings.pop("opening")
        if not self.evaluator_settings:
            settings.pop("evaluator_settings")
        for name in ("url", "folder", "wait_s", "batch_facts"):
            settings["index"].pop(name)
        return settings

    def learning_rate_of(self, method: MethodConfig) -> float:
        """Return the peak learning rate of a method."""
        return method.learning_rate if method.learning_rate is not None else self.training.learning_rate

    def training_of(self, method: MethodConfig) -> TrainingConfig:
        """Return the training settings of a method, with its own batch size."""
        if method.batch is None:
            return self.training
        return self.training.model_copy(update={"batch_forget": method.batch, "batch_retain": method.batch})

    def passes_of(self, method: MethodConfig) -> float:
        """Return the number of passes over the forget set of a method."""
        return method.passes if method.passes is not None else self.training.passes


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def check_config(settings: Mapping[str, Any], where: str = "configuration") -> RunConfig:
    """Return a checked configuration from plain values.

    Raises:
        ConfigError: a key is unknown or missing, or a value is invalid; the message begins with ``where``.
    """
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        found = [each for each in error.errors() if not _follows(each, error.errors())]
        raise ConfigError(f"{where}: " + "; ".join(dict.fromkeys(map(_explain, found)))) from None


def _follows(details: Any, all_details: Sequence[Any]) -> bool:
    """Return whether a list counts as too short only because its items are invalid."""
    path = details["loc"]
    inside = [each for each in all_details if each["loc"][: len(path)] == path and each["loc"] != path]
    return details["type"] == "too_short" and bool(inside)


def _explain(details: Any) -> str:
    """Return one line about an error of pydantic."""
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
    "": RunConfig,
    "methods": MethodConfig,
    "methods.strata_control": StrataControl,
    "methods.constraint": RetainConstraint,
    "methods.adapter": AdapterConfig,
    "selection": SelectionConfig,
    "selection.forget": ForgetConfig,
    "selection.retain": RetainConfig,
    "training": TrainingConfig,
    "index": IndexConfig,
    "chat": ChatConfig,
}


def _all_keys() -> list[str]:
    """Return all keys with their sections, without the positions of methods."""
    of_losses = sorted({name for objective in objectives().values() for name in objective.parameters()})
    return [
        *(f"{section}.{key}".lstrip(".") for section, model in _SECTIONS.items() for key in model.model_fields),
        *(f"methods.parameters.{name}" for name in of_losses),
    ]


def _suggestion(path: str) -> str:
    """Return the keys spelled most like the last part of a path, preferably of the same section."""
    section, _, last = ".".join(part for part in path.split(".") if not part.isdigit()).rpartition(".")
    own = _SECTIONS[section].model_fields if section in _SECTIONS else {}
    leaves = {key: key.rpartition(".")[2] for key in _all_keys()}
    near = last if last in leaves.values() else nearest(last, own) or nearest(last, leaves.values())
    if near is None:
        return suggestion(last, own or RunConfig.model_fields)
    known = [key for key, leaf in leaves.items() if leaf == near]
    same_section = [key for key in known if key.rpartition(".")[0] == section]
    return f"; did you mean {' or '.join(map(repr, (same_section or known)[:3]))}?"
