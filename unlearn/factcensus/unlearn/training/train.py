"""The unlearning loop for one model and one recipe.

Each step draws a forget and a retain batch, computes the gradient of ``gamma * forget + alpha * retain``, clips it, and
updates with AdamW. The dose is the number of passes over the forget set. Dropout is off unless the method sets it, so
losses match those of an evaluation. On one CPU thread, a killed and resumed run gives the same bytes as an
uninterrupted one: every random choice depends only on seed and step, and the saved state is complete, including
controllers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from factcensus.unlearn.config.method_config import MethodConfig
from factcensus.unlearn.config.run_config import TrainingConfig
from factcensus.unlearn.errors import NumericsError
from factcensus.unlearn.objectives import get_objective
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.stopping import stop_on_sigterm
from factcensus.unlearn.training.adapters import Adapter
from factcensus.unlearn.training.controllers import ConstraintController, StrataController
from factcensus.unlearn.training.examples import Example
from factcensus.unlearn.training.fila import start_adapter
from factcensus.unlearn.training.forget_set import ForgetSet
from factcensus.unlearn.training.gradients import Draw, Gradients, arithmetic
from factcensus.unlearn.training.layers import gradient_checkpointing, resolve_layer
from factcensus.unlearn.training.lost_updates import LostUpdateMeter, warn_of_lost_updates
from factcensus.unlearn.training.modes import dropout
from factcensus.unlearn.training.optimizers import make_optimizer
from factcensus.unlearn.training.over_forgetting import OverForgetting
from factcensus.unlearn.training.ranks import ALONE, Ranks
from factcensus.unlearn.training.references import AdapterOffReference, CachedReference, Reference
from factcensus.unlearn.training.sampling import Sampler
from factcensus.unlearn.training.saved_state import SavedState
from factcensus.unlearn.training.schedule import rate_at
from factcensus.unlearn.training.weights import ShardedWeights, Weights
from factcensus.unlearn.training.wrappers import Rectifier, take_gradients, worst_neighbour

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["ForgetSet", "Recipe", "StepRow", "unlearn"]

StepRow = dict[str, int | float]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is trained with one method.

    Attributes:
        method: The settings of the method.
        training: Batch sizes, optimiser, schedule, clipping.
        learning_rate: The peak learning rate.
        passes: The number of passes over the forget set.
        seed: Seed of the order of examples, initial adapter weights and stochastic rounding.
        pad_id: Any token id; no loss depends on it.
        autocast: Whether to compute in bfloat16 over float32 parameters.
        ranks: The processes that share each batch; the first one saves.
        fsdp: Whether the processes share weights, gradients and optimiser state as well; each saves its part.
    """

    method: MethodConfig
    training: TrainingConfig
    learning_rate: float
    passes: float
    seed: int
    pad_id: int
    autocast: bool = False
    ranks: Ranks = ALONE
    fsdp: bool = False


def unlearn(
    model: PreTrainedModel,
    forget: ForgetSet,
    retain: Sequence[Example],
    recipe: Recipe,
    *,
    state_path: Path | None = None,
    progress: ProgressFunction | None = None,
) -> list[StepRow]:
    """Train ``model`` in place and return one record per step.

    Args:
        model: The original model, on its device. Afterwards it is in evaluation mode, with any adapter merged; with
            ``fsdp`` it is sharded (:func:`factcensus.unlearn.training.weights.whole_weights` gathers it).
        forget, retain: The two sets.
        recipe: The method and its dose.
        state_path: The file in which the state is saved and from which training resumes.
        progress: Called after each step; ``values`` is the record of the step.

    Raises:
        ConfigError: the method does not work with this model or these sets; nothing was trained.
        NumericsError: a loss, gradient or parameter is not finite.
        InterruptedRunError: SIGTERM was received; the state is saved.
    """
    report, method, training = progress or silent, recipe.method, recipe.training
    loop = _begin(model, forget, retain, recipe)
    saved = SavedState(state_path, recipe.ranks, parts=recipe.fsdp) if state_path else None
    if saved and (state := saved.load(loop.gradients.device)) is not None:
        loop.restore(state)

    def save() -> None:
        if saved:
            saved.save(loop.state, len(loop.rows))

    with stop_on_sigterm() as stop, gradient_checkpointing(model, training.gradient_checkpointing, method.dropout):
        while not _is_over(loop):
            row = _step(loop)
            losses = f"forget {row['forget_loss_nats']:.3f} retain {row['retain_loss_nats']:.3f}"
            report(Progress(f"unlearn {method.name}", len(loop.rows), loop.steps, losses, row))
            stop.requested = recipe.ranks.any(stop.requested)
            stop.check(save)
            if len(loop.rows) % training.save_every_steps == 0:
                save()
        if len(loop.rows) < loop.steps:
            steps = len(loop.rows)
            report(Progress(f"unlearn {method.name}", steps, steps, f"ended before step {loop.steps:,}"))
    _finish(loop)
    return loop.rows


@dataclass
class _Loop:
    """The whole state of a training run.

    Attributes:
        steps: The number of steps of the whole dose.
        gradients: Adds the gradients of both terms.
        adapter, strata, watch, constraint, rectifier: Only for methods that use them.
        start: The initial weights for task arithmetic, on the CPU.
        rows: The records of the finished steps.
    """

    model: PreTrainedModel
    recipe: Recipe
    forget_sampler: Sampler
    retain_sampler: Sampler
    steps: int
    gradients: Gradients
    adapter: Adapter | None
    strata: StrataController | None
    watch: OverForgetting | None
    constraint: ConstraintController | None
    weights: Weights
    rectifier: Rectifier | None
    start: list[torch.Tensor]
    optimizer: torch.optim.Optimizer
    meter: LostUpdateMeter
    rows: list[StepRow] = field(default_factory=list)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """The parameters that this process updates."""
        return self.weights.parameters

    @property
    def alpha(self) -> float:
        """The current weight of the retain term."""
        return self.recipe.method.alpha if self.constraint is None else self.constraint.alpha

    def state(self) -> dict[str, Any]:
        """Return the complete state between two steps."""
        return {
            "parameters": {name: each.detach() for name, each in self.weights.named.items()},
            "optimizer": self.optimizer.state_dict(),
            "rows": self.rows,
            "strata": None if self.strata is None else self.strata.state(),
            "watch": None if self.watch is None else self.watch.state(),
            "constraint": None if self.constraint is None else self.constraint.state(),
            "retain_average": [] if self.rectifier is None else self.rectifier.state(),
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        for name, value in state["parameters"].items():
            self.weights.named[name].copy_(value)
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


def _begin(model: PreTrainedModel, forget: ForgetSet, retain: Sequence[Example], recipe: Recipe) -> _Loop:
    """Prepare everything that the steps need, before the weights change."""
    method, training, seed = recipe.method, recipe.training, recipe.seed
    cast("Any", model).eval()
    forget_sampler = Sampler(len(forget.examples), training.batch_forget, seed, "forget")
    retain_sampler = Sampler(max(1, len(retain)), training.batch_retain, seed, "retain")
    steps = forget_sampler.steps(recipe.passes)
    adapter = Adapter(model, method.adapter, seed) if method.adapter is not None else None
    as_trained = partial(arithmetic, next(model.parameters()).device, recipe.autocast)
    if method.starts_by_fisher:
        start_adapter(model, forget.examples, retain, recipe.pad_id, seed, as_trained)
    layer = resolve_layer(model, method.layer) if method.reads_layer else None

    def reference(examples: Sequence[Example], sampler: Sampler, layer: int | None) -> Reference:
        """Return the outputs of the original model that the steps will compare with."""
        if adapter is not None and adapter.off_is_original:
            return AdapterOffReference(model, adapter, layer, as_trained)
        visited = {index for step in range(steps) for index in sampler.batch(step)}
        return CachedReference(model, examples, visited, recipe.pad_id, layer, as_trained)

    gradients = Gradients(
        model,
        forget,
        retain,
        method,
        recipe.pad_id,
        training.micro_batch,
        recipe.autocast,
        layer,
        ranks=recipe.ranks,
        even=recipe.fsdp,
    )
    if "reference_logits" in get_objective(method.objective).needs:
        gradients.forget_reference = reference(forget.examples, forget_sampler, None)
    if method.holds and method.retain != "nll":
        at = layer if method.retain == "embedding" else None
        gradients.retain_reference = reference(retain, retain_sampler, at)
    strata = constraint = None
    if method.strata_control is not None:
        assert forget.strata is not None, "forget_set() sets strata for methods with strata control"
        strata = StrataController(method.strata_control, forget.strata)
    if method.constraint is not None:
        visited = sorted({index for step in range(steps) for index in retain_sampler.batch(step)})
        measured = gradients.retain_term(visited) if method.constraint.limit is None else 0.0
        constraint = ConstraintController(method.constraint, method.alpha, measured)
    # Everything above reads the original model, which from here on may be sharded.
    weights = ShardedWeights(model, recipe.ranks) if recipe.fsdp else Weights(model, recipe.ranks)
    parameters = weights.parameters
    return _Loop(
        model=model,
        recipe=recipe,
        forget_sampler=forget_sampler,
        retain_sampler=retain_sampler,
        steps=steps,
        gradients=gradients,
        adapter=adapter,
        strata=strata,
        watch=None if forget.watch is None else OverForgetting(forget.watch),
        constraint=constraint,
        weights=weights,
        rectifier=Rectifier(parameters, method.gru_gamma, weights.total) if method.gru else None,
        start=[each.detach().to("cpu", copy=True) for each in parameters] if method.negate else [],
        optimizer=make_optimizer(training.optimizer, parameters, recipe.learning_rate, training.weight_decay, seed),
        meter=LostUpdateMeter(parameters),
    )


def _is_over(loop: _Loop) -> bool:
    """Return whether the dose is complete, the goal is reached at the end of a pass, or the alarm ends it."""
    done, training = len(loop.rows), loop.recipe.training
    if done >= loop.steps:
        return True
    if not done:
        return False
    over_forgotten = max(loop.watch.shares()) if loop.watch is not None else 0.0
    if training.stop_over_forgotten and over_forgotten > training.over_forgotten_share:
        return True
    batch, size = training.batch_forget, loop.forget_sampler.size
    pass_ended = done * batch // size > (done - 1) * batch // size
    return loop.strata is not None and pass_ended and loop.strata.is_enough()


def _step(loop: _Loop) -> StepRow:
    """Perform one update and return its record."""
    recipe, method, training = loop.recipe, loop.recipe.method, loop.recipe.training
    step, size = len(loop.rows), loop.forget_sampler.size
    first = step * training.batch_forget
    draws = [Draw(index, (first + place) // size) for place, index in enumerate(loop.forget_sampler.batch(step))]
    alpha = loop.alpha
    forget_part, retain_part, observed = _add_gradients(loop, draws, step, alpha)
    forget_loss, retain_loss, *losses = recipe.ranks.sum(forget_part, retain_part, *observed)
    norm = loop.weights.clip(training.clip_norm)
    loss = method.gamma * forget_loss + alpha * retain_loss
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise NumericsError(
            f"{method.name}: loss {loss} and gradient norm {norm} at step {step + 1}; lower the learning rate"
        )
    rate = rate_at(step, loop.steps, recipe.learning_rate, training.warmup_share, training.schedule)
    lost = _update(loop, rate)
    passes = (step + 1) * training.batch_forget / size
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
    for observer in (loop.strata, loop.watch):
        if observer is not None:
            observer.observe([draw.index for draw in draws], losses)
            row |= observer.record()
    if loop.constraint is not None:
        row["alpha"] = alpha
        loop.constraint.observe(retain_loss, passes)
    loop.rows.append(row)
    return row


def _add_gradients(loop: _Loop, draws: Sequence[Draw], step: int, alpha: float) -> tuple[float, float, list[float]]:
    """Add the gradients of both terms, summed over processes; return this process's share of losses and records."""
    method, ranks = loop.recipe.method, loop.recipe.ranks
    with dropout(loop.model, loop.recipe.seed, step, ranks.index) if method.dropout else nullcontext():
        return _add_both(loop, draws, step, alpha)


def _add_both(loop: _Loop, draws: Sequence[Draw], step: int, alpha: float) -> tuple[float, float, list[float]]:
    gradients, method, weights = loop.gradients, loop.recipe.method, loop.weights
    forget_loss, observed = gradients.add_forget(draws, loop.strata)
    retain_batch = loop.retain_sampler.batch(step) if method.holds else []
    taken: list[torch.Tensor] = []
    if method.sam_rho is not None:
        weights.sum_gradients()
        with worst_neighbour(loop.parameters, method.sam_rho, weights.total):
            gradients.add_forget(draws, loop.strata)
    elif loop.rectifier is not None:
        weights.sum_gradients()
        taken = take_gradients(loop.parameters)
    retain_loss = gradients.add_retain(retain_batch, alpha) if retain_batch else 0.0
    weights.sum_gradients()
    if loop.rectifier is not None:
        loop.rectifier.add(taken)
    return forget_loss, retain_loss, observed


def _update(loop: _Loop, rate: float) -> float:
    """Update the parameters at this learning rate; return the share of updates that rounding lost."""
    optimizer = loop.optimizer
    for group in optimizer.param_groups:
        group["lr"] = rate
    loop.meter.before_step(optimizer)
    try:
        optimizer.step()
    except RuntimeError as error:  # the step size overflows the parameter type
        if "overflow" not in str(error):
            raise
        raise NumericsError(
            f"{loop.recipe.method.name}: the update at step {len(loop.rows) + 1} overflows ({error}); lower the "
            "learning rate"
        ) from error
    lost = loop.weights.average(loop.meter.lost_share(optimizer))
    optimizer.zero_grad(set_to_none=True)
    return lost


@torch.no_grad()
def _finish(loop: _Loop) -> None:
    """Finish training: apply task arithmetic, merge the adapter, and warn about lost updates.

    Raises:
        NumericsError: a parameter is not finite.
    """
    method = loop.recipe.method
    for parameter, start in zip(loop.parameters, loop.start, strict=False):
        origin = start.to(parameter.device)
        assert method.negate is not None
        parameter.copy_(origin - method.negate * (parameter - origin))
    if loop.adapter is not None:
        loop.adapter.merge()
    if not loop.weights.are_finite():
        raise NumericsError(f"{method.name}: parameters are not finite after the last step; lower the learning rate")
    warn_of_lost_updates(method.name, [row["lost_update_share"] for row in loop.rows])
