"""The settings of one method: a choice on every axis of an objective, from a preset or spelled out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from factcensus.unlearn.config.section import Section
from factcensus.unlearn.errors import unknown_name
from factcensus.unlearn.methods.named import METHODS
from factcensus.unlearn.objectives import get_objective
from factcensus.unlearn.objectives.retain import RetainKind
from factcensus.unlearn.objectives.weights import WeightKind

Preferred = Literal["refusal", "given", "sampled"]


class StrataControl(Section):
    """Move effort to the strata that still remember, and stop when none does (multiplicative weights)."""

    by: Literal["count", "loss_rank", "shuffled_count"] = Field(
        default="count", description="what strata are made by; the last two are controls with strata of the same sizes"
    )
    strata: int = Field(
        default=4, ge=2, description="quantiles of the count, where the fact table has no column stratum"
    )
    rate: float = Field(
        default=0.5, gt=0, description="growth of a stratum's log weight a pass, per nat a token remembered"
    )
    limit: float = Field(default=4.0, gt=1, description="largest ratio of a stratum's weight to the mean weight")
    goal: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="stop when, in every stratum, the upper 95 % bound of the answer probability left above the "
        "never-seen level is below this",
    )


class RetainConstraint(Section):
    """Hold the retain term under a limit: dual ascent on alpha."""

    limit: float | None = Field(
        default=None, gt=0, description="epsilon, nats; the original model's retain term and `tolerance` if not given"
    )
    tolerance: float = Field(default=0.05, gt=0, description="nats above the original's retain term that are allowed")
    rate: float = Field(default=1.0, gt=0, description="eta in alpha <- max(0, alpha + eta (retain - epsilon))")
    warmup_passes: float = Field(default=0.0, ge=0, description="passes before alpha moves")


class AdapterConfig(Section):
    """Train low-rank adapters instead of all parameters; they are merged when training is over."""

    kind: Literal["lora", "dora"] = "lora"
    rank: int = Field(default=8, ge=1)
    scale: float = Field(default=16.0, gt=0, description="LoRA's alpha")
    start: Literal["zero", "fila"] = Field(
        default="zero",
        description="`fila`: the directions that matter to the forget set and not to the retain set, by Fisher "
        "information (LoKU); a backward pass for each example of both, before training",
    )
    targets: tuple[str, ...] | None = Field(
        default=None, description="names of modules; every linear one but the LM head if not given"
    )


class MethodConfig(Section):
    """One method: a preset and what to change in it, or an objective of your own."""

    preset: str | None = None
    name: str = Field(
        default="", description="its folder and its name in tables; the preset's or the objective's if not given"
    )
    objective: str
    parameters: dict[str, float | str | None] = Field(default_factory=dict)
    weights: WeightKind = "uniform"
    weight_strength: float = Field(default=0.0, description="lambda in exp(lambda z(log10(1 + count)))")
    token_confidence: float = Field(default=0.0, ge=0, description="a in the token weight p^a (1 - p)^b; 0 and 0: 1")
    token_doubt: float = Field(default=0.0, ge=0, description="b in the token weight p^a (1 - p)^b")
    margin: float | Literal["never_seen"] = Field(
        default=0.0, description="nats per token, or each fact's never-seen level"
    )
    preferred: Preferred = Field(
        default="refusal",
        description="the other answer of a preference: the refusal, the table's column `alternatives`, or answers that "
        "the original model makes up",
    )
    alternatives: int = Field(default=5, ge=1, description="answers a fact that the original model makes up")
    gamma: float = Field(default=1.0, gt=0, description="factor of the forget term")
    retain: RetainKind = "nll"
    alpha: float = Field(default=1.0, ge=0, description="factor of the retain term")
    reduction: Literal["fact", "token"] = Field(
        default="fact",
        description="`fact`: means over each answer's tokens, then over facts, so long answers weigh no more than "
        "short ones; `token`: means over all answer tokens of the batch, as much published code has them (losses of a "
        "whole answer, such as npo and simnpo, are means over facts in both)",
    )
    layer: int | None = Field(
        default=None, ge=0, description="of rmu and embedding, from 0; a quarter of the way up if not given"
    )
    strata_control: StrataControl | None = None
    constraint: RetainConstraint | None = None
    sam_rho: float | None = Field(default=None, gt=0, description="SAM: length of the step to the worst neighbour")
    gru: bool = Field(default=False, description="GRU: take out of the forget gradient what opposes the retain one")
    gru_gamma: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="GRU: the newest retain gradient's part in the moving average; 1 keeps no average and no copy",
    )
    negate: float | None = Field(
        default=None, gt=0, description="task arithmetic: after training, W0 - negate (W - W0)"
    )
    retrain_world: str | None = Field(
        default=None, description="the folder of the controlled world: train again without its forget people"
    )
    adapter: AdapterConfig | None = None
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
            raise unknown_name("preset", str(preset), METHODS)
        base = METHODS[preset]
        merged = {"name": preset, **base, **given}
        for section in ("parameters", "strata_control", "constraint", "adapter"):
            if isinstance(base.get(section), Mapping) and isinstance(given.get(section), Mapping):
                merged[section] = {**base[section], **given[section]}
        if given.get("objective", base["objective"]) != base["objective"]:
            merged["parameters"] = given.get("parameters", {})
        return merged

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
        for problem in self._problems(objective.uses_margin):
            raise ValueError(problem)
        return self

    def _problems(self, uses_margin: bool) -> list[str]:
        """What cannot be meant."""
        fila = self.adapter is not None and self.adapter.start == "fila"
        refused = {
            f"objective {self.objective!r} has no margin; leave margin at 0": self.margin != 0 and not uses_margin,
            "constraint needs a retain term to hold; choose retain": self.constraint is not None and not self.holds,
            "gru needs a retain term to spare; choose retain": self.gru and not self.holds,
            "sam_rho and gru both replace the forget gradient; choose one": self.gru and self.sam_rho is not None,
            f"strata_control follows the loss of the fact's answer, which {self.objective!r} does not compute": (
                self.strata_control is not None and not get_objective(self.objective).scores_the_answer
            ),
            f"token weights need the loss of tokens, which {self.objective!r} does not compute": (
                (self.token_confidence > 0 or self.token_doubt > 0) and "hidden" in get_objective(self.objective).needs
            ),
            "adapter.start = 'fila' compares with a retain set; choose retain": fila and self.retain == "none",
            f"adapter.start = 'fila' looks at the fact's answer, and {self.objective!r} teaches another one": (
                fila and get_objective(self.objective).answer == "refusal"
            ),
            "reduction = 'token' weighs every token alike, and ceiling_nats and skip do not; choose one": (
                self.reduction == "token" and any(self.parameters.get(name) for name in ("ceiling_nats", "skip"))
            ),
            "negate needs all parameters; leave adapter out": self.negate is not None and self.adapter is not None,
            "retrain_world is needed: the folder that `factcensus world write` wrote": (
                self.preset == "retrain" and self.retrain_world is None
            ),
        }
        return [message for message, wrong in refused.items() if wrong]

    def loss_parameters(self) -> dict[str, Any]:
        """The loss's parameters, defaults filled in."""
        return {**get_objective(self.objective).parameters(), **self.parameters}

    @property
    def holds(self) -> bool:
        """Whether a retain term holds something in place."""
        return self.retain != "none" and (self.alpha > 0 or self.constraint is not None)

    @property
    def needs_never_seen(self) -> bool:
        """Whether facts must be there that the corpus does not have."""
        return (
            self.margin == "never_seen"
            or self.strata_control is not None
            or "target" in get_objective(self.objective).needs
        )

    @property
    def needs_refusal(self) -> bool:
        """Whether the refusal is scored or aimed at."""
        objective = get_objective(self.objective)
        return (
            objective.answer == "refusal"
            or "replacement_ids" in objective.needs
            or ("preferred" in objective.needs and self.preferred == "refusal")
        )

    @property
    def needs_counts(self) -> bool:
        """Whether weights or strata ask for the count of every forget fact."""
        return self.weights != "uniform" or self.strata_control is not None
