"""The unlearning loop for one model, one method and one dose.

Each step draws a forget and a retain batch, computes the gradient of ``gamma * forget + alpha * retain``, clips it, and
updates with AdamW. The dose is the number of passes over the forget set. Dropout is off, so losses match those of an
evaluation. On one CPU thread, a killed and resumed run gives the same bytes as an uninterrupted one: every random
choice depends only on seed and step, and the saved state is complete, including controllers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from factcensus.unlearn.config.method_config import MethodConfig
from factcensus.unlearn.config.run_config import TrainingConfig
from factcensus.unlearn.errors import NumericsError
from factcensus.unlearn.objectives import get_objective
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.retrain import retrain
from factcensus.unlearn.stopping import stop_on_sigterm
from factcensus.unlearn.training.adapters import Adapter
from factcensus.unlearn.training.controllers import ConstraintController, StrataController
from factcensus.unlearn.training.examples import Example
from factcensus.unlearn.training.fila import start_adapter
from factcensus.unlearn.training.forget_set import ForgetSet
from factcensus.unlearn.training.gradients import Draw, Gradients, arithmetic
from factcensus.unlearn.training.layers import gradient_checkpointing, resolve_layer
from factcensus.unlearn.training.lost_updates import LostUpdateMeter, warn_of_lost_updates
from factcensus.unlearn.training.optimizers import make_optimizer
from factcensus.unlearn.training.over_forgetting import OverForgetting
from factcensus.unlearn.training.ranks import ALONE, Ranks
from factcensus.unlearn.training.references import AdapterOffReference, Arithmetic, CachedReference, Reference
from factcensus.unlearn.training.runtime import load_state, save_state
from factcensus.unlearn.training.sampling import Sampler
from factcensus.unlearn.training.schedule import rate_at
from factcensus.unlearn.training.wrappers import Rectifier, take_gradients, worst_neighbour

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Dose", "ForgetSet", "StepRow", "unlearn"]

StepRow = dict[str, int | float]


@dataclass(frozen=True, slots=True)
class Dose:
    """The resolved learning rate and number of passes of a method."""

    learning_rate: float
    passes: float


def unlearn(
    model: PreTrainedModel,
    forget: ForgetSet,
    retain: Sequence[Example],
    method: MethodConfig,
    training: TrainingConfig,
    dose: Dose,
    *,
    seed: int,
    pad_id: int,
    state_path: Path | None = None,
    autocast: bool = False,
    progress: ProgressFunction | None = None,
    ranks: Ranks = ALONE,
) -> list[StepRow]:
    """Train ``model`` in place and return one record per step.

    Args:
        model: The original model, on its device. Afterwards it is in evaluation mode, with any adapter merged.
        forget, retain: The two sets.
        method: The settings of the method.
        training: Batch sizes, optimiser, schedule, clipping.
        dose: Learning rate and passes.
        seed: Seed of the order of examples, initial adapter weights and stochastic rounding.
        pad_id: Any token id; no loss depends on it.
        state_path: The file in which the state is saved and from which training resumes.
        autocast: Whether to compute in bfloat16 over float32 parameters.
        progress: Called after each step; ``values`` is the record of the step.
        ranks: The processes that share each batch; the first one saves.

    Raises:
        ConfigError: the method does not work with this model or these sets; nothing was trained.
        NumericsError: a loss, gradient or parameter is not finite.
        InterruptedRunError: SIGTERM was received; the state is saved.
    """
    report = progress or silent
    if method.retrain_world is not None:
        return retrain(model, method, state_path, report)
    loop = _Loop(model, forget, retain, method, training, dose, seed, pad_id, autocast, ranks)
    state = load_state(state_path, loop.gradients.device) if state_path else None
    if state is not None:
        loop.load(state)

    def save() -> None:
        if state_path and ranks.is_first:
            save_state(loop.state(), state_path)

    with stop_on_sigterm() as stop, gradient_checkpointing(model, training.gradient_checkpointing):
        while not loop.is_over():
            loop.step()
            row = loop.rows[-1]
            losses = f"forget {row['forget_loss_nats']:.3f} retain {row['retain_loss_nats']:.3f}"
            report(Progress(f"unlearn {method.name}", len(loop.rows), loop.steps, losses, row))
            stop.requested = ranks.any(stop.requested)
            stop.check(save)
            if len(loop.rows) % training.save_every_steps == 0:
                save()
    loop.finish()
    return loop.rows


class _Loop:
    """The whole state of a training, and its step."""

    def __init__(
        self,
        model: PreTrainedModel,
        forget: ForgetSet,
        retain: Sequence[Example],
        method: MethodConfig,
        training: TrainingConfig,
        dose: Dose,
        seed: int,
        pad_id: int,
        autocast: bool,
        ranks: Ranks,
    ) -> None:
        self.model, self.method, self.training, self.dose, self.ranks = model, method, training, dose, ranks
        cast("Any", model).eval()
        self.forget_sampler = Sampler(len(forget.examples), training.batch_forget, seed, "forget")
        self.retain_sampler = Sampler(max(1, len(retain)), training.batch_retain, seed, "retain")
        self.steps = self.forget_sampler.steps(dose.passes)
        self.retains = method.holds
        self.rows: list[StepRow] = []
        self.adapter = Adapter(model, method.adapter, seed) if method.adapter is not None else None
        as_trained = partial(arithmetic, next(model.parameters()).device, autocast)
        if method.adapter is not None and method.adapter.start == "fila":
            start_adapter(model, forget.examples, retain, pad_id, seed, as_trained)
        self.gradients = Gradients(
            model, forget, retain, method, pad_id, training.micro_batch, autocast, self._layer(), ranks=ranks
        )
        self._make_references(forget, retain, pad_id, as_trained)
        self.strata: StrataController | None = None
        if method.strata_control is not None:
            assert forget.strata is not None, "forget_set() sets strata for methods with strata control"
            self.strata = StrataController(method.strata_control, forget.strata)
        self.watch = None if forget.watch is None else OverForgetting(forget.watch)
        self.constraint: ConstraintController | None = None
        if method.constraint is not None:
            first = sorted({index for step in range(self.steps) for index in self.retain_sampler.batch(step)})
            measured = self.gradients.retain_term(first) if method.constraint.limit is None else 0.0
            self.constraint = ConstraintController(method.constraint, method.alpha, measured)
        self.named = {name: each for name, each in model.named_parameters() if each.requires_grad}
        self.parameters = list(self.named.values())
        self.rectifier = Rectifier(self.parameters, method.gru_gamma) if method.gru else None
        #: The initial weights for task arithmetic, on the CPU.
        self.start = [each.detach().to("cpu", copy=True) for each in self.parameters] if method.negate else []
        self.optimizer = make_optimizer(
            training.optimizer, self.parameters, dose.learning_rate, training.weight_decay, seed
        )
        self.meter = LostUpdateMeter(self.parameters)

    def _layer(self) -> int | None:
        looks = "hidden" in get_objective(self.method.objective).needs or self.method.retain == "embedding"
        return resolve_layer(self.model, self.method.layer) if looks else None

    def _make_references(
        self, forget: ForgetSet, retain: Sequence[Example], pad_id: int, as_trained: Arithmetic
    ) -> None:
        """Compute the outputs of the original model that the steps will need, before the weights change."""
        gradients = self.gradients

        def reference(examples: Sequence[Example], sampler: Sampler, layer: int | None) -> Reference:
            if self.adapter is not None and self.adapter.off_is_original:
                return AdapterOffReference(self.model, self.adapter, layer, as_trained)
            visited = {index for step in range(self.steps) for index in sampler.batch(step)}
            return CachedReference(self.model, examples, visited, pad_id, layer, as_trained)

        if "reference_logits" in get_objective(self.method.objective).needs:
            gradients.forget_reference = reference(forget.examples, self.forget_sampler, None)
        if self.retains and self.method.retain != "nll":
            layer = gradients.layer if self.method.retain == "embedding" else None
            gradients.retain_reference = reference(retain, self.retain_sampler, layer)

    @property
    def alpha(self) -> float:
        """The current weight of the retain term."""
        return self.method.alpha if self.constraint is None else self.constraint.alpha

    def is_over(self) -> bool:
        """Return whether the dose is complete, the goal is reached at the end of a pass, or the alarm ends it."""
        if len(self.rows) >= self.steps:
            return True
        watched = self.watch.shares() if self.watch is not None and self.rows else [0.0]
        if self.training.stop_over_forgotten and max(watched) > self.training.over_forgotten_share:
            return True
        if self.strata is None or not self.rows:
            return False
        batch, size = self.training.batch_forget, self.forget_sampler.size
        ended = len(self.rows) * batch // size > (len(self.rows) - 1) * batch // size
        return ended and self.strata.is_enough()

    def step(self) -> None:
        """Perform one update and append its record."""
        step = len(self.rows)
        first = step * self.training.batch_forget
        draws = [
            Draw(index, (first + place) // self.forget_sampler.size)
            for place, index in enumerate(self.forget_sampler.batch(step))
        ]
        alpha = self.alpha
        forget_part, retain_part, observed = self._add_gradients(draws, step, alpha)
        forget_loss, retain_loss, *losses = self.ranks.sum(forget_part, retain_part, *observed)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.training.clip_norm))
        loss = self.method.gamma * forget_loss + alpha * retain_loss
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise NumericsError(
                f"{self.method.name}: loss {loss} and gradient norm {norm} at step {step + 1}; lower the learning rate"
            )
        rate = rate_at(step, self.steps, self.dose.learning_rate, self.training.warmup_share, self.training.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.meter.before_step(self.optimizer)
        self._update(step)
        lost = self.meter.lost_share(self.optimizer)
        self.optimizer.zero_grad(set_to_none=True)
        passes = (step + 1) * self.training.batch_forget / self.forget_sampler.size
        row: StepRow = {
            "step": step + 1,
            "passes": passes,
            "learning_rate": rate,
            "loss_nats": loss,
            "forget_loss_nats": forget_loss,
            "retain_loss_nats": retain_loss,
            "gradient_norm": norm,
            "lost_update_share": lost,
        }
        if self.strata is not None:
            self.strata.observe([draw.index for draw in draws], losses)
            row |= self.strata.record()
        if self.watch is not None:
            self.watch.observe([draw.index for draw in draws], losses)
            row |= self.watch.record()
        if self.constraint is not None:
            row["alpha"] = alpha
            self.constraint.observe(retain_loss, passes)
        self.rows.append(row)

    def _update(self, step: int) -> None:
        try:
            self.optimizer.step()
        except RuntimeError as error:  # the step size overflows the parameter type
            if "overflow" not in str(error):
                raise
            raise NumericsError(
                f"{self.method.name}: the update at step {step + 1} overflows ({error}); lower the learning rate"
            ) from error

    def _add_gradients(self, draws: Sequence[Draw], step: int, alpha: float) -> tuple[float, float, list[float]]:
        """Add the gradients of both terms, summed over processes; return this process's share of losses and records."""
        gradients, method = self.gradients, self.method
        forget_loss, observed = gradients.add_forget(draws, self.strata)
        retain_batch = self.retain_sampler.batch(step) if self.retains else []
        taken: list[torch.Tensor] = []
        if method.sam_rho is not None:
            self.ranks.sum_gradients(self.parameters)
            with worst_neighbour(self.parameters, method.sam_rho):
                gradients.add_forget(draws, self.strata)
        elif self.rectifier is not None:
            self.ranks.sum_gradients(self.parameters)
            taken = take_gradients(self.parameters)
        retain_loss = gradients.add_retain(retain_batch, alpha) if retain_batch else 0.0
        self.ranks.sum_gradients(self.parameters)
        if self.rectifier is not None:
            self.rectifier.add(taken)
        return forget_loss, retain_loss, observed

    @torch.no_grad()
    def finish(self) -> None:
        """Finish training: apply task arithmetic, merge the adapter, and warn of lost updates.

        Raises:
            NumericsError: a parameter is not finite.
        """
        for parameter, start in zip(self.parameters, self.start, strict=False):
            origin = start.to(parameter.device)
            assert self.method.negate is not None
            parameter.copy_(origin - self.method.negate * (parameter - origin))
        if self.adapter is not None:
            self.adapter.merge()
        if not all(bool(each.isfinite().all()) for each in self.model.parameters()):
            raise NumericsError(
                f"{self.method.name}: parameters are not finite after the last step; lower the learning rate"
            )
        warn_of_lost_updates(self.method.name, [row["lost_update_share"] for row in self.rows])

    def state(self) -> dict[str, Any]:
        """Return the complete state between two steps."""
        return {
            "parameters": {name: each.detach() for name, each in self.named.items()},
            "optimizer": self.optimizer.state_dict(),
            "rows": self.rows,
            "strata": None if self.strata is None else self.strata.state(),
            "watch": None if self.watch is None else self.watch.state(),
            "constraint": None if self.constraint is None else self.constraint.state(),
            "retain_average": [] if self.rectifier is None else self.rectifier.state(),
        }

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Restore a saved state."""
        for name, value in state["parameters"].items():
            self.named[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.rows = state["rows"]
        if self.strata is not None:
            self.strata.load(state["strata"])
        if self.watch is not None:
            self.watch.load(state["watch"])
        if self.constraint is not None:
            self.constraint.load(state["constraint"])
        if self.rectifier is not None:
            self.rectifier.load(state["retain_average"])
