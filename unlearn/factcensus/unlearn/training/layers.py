"""Activations at one decoder layer, without computing later layers; and gradient checkpointing without dropout.

For one forward pass, the layer after the requested one is replaced by a module that stores its input and stops the
pass. RMU at layer 7 of 32 therefore costs a quarter of a forward pass and skips the LM head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.checkpoint import checkpoint

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.training.examples import Batch
from factcensus.unlearn.training.scoring import model_arguments

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class _Reached(Exception):
    """The forward pass has reached the requested layer."""


class _Stop(torch.nn.Module):
    """Replaces a decoder layer and forwards access to the attributes of that layer."""

    def __init__(self, stands_for: torch.nn.Module) -> None:
        super().__init__()
        self._stands_for = [stands_for]  # in a list, so that torch does not register it as a submodule
        self.seen: torch.Tensor | None = None

    def forward(self, *arguments: Any, **named: Any) -> None:
        self.seen = arguments[0] if arguments else named["hidden_states"]
        raise _Reached

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self._stands_for[0], name)


def decoder_layers(model: PreTrainedModel) -> torch.nn.ModuleList:
    """Return the list of a model's decoder layers.

    Raises:
        ConfigError: no list of modules has the length that the configuration gives.
    """
    configuration: Any = model.config
    number = int(configuration.get_text_config().num_hidden_layers)
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == number:
            return module
    raise ConfigError(f"{type(model).__name__}: found no list of {number} decoder layers, which `layer` needs")


def resolve_layer(model: PreTrainedModel, layer: int | None) -> int:
    """Return the index of the layer, from 0; by default a quarter of the way up.

    Raises:
        ConfigError: no layer follows it, so it could not affect the output.
    """
    number = len(decoder_layers(model))
    chosen = number // 4 if layer is None else layer
    if chosen > number - 2:
        raise ConfigError(f"layer is {chosen}, but the model has {number} layers: expected 0 to {number - 2}")
    return chosen


def hidden_at(model: PreTrainedModel, batch: Batch, layer: int) -> torch.Tensor:
    """Return a layer's output where the answers' tokens are predicted, (B, T, D). Gradients flow if enabled."""
    layers = decoder_layers(model)
    behind = layers[layer + 1]
    stop = _Stop(behind)
    layers[layer + 1] = stop
    try:
        model(**model_arguments(model, batch))
    except _Reached:
        pass
    finally:
        layers[layer + 1] = behind
    assert stop.seen is not None, "the pass goes through every layer"
    index = batch.answer_positions.unsqueeze(-1).expand(-1, -1, stop.seen.shape[-1])
    return stop.seen.gather(1, index)


@contextmanager
def gradient_checkpointing(model: PreTrainedModel, on: bool, dropout: bool = False) -> Iterator[None]:
    """Inside the block, store only each layer's input and recompute its activations.

    Transformers checkpoints layers only in training mode, which also enables dropout. Therefore only the flag of each
    layer is set, not those of its submodules, which contain dropout. With ``dropout``, the rates of the layers stay.
    """
    if not on:
        yield
        return
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers: list[Any] = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ConfigError(
            f"{type(model).__name__} does not support gradient checkpointing; "
            "set training.gradient_checkpointing to false"
        )
    rates = [
        (layer, name, value)
        for layer in ([] if dropout else layers)
        for name, value in vars(layer).items()
        if "drop" in name and isinstance(value, float)
    ]
    for layer, name, _ in rates:
        setattr(layer, name, 0.0)
    for (
        layer
    ) in layers:  # set the flags directly, because the method that sets them has different names across versions
        layer.gradient_checkpointing = layer.training = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = layer.training = False
        for layer, name, value in rates:
            setattr(layer, name, value)
