"""FILA: initialise adapters with the weights that matter to the forget set but not to the retain set.

A new adapter usually adds nothing, in random directions. Here each adapter starts as the part B A of its weight W that
the forget set depends on most, relative to the retain set. This part is subtracted from W, so the model's output does
not change, and training starts with the relevant weights. From each set, the diagonal of the Fisher information of W,

    F(D) = sum_i T_i (d l_i / dW)^2 / sum_i T_i      (l_i mean loss of answer i over its T_i tokens)

is measured one example at a time; squaring the mean gradient of a batch would be cheaper but wrong. A row j of W gets
the importance f_j = sum_k F_f[j, k] / (F_r[j, k] + 1e-5). With diag(sqrt f) W = U S V^T, truncated to the rank,

    A = sqrt(S / s) V^T,   B = diag(1 / sqrt f) U sqrt(S / s)      (s the adapter's scale over its rank)

minimise sum_j f_j |W_j - s (B A)_j|^2. The cost is one forward and one backward pass per forget and retain example, and
two temporary copies of the adapted weights.

Source: Cha et al. (2025), arXiv:2408.06621 (LoKU), with the 1e-5 of their implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.stopping import check_stop
from factcensus.unlearn.training.examples import Example, collate
from factcensus.unlearn.training.references import Arithmetic
from factcensus.unlearn.training.scoring import answer_logits, token_log_probabilities

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DAMPING = 1e-5
#: Extra directions beyond the rank in the randomised decomposition, and its power iterations.
OVERSAMPLING, ITERATIONS = 8, 4


def start_adapter(
    model: PreTrainedModel,
    forget: Sequence[Example],
    retain: Sequence[Example],
    pad_id: int,
    seed: int,
    arithmetic: Arithmetic,
) -> None:
    """Initialise every new adapter in the model and subtract it from its base weight.

    Afterwards, the model with its adapters switched *off* is no longer the original.

    Args:
        model: A model with new adapters of peft, in evaluation mode.
        forget: Examples with the answers of the facts to forget.
        retain: Examples of the retain set.
        pad_id: Any token id.
        seed: Seed of the randomised decomposition.
        arithmetic: The arithmetic used in training.

    Raises:
        ConfigError: one of the sets is empty, or an adapted weight is that of the input embedding.
    """
    if not forget or not retain:
        raise ConfigError("adapter.start = 'fila' needs a forget set and a retain set, but one of them is empty")
    layers = _adapters(model)
    embedding = cast("Any", model).get_input_embeddings().weight
    if any(layer.get_base_layer().weight is embedding for layer in layers):
        raise ConfigError(
            "adapter.start = 'fila' cannot adapt the input embedding (an LM head may share its weight); "
            "remove it from adapter.targets"
        )
    weights = [layer.get_base_layer().weight for layer in layers]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    _require_gradients(trained, weights)
    try:
        of_forget = fisher(model, weights, forget, pad_id, arithmetic)
        of_retain = fisher(model, weights, retain, pad_id, arithmetic)
    finally:
        _require_gradients(weights, trained)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for layer, numerator, denominator in zip(layers, of_forget, of_retain, strict=True):
            _start(layer, numerator / (denominator + DAMPING))


def fisher(
    model: PreTrainedModel,
    weights: Sequence[torch.nn.Parameter],
    examples: Sequence[Example],
    pad_id: int,
    arithmetic: Arithmetic,
) -> list[torch.Tensor]:
    """Return the diagonal Fisher information of each weight, float32, in the weight's shape; see the module."""
    totals = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    device = weights[0].device
    for example in examples:
        check_stop()
        batch = collate([example], pad_id).to(device)
        with arithmetic():
            logits = answer_logits(model, batch)
        loss = -token_log_probabilities(logits, batch).mean()
        gradients = torch.autograd.grad(loss, list(weights), allow_unused=True)
        for total, gradient in zip(totals, gradients, strict=True):
            if gradient is not None:
                total.add_(gradient.float().square(), alpha=len(example.answer_ids))
    tokens = sum(len(example.answer_ids) for example in examples)
    return [total / tokens for total in totals]


def factors(
    weight: torch.Tensor, importance: torch.Tensor, rank: int, scaling: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return A (rank, in) and B (out, rank) such that ``scaling`` * B A best approximates ``weight`` (out, in).

    Args:
        weight: (out, in) float32.
        importance: (out,) weight of each row's squared error; rows with weight 0 are ignored.
        rank: Rank of the product; rows and columns beyond the rank of ``weight`` are 0.
        scaling: The factor by which the adapter multiplies B A.
    """
    root = importance.sqrt()
    q = min(rank + OVERSAMPLING, *weight.shape)
    u, s, v = torch.svd_lowrank(root[:, None] * weight, q=q, niter=ITERATIONS)
    size = (s[:rank] / scaling).sqrt()
    a = weight.new_zeros(rank, weight.shape[1])
    b = weight.new_zeros(weight.shape[0], rank)
    a[: len(size)] = (v[:, :rank] * size).T
    b[:, : len(size)] = torch.where(root > 0, 1 / root, 0.0)[:, None] * (u[:, :rank] * size)
    return a, b


def _start(layer: Any, importance: torch.Tensor) -> None:
    """Set the two factors of an adapter and subtract their product from the base weight."""
    (name,) = layer.active_adapters
    across = bool(getattr(layer, "fan_in_fan_out", False))  # GPT-2 stores weights as (in, out)
    base, down, up = layer.get_base_layer().weight, layer.lora_A[name].weight, layer.lora_B[name].weight
    weight = (base.T if across else base).float()
    rows = (importance.T if across else importance).sum(dim=1)
    a, b = factors(weight, rows, down.shape[0], layer.scaling[name])
    down.copy_(a)
    up.copy_(b)
    part = layer.scaling[name] * (up.float() @ down.float())
    base.sub_((part.T if across else part).to(base.dtype))


def _adapters(model: PreTrainedModel) -> list[Any]:
    from peft.tuners.lora.layer import LoraLayer

    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def _require_gradients(off: Sequence[torch.nn.Parameter], on: Sequence[torch.nn.Parameter]) -> None:
    for parameter in off:
        parameter.requires_grad_(False)
    for parameter in on:
        parameter.requires_grad_(True)
