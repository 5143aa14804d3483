"""The trained parameters as one process holds them: whole, or a part of each (``fsdp``).

With ``fsdp``, FSDP2 of torch splits every parameter over the processes. A forward or backward pass gathers the weights
of one group of modules at a time, and a backward pass leaves each process its part of the summed gradient. Optimiser,
wrappers and meters then work on the parts, which are ordinary parameters, and only sums over all elements (norms, inner
products) need the other processes. accelerate starts and connects the processes. Its own FSDP preparation is not used:
it averages gradients, and keeps the LM head gathered between passes, which would be out of date after SAM.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import torch

from factcensus.unlearn.training.layers import decoder_layers
from factcensus.unlearn.training.ranks import Ranks

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Weights:
    """The trained parameters of a model, whole in every process.

    Attributes:
        named: The parameters that this process updates, by name.
    """

    def __init__(self, model: PreTrainedModel, ranks: Ranks) -> None:
        self._model, self.ranks = model, ranks
        self.named: dict[str, torch.nn.Parameter] = {
            name: each for name, each in model.named_parameters() if each.requires_grad
        }

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        """The parameters that this process updates."""
        return list(self.named.values())

    def sum_gradients(self) -> None:
        """Replace each gradient by its sum over all processes."""
        self.ranks.sum_gradients(self.parameters)

    def total(self, value: float) -> float:
        """Return a sum over the elements of this process as a sum over all elements."""
        return value

    def average(self, value: float) -> float:
        """Return a number that describes the elements of this process as a mean over all processes."""
        return value

    def clip(self, limit: float) -> float:
        """Scale the gradient to a norm of at most ``limit``, and return the norm before scaling."""
        return float(torch.nn.utils.clip_grad_norm_(self.parameters, limit))

    def are_finite(self) -> bool:
        """Return whether all parameters of the model are finite."""
        return all(bool(each.isfinite().all()) for each in self._model.parameters())


class ShardedWeights(Weights):
    """Parts of the parameters of a model, which is sharded in place and stays so.

    Args:
        model: A model on its device, the same in every process. All processes must run the same number of passes
            through it from now on.
        ranks: At least two processes.
    """

    def __init__(self, model: PreTrainedModel, ranks: Ranks) -> None:
        self._model, self.ranks = model, ranks
        _shard(model, ranks)
        self._sharded = dict(model.named_parameters())
        parts = {name: torch.nn.Parameter(_part(each)) for name, each in self._sharded.items()}  # the same memory
        self.named = {name: part for name, part in parts.items() if part.numel()}  # small ones have fewer parts

    def sum_gradients(self) -> None:
        """Add this process's part of each gradient, summed over all processes, to that of the parameter."""
        for name, whole in self._sharded.items():
            gradient, whole.grad = whole.grad, None
            if gradient is None or name not in self.named:
                continue
            part, mine = self.named[name], _part(gradient) * self.ranks.count  # FSDP averages
            part.grad = mine if part.grad is None else part.grad.add_(mine)

    def total(self, value: float) -> float:
        """Return a sum over the elements of this process as a sum over all elements."""
        return self.ranks.sum(value)[0]

    def average(self, value: float) -> float:
        """Return the mean over the processes whose value is a number; NaN if there are none."""
        known = not math.isnan(value)
        total, number = self.ranks.sum(value if known else 0.0, float(known))
        return total / number if number else math.nan

    def clip(self, limit: float) -> float:
        """Scale the gradient to a norm of at most ``limit``, and return the norm before scaling."""
        gradients = [each.grad for each in self.parameters if each.grad is not None]
        mine = sum(float(each.double().square().sum()) for each in gradients)
        norm = math.sqrt(self.total(mine))
        scale = limit / (norm + 1e-6)  # as in torch
        for each in gradients if scale < 1 else ():
            each.mul_(scale)
        return norm

    def are_finite(self) -> bool:
        """Return whether all parameters are finite in every process."""
        return not self.ranks.any(not all(bool(each.isfinite().all()) for each in self.parameters))


def whole_weights(model: PreTrainedModel, ranks: Ranks) -> dict[str, torch.Tensor]:
    """Return the complete weights of a sharded model on the CPU; empty except in the first process.

    Every process must call this.
    """
    found = {}
    for name, value in model.state_dict().items():
        whole = value.full_tensor() if hasattr(value, "full_tensor") else value
        if ranks.is_first:
            found[name] = whole.cpu()
    return found


def sharded_modules(model: PreTrainedModel) -> list[torch.nn.Module]:
    """Return the groups whose weights are gathered one at a time, in addition to the rest of the model.

    These are the decoder layers, and embedding and LM head unless they share their weights.
    """
    embedding, head = cast("Any", model).get_input_embeddings(), cast("Any", model).get_output_embeddings()
    if head is None or embedding.weight is head.weight:
        return list(decoder_layers(model))
    return [*decoder_layers(model), embedding, head]


def _shard(model: PreTrainedModel, ranks: Ranks) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(next(model.parameters()).device.type, (ranks.count,))
    for module in [*sharded_modules(model), model]:
        # The default for the last one keeps its weights gathered, and a pass after an update would use old ones.
        fully_shard(module, mesh=mesh, reshard_after_forward=True)


@torch.no_grad()
def _part(tensor: Any) -> torch.Tensor:
    """Return this process's part of a sharded tensor, without a copy."""
    part: torch.Tensor = tensor.to_local()
    return part
