"""Quantisation: whether rounding the weights recovers answers that small updates had suppressed.

This is a simulation and the same on every device: weights are rounded to 2^bits - 1 symmetric levels per output channel
and keep their type. Activations, embeddings and the output layer are unchanged. The kernels of bitsandbytes or torchao
group weights and place their levels differently, so the same number of bits gives other results there.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from factcensus.eval.attacks.target import Target, recalls, restored
from factcensus.eval.errors import EvaluationInputError
from factcensus.unlearn.selection import Row


def quantise(target: Target) -> Iterator[Row]:
    """Yield the recall with quantised weights for each number of bits.

    Raises:
        EvaluationInputError: the model has no linear layer except its output layer.
    """
    questions = target.questions(*target.settings.forms)
    encoded = [target.encode(question) for question in questions]
    for bits in target.settings.bits:
        with restored(target.model):
            if not round_weights(target.model, bits):
                raise EvaluationInputError(
                    f"{type(target.model).__name__} has no linear layer to quantise; omit the attack"
                )
            rows = recalls(target, questions, encoded, bits, f"{bits} bits")
        yield from rows


@torch.no_grad()
def round_weights(model: PreTrainedModel, bits: int) -> int:
    """Round the weights of every linear layer except the output layer in place; return the number of layers."""
    output = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    layers = 0
    for module in model.modules():
        if module is output or not isinstance(module, nn.Linear | Conv1D):
            continue
        inputs = 0 if isinstance(module, Conv1D) else 1  # GPT-2's layers have (in, out), the others (out, in)
        module.weight.copy_(rounded(module.weight, bits, inputs))
        layers += 1
    return layers


def rounded(weight: torch.Tensor, bits: int, inputs: int) -> torch.Tensor:
    """Round to the nearest of 2^bits - 1 levels from -max to max per output channel; ties to even.

    Args:
        weight: A matrix.
        bits: 2 to 8.
        inputs: The dimension of the inputs; every slice along it has its own scale.

    Raises:
        ValueError: ``bits`` is out of range.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"bits must be 2 to 8, got {bits}")
    steps = 2 ** (bits - 1) - 1
    scale = weight.abs().amax(dim=inputs, keepdim=True) / steps
    return torch.where(scale > 0, (weight / scale).round() * scale, weight)
