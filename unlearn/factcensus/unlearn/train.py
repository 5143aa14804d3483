"""The unlearning loop: one model, one method, one dose. Read it from top to bottom.

A step draws a forget and a retain batch, takes ``gamma * forget + alpha * retain``, clips, and steps AdamW. The dose is
passes over the forget set. Dropout is off, so the losses here are those an evaluation sees. On one thread of a CPU
a run that was killed and continued gives the same bytes as one that was not: every draw follows from the seed and
the step, and the saved state is the whole state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

from factcensus.unlearn.config import MethodConfig, TrainingConfig
from factcensus.unlearn.errors import NumericsError
from factcensus.unlearn.examples import Batch, Example, collate
from factcensus.unlearn.lost_updates import LostUpdateMeter
from factcensus.unlearn.objectives import get_objective
from factcensus.unlearn.objectives.retain import retain_kl, retain_nll
from factcensus.unlearn.progress import Progress, ProgressFunction, silent
from factcensus.unlearn.ranks import ALONE, Ranks
from factcensus.unlearn.runtime import load_state, save_state, stop_on_sigterm
from factcensus.unlearn.sampling import Sampler
from factcensus.unlearn.schedule import rate_at
from factcensus.unlearn.scoring import AnswerScores, answer_logits, token_log_probabilities

if TYPE_CHECKING:
    from transformers import PreTrainedModel

StepRow = dict[str, int | float]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class ForgetSet:
    """What to forget: n examples (answers or refusals, as the objective asks) and three numbers for each.

    Attributes:
        examples: The scored sequences.
        weights: (n,) mean 1 over facts.
        margin: (n,) nats per token.
        reference_nll: (n,) nats, summed over tokens; NaN where the objective does not ask for it.
    """

    examples: tuple[Example, ...]
    weights: torch.Tensor
    margin: torch.Tensor
    reference_nll: torch.Tensor


@dataclass(frozen=True, slots=True)
class Dose:
    """How much: the parts of the configuration that a method may change, resolved."""

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
    original: PreTrainedModel | None = None,
    autocast: bool = False,
    progress: ProgressFunction | None = None,
    ranks: Ranks = ALONE,
) -> list[StepRow]:
    """Train ``model`` in place; returns one record a step.

    Args:
        model: On its device; left in evaluation mode.
        forget, retain: The two sets.
        method: Objective, its parameters, factors, retain term.
        training: Batch sizes, schedule, clipping.
        dose: Learning rate and passes.
        seed: Of the order of examples.
        pad_id: Any token id; no loss depends on it.
        state_path: Where the state is saved and continued from.
        original: The model before unlearning, for the retain term ``kl``.
        autocast: bfloat16 arithmetic over float32 parameters.
        progress: Called after each step; ``values`` is the step's record.
        ranks: The processes that share each batch; the first one saves.

    Raises:
        NumericsError: a loss or a gradient is not finite.
        InterruptedRunError: SIGTERM; the state is saved.
    """
    device = next(model.parameters()).device
    cast("Any", model).eval()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=dose.learning_rate, weight_decay=training.weight_decay)
    forget_sampler = Sampler(len(forget.examples), training.batch_forget, seed, "forget")
    retain_sampler = Sampler(max(1, len(retain)), training.batch_retain, seed, "retain")
    steps = forget_sampler.steps(dose.passes)
    meter = LostUpdateMeter(parameters)
    rows: list[StepRow] = []
    state = load_state(state_path, device) if state_path else None
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        rows = state["rows"]

    def save() -> None:
        if state_path and ranks.is_first:
            save_state({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rows": rows}, state_path)

    report = progress or silent
    with stop_on_sigterm() as stop:
        for step in range(len(rows), steps):
            forget_loss = _backward_forget(
                model, forget, forget_sampler.batch(step), method, training.micro_batch, pad_id, autocast, ranks
            )
            retain_loss = 0.0
            if method.retain != "none" and method.alpha > 0:
                batch = [retain[index] for index in retain_sampler.batch(step)]
                retain_loss = _backward_retain(
                    model, batch, method, original, training.micro_batch, pad_id, autocast, ranks
                )
            forget_loss, retain_loss = ranks.sum(forget_loss, retain_loss)
            ranks.sum_gradients(parameters)
            norm = float(torch.nn.utils.clip_grad_norm_(parameters, training.clip_norm))
            loss = method.gamma * forget_loss + method.alpha * retain_loss
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise NumericsError(
                    f"{method.name}: loss {loss} and gradient norm {norm} at step {step + 1}; lower the learning rate"
                )
            rate = rate_at(step, steps, dose.learning_rate, training.warmup_share, training.schedule)
            for group in optimizer.param_groups:
                group["lr"] = rate
            meter.before_step()
            optimizer.step()
            lost = meter.lost_share(optimizer)
            optimizer.zero_grad(set_to_none=True)
            rows.append(
                {
                    "step": step + 1,
                    "passes": (step + 1) * training.batch_forget / len(forget.examples),
                    "learning_rate": rate,
                    "loss_nats": loss,
                    "forget_loss_nats": forget_loss,
                    "retain_loss_nats": retain_loss,
                    "gradient_norm": norm,
                    "lost_update_share": lost,
                }
            )
            losses = f"forget {forget_loss:.3f} retain {retain_loss:.3f}"
            report(Progress(f"unlearn {method.name}", step + 1, steps, losses, rows[-1]))
            stop.requested = ranks.any(stop.requested)
            stop.check(save)
            if (step + 1) % training.save_every_steps == 0:
                save()
    return rows


def _backward_forget(
    model: PreTrainedModel,
    forget: ForgetSet,
    indices: list[int],
    method: MethodConfig,
    micro_batch: int | None,
    pad_id: int,
    autocast: bool,
    ranks: Ranks,
) -> float:
    """Add the gradient of gamma * mean_i(w_i * forget_i) over a batch; gives this rank's part of the mean."""
    objective, parameters = get_objective(method.objective), method.loss_parameters()
    total = 0.0
    for part in _parts(ranks.share(indices), micro_batch):
        batch, chosen = _batch(model, [forget.examples[index] for index in part], pad_id), torch.tensor(part)
        device = batch.input_ids.device
        with _arithmetic(device, autocast):
            logits = answer_logits(model, batch)
        scores = AnswerScores(
            token_log_probabilities(logits, batch),
            batch.answer_mask,
            forget.reference_nll[chosen].to(device),
            forget.margin[chosen].to(device),
        )
        loss = (forget.weights[chosen].to(device) * objective(scores, parameters)).sum() / len(indices)
        _backward(method.gamma * loss)
        total += float(loss.detach())
    return total


def _backward_retain(
    model: PreTrainedModel,
    examples: list[Example],
    method: MethodConfig,
    original: PreTrainedModel | None,
    micro_batch: int | None,
    pad_id: int,
    autocast: bool,
    ranks: Ranks,
) -> float:
    """Add the gradient of alpha * retain over this batch; returns this rank's part of it, without alpha."""
    total = 0.0
    for part in _parts(ranks.share(examples), micro_batch):
        batch = _batch(model, part, pad_id)
        with _arithmetic(batch.input_ids.device, autocast):
            logits = answer_logits(model, batch)
        if method.retain == "kl":
            assert original is not None, "the run loads the original model for the retain term kl"
            with torch.no_grad(), _arithmetic(batch.input_ids.device, autocast):
                original_logits = answer_logits(original, batch)
            loss = retain_kl(logits, original_logits, batch.answer_mask)
        else:
            loss = retain_nll(token_log_probabilities(logits, batch), batch.answer_mask)
        loss = loss * len(part) / len(examples)
        _backward(method.alpha * loss)
        total += float(loss.detach())
    return total


def _backward(loss: torch.Tensor) -> None:
    cast("Any", loss).backward()


def _batch(model: PreTrainedModel, examples: Sequence[Example], pad_id: int) -> Batch:
    return collate(examples, pad_id).to(next(model.parameters()).device)


def _parts(items: list[Item], size: int | None) -> Iterator[list[Item]]:
    """Micro-batches."""
    width = size or len(items) or 1
    for start in range(0, len(items), width):
        yield items[start : start + width]


def _arithmetic(device: torch.device, autocast: bool) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, dtype=torch.bfloat16) if autocast else nullcontext()
