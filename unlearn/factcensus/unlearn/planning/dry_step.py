"""Simulate one training step without data or weights, to estimate peak memory and operations for any architecture.

The model is built from its configuration with *fake* tensors, which have shapes, types and lifetimes but no storage. A
real forward pass, backward pass and optimiser step run on them, with the losses of the method. Allocated and freed
storage is added up, and every matrix product is counted. No formula depends on the architecture, so the effect of a new
attention or a tied embedding is included. The simulation takes half a second to a few seconds for models of any size.

:func:`extra_bytes` adds the rest by formula: gradient copies of wrappers, and cached outputs of the original model.
Architectures whose computation depends on values (mixtures of experts) cannot run on fake tensors. For them a rule is
used: parameters, gradients, moments and logits; 2 operations per parameter and token forward and 4 backward;
activations are left out.
"""

from __future__ import annotations

import json
import logging
import math
import weakref
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from factcensus.unlearn.config.method_config import MethodConfig
from factcensus.unlearn.config.run_config import RunConfig
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.objectives import get_objective
from factcensus.unlearn.objectives.retain import retain_jsd, retain_kl
from factcensus.unlearn.objectives.scores import AnswerScores
from factcensus.unlearn.training.adapters import Adapter
from factcensus.unlearn.training.examples import Batch
from factcensus.unlearn.training.layers import gradient_checkpointing
from factcensus.unlearn.training.optimizers import make_optimizer
from factcensus.unlearn.training.scoring import forward_answers, token_log_probabilities
from factcensus.unlearn.training.weights import sharded_modules

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shape:
    """One micro-batch: B examples, padded to L tokens, with answers padded to T."""

    examples: int
    length: int
    answer: int


@dataclass(frozen=True, slots=True)
class StepCost:
    """The cost of one step of a method.

    Attributes:
        parameters: Number of parameters of the model.
        trained: Number of trained parameters: all, or those of an adapter.
        trained_bytes: Memory of one copy of the trained parameters.
        peak_bytes: Peak memory of tensors, including parameters, gradients and optimiser.
        flop_per_token: Operations per padded token of a forget or retain example, forward and backward.
        width, vocabulary: Sizes of the LM head.
        simulated: Whether a step ran on fake tensors; otherwise the rule without activations was used.
        weights_bytes: Memory of all parameters.
        state_bytes: Memory of parameters, gradients and optimiser.
        working_bytes: Peak memory of activations and other temporary tensors of a forward and backward pass.
        group_bytes: Weights of the largest group that sharded training gathers at once.
        rest_bytes: Weights outside these groups, which stay gathered during a pass.
    """

    parameters: int
    trained: int
    trained_bytes: int
    peak_bytes: int
    flop_per_token: float
    width: int
    vocabulary: int
    simulated: bool
    weights_bytes: int = 0
    state_bytes: int = 0
    working_bytes: int = 0
    group_bytes: int = 0
    rest_bytes: int = 0

    def sharded_peak_bytes(self, processes: int) -> int:
        """Return the peak memory of one of several processes that share weights, gradients and optimiser.

        A pass gathers one group while it computes with another, and holds the whole gradient of a group. Before
        training, each process loads the whole model.
        """
        state = math.ceil(self.state_bytes / processes)
        gathered = 3 * self.group_bytes + 2 * self.rest_bytes
        update = math.ceil((self.peak_bytes - self.working_bytes) / processes)
        return max(state + self.working_bytes + gathered, update, self.weights_bytes + self.group_bytes)


def step_cost(
    model_config: Any, config: RunConfig, method: MethodConfig, shape: Shape, *, fused_lists: bool = False
) -> StepCost:
    """Return the cost of one step of this method on a model with this configuration.

    Args:
        model_config: A configuration object of transformers, as returned by ``AutoConfig``.
        config: Types, optimiser, gradient checkpointing.
        method: Adapter and terms.
        shape: The largest micro-batch.
        fused_lists: Whether the optimiser updates all parameters at once, as torch does on CUDA, which needs
            temporary tensors as large as the parameters.
    """
    step = _Step(
        model=json.dumps(model_config.to_dict(), sort_keys=True, default=str),
        dtype=config.dtype,
        attention=config.attention,
        checkpointing=config.training.gradient_checkpointing,
        optimizer=config.training.optimizer,
        adapter=method.adapter.model_dump_json() if method.adapter else "",
        objective=_simulated_objective(method),
        parameters=json.dumps(method.loss_parameters() if _simulated_objective(method) != _PLAIN else {}),
        retain=method.retain if method.holds and method.retain in _DIVERGENCES else "",
        fused_lists=fused_lists,
        shape=shape,
    )
    if step not in _COSTS:
        _COSTS[step] = _cost(model_config, config, method, step)
    return _COSTS[step]


def extra_bytes(method: MethodConfig, cost: StepCost, tokens: int, shards: int = 1) -> tuple[int, int]:
    """Return the memory that a method needs beyond a step: on the device, and on the CPU.

    Args:
        method: The method.
        cost: The cost of one of its steps.
        tokens: Number of answer tokens of both sets.
        shards: Number of processes over which the weights are sharded.

    This covers copies of weights or gradients for wrappers. If the method compares with the original model's
    distributions and no adapter can be switched off, it also covers a copy of the LM head and, on the CPU, the head's
    input at each answer token.
    """
    averaged = method.gru and method.gru_gamma < 1
    on_device = ((method.sam_rho is not None) + method.gru + averaged) * cost.trained_bytes // shards
    on_cpu = cost.trained_bytes // shards if method.negate is not None else 0
    if method.starts_by_fisher:  # before training, for at most all parameters: weights, two diagonals and a gradient
        on_device = max(on_device, 16 * cost.parameters - cost.peak_bytes)
    if method.caches_original and method.compares_distributions:
        on_device += cost.vocabulary * cost.width * 4
        on_cpu += tokens * cost.width * 4
    return on_device, on_cpu


@dataclass(frozen=True, slots=True)
class _Step:
    """Everything that determines the cost of a step, as a cache key."""

    model: str
    dtype: str
    attention: str | None
    checkpointing: bool
    optimizer: str
    adapter: str
    objective: str
    parameters: str
    retain: str
    fused_lists: bool
    shape: Shape


_COSTS: dict[_Step, StepCost] = {}

#: Retain terms that need more memory than the answers' losses.
_DIVERGENCES = {"kl": retain_kl, "jsd": retain_jsd}
#: The loss to simulate for objectives that use no logits but those of the answers' tokens.
_PLAIN = "learn"


def _simulated_objective(method: MethodConfig) -> str:
    """Return the objective whose memory and operations are those of the method's, or an upper bound."""
    needs = get_objective(method.objective).needs
    return method.objective if {"logits", "preferred"} & needs else _PLAIN


def _cost(model_config: Any, config: RunConfig, method: MethodConfig, step: _Step) -> StepCost:
    try:
        return _simulated(model_config, config, method, step)
    except ConfigError:
        raise
    except Exception as error:  # the architecture does something that fake tensors cannot
        log.info("no step on fake tensors for %s: %r", type(model_config).__name__, error)
        return _by_rule(model_config, config, method, step)


def _simulated(model_config: Any, config: RunConfig, method: MethodConfig, step: _Step) -> StepCost:
    from torch._subclasses.fake_tensor import FakeTensorMode

    meter = _Meter()
    with FakeTensorMode(), _quiet(), torch.random.fork_rng():
        model = _model(model_config, config.dtype, config.attention)
        every = sum(parameter.numel() for parameter in model.parameters())
        meter.add(model.parameters())
        meter.add(model.buffers())
        if method.adapter is not None:
            with patch.object(
                torch.nn.Module, "_apply", lambda module, *_: module
            ):  # keep peft from moving tensors to a device
                Adapter(model, method.adapter, seed=0)
            meter.add(model.parameters())
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimizer = make_optimizer(config.training.optimizer, trained, 1e-5, 0.0, seed=0)
        for group in optimizer.param_groups:
            group["foreach"] = step.fused_lists
        groups = _groups(model)
        with meter:
            for parameter in trained:  # the second term finds gradients of the first
                parameter.grad = torch.zeros_like(parameter)
            before = meter.now
            with gradient_checkpointing(model, step.checkpointing):
                head = _forget_term(model, step, autocast=config.dtype == "bfloat16-autocast")
                flop = meter.flop
                if step.retain:
                    _retain_term(model, step, autocast=config.dtype == "bfloat16-autocast")
            working = meter.peak - before
            optimizer.step()
            state = meter.now
    both_answers = "preferred" in get_objective(step.objective).needs
    tokens = step.shape.examples * step.shape.length * (2 if both_answers else 1)
    return StepCost(
        parameters=every,
        trained=sum(parameter.numel() for parameter in trained),
        trained_bytes=sum(parameter.numel() * parameter.element_size() for parameter in trained),
        peak_bytes=max(meter.peak, state + working),  # later steps hold the optimiser's state during the passes
        flop_per_token=flop / tokens,
        width=head[0],
        vocabulary=head[1],
        simulated=True,
        weights_bytes=sum(groups),
        state_bytes=state,
        working_bytes=working,
        group_bytes=max(groups[:-1], default=0),
        rest_bytes=groups[-1],
    )


def _groups(model: Any) -> list[int]:
    """Return the memory of the weights of each group that sharded training gathers at once, and last of the rest."""
    seen: set[int] = set()
    sizes = []
    for module in [*sharded_modules(model), model]:
        new = [each for each in module.parameters() if id(each) not in seen]
        seen.update(map(id, new))
        sizes.append(sum(each.numel() * each.element_size() for each in new))
    return sizes


def _model(model_config: Any, dtype: str, attention: str | None) -> Any:
    from transformers import AutoModelForCausalLM

    kind: Any = AutoModelForCausalLM
    # GPU kernels do not support fake tensors, so the configuration's own implementation replaces them.
    arguments = {"attn_implementation": attention} if attention in ("eager", "sdpa") else {}
    kept = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    return kind.from_config(model_config, dtype=kept, **arguments).eval()


def _forget_term(model: Any, step: _Step, *, autocast: bool) -> tuple[int, int]:
    """Run the forget term forward and backward; return the LM head's width and vocabulary."""
    batch, objective = _batch(step.shape), get_objective(step.objective)
    scores, hidden = _scores(model, batch, objective.needs, autocast=autocast)
    if "preferred" in objective.needs:
        scores = replace(scores, preferred=_scores(model, batch, (), autocast=autocast)[0])
    try:
        losses = objective(scores, json.loads(step.parameters))
    except Exception as error:  # a loss of another package may depend on values, which fake tensors lack
        log.info("no loss %s on fake tensors: %r", step.objective, error)
        losses = scores.mean_nll
    cast("Any", losses.sum()).backward()
    return hidden.shape[-1], model.get_output_embeddings().weight.shape[0]


def _retain_term(model: Any, step: _Step, *, autocast: bool) -> None:
    """Run a retain term that compares distributions forward and backward."""
    batch = _batch(step.shape)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = forward_answers(model, batch).logits
    cast("Any", _DIVERGENCES[step.retain](logits, torch.empty_like(logits), batch.answer_mask)).backward()


def _batch(shape: Shape) -> Batch:
    ids = torch.zeros(shape.examples, shape.length, dtype=torch.long)
    answers = torch.zeros(shape.examples, shape.answer, dtype=torch.long)
    mask = torch.ones(shape.examples, shape.answer, dtype=torch.bool)
    return Batch(ids, torch.ones_like(ids), ids, answers, answers, mask, padded_left=False)


def _scores(model: Any, batch: Batch, needs: Collection[str], *, autocast: bool) -> tuple[AnswerScores, torch.Tensor]:
    """Return scores with the fields that an objective needs, and the input of the LM head."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits, hidden = forward_answers(model, batch)
    tokens = token_log_probabilities(logits, batch)
    facts = torch.zeros(len(tokens))
    scores = AnswerScores(
        token_log_probabilities=tokens,
        mask=batch.answer_mask,
        reference_nll=facts,
        margin=facts,
        answer_ids=batch.answer_ids,
        logits=logits if "logits" in needs else None,
        reference_logits=torch.empty_like(logits) if "reference_logits" in needs else None,
        target=torch.zeros_like(tokens) if "target" in needs else None,
        replacement_ids=batch.answer_ids if "replacement_ids" in needs else None,
    )
    return scores, hidden


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # untyped in torch
    """Adds up the storage of live tensors and the operations of matrix products."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self.now = self.peak = self.flop = 0
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, tensors: Iterable[torch.Tensor]) -> None:
        """Count the storage of these tensors from now on, each storage once."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage not in self._seen:
                self._seen.add(storage)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._drop, storage.nbytes())

    def _drop(self, size_bytes: int) -> None:
        self.now -= size_bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func._overloadpacket in flop_registry:
            self.flop += int(flop_registry[func._overloadpacket](*args, **kwargs, out_val=result))
        self.add(leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
        return result


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's log about fake tensors inside the block, because this module reports it."""
    fake = logging.getLogger("torch._subclasses.fake_tensor")
    before = fake.disabled
    fake.disabled = True
    try:
        yield
    finally:
        fake.disabled = before


def _by_rule(model_config: Any, config: RunConfig, method: MethodConfig, step: _Step) -> StepCost:
    """Estimate parameters, gradients, two moments and logits; adapters count as 1% of the model's parameters."""
    with torch.device("meta"):
        model = _model(model_config, config.dtype, config.attention)
    every = sum(parameter.numel() for parameter in model.parameters())
    trained = every // 100 if method.adapter is not None else every
    value = 2 if config.dtype == "bfloat16" else 4
    vocabulary, width = model.get_output_embeddings().weight.shape
    logits = 3 * step.shape.examples * step.shape.answer * vocabulary * 4
    groups = _groups(model)
    return StepCost(
        parameters=every,
        trained=trained,
        trained_bytes=trained * value,
        peak_bytes=every * value + 3 * trained * value + logits,
        flop_per_token=6.0 * every,
        width=width,
        vocabulary=vocabulary,
        simulated=False,
        weights_bytes=every * value,
        state_bytes=every * value + 3 * trained * value,
        working_bytes=logits,
        group_bytes=max(groups[:-1], default=0),
        rest_bytes=groups[-1],
    )
