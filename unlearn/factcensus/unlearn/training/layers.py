"""Activations at one decoder layer, without computing the layers behind it; and gradient checkpointing without dropout.

The layer behind the wanted one is replaced, for one forward pass, by a module that keeps what it is given and stops
the pass. So RMU at layer 7 of 32 costs a quarter of a forward pass, and the LM head nothing.
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
    """The forward pass has got as far as it should."""


class _Stop(torch.nn.Module):
    """Stands where a decoder layer was; the rest of the model may look at the layer's attributes through it."""

    def __init__(self, stands_for: torch.nn.Module) -> None:
        super().__init__()
        self._stands_for = [stands_for]  # in a list: no submodule, so no parameter moves
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
    """The list of a model's decoder layers.

    Raises:
        ConfigError: there is no list of modules as long as the configuration says.
    """
    configuration: Any = model.config
    number = int(configuration.get_text_config().num_hidden_layers)
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == number:
            return module
    raise ConfigError(f"{type(model).__name__}: no list of {number} decoder layers was found, which layer needs")


def resolve_layer(model: PreTrainedModel, layer: int | None) -> int:
    """The layer meant, from 0: a quarter of the way up if None.

    Raises:
        ConfigError: there is none behind it, so that nothing could be steered by it.
    """
    number = len(decoder_layers(model))
    chosen = number // 4 if layer is None else layer
    if chosen > number - 2:
        raise ConfigError(f"layer is {chosen}, and the model has {number} layers: expected 0 to {number - 2}")
    return chosen


def hidden_at(model: PreTrainedModel, batch: Batch, layer: int) -> torch.Tensor:
    """(B, T, D) output of a layer where the answers' tokens are predicted. Gradients flow if they are on."""
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
def gradient_checkpointing(model: PreTrainedModel, on: bool) -> Iterator[None]:
    """Keep a layer's input instead of all its activations while this lasts.

    Transformers checkpoints layers in training mode only, which also turns dropout on. So each layer's own flag is
    set, and those of the modules in it, where dropout is, are not.
    """
    if not on:
        yield
        return
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers: list[Any] = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ConfigError(f"{type(model).__name__} has no layer that can be checkpointed; set it to false")
    rates = [
        (layer, name, value)
        for layer in layers
        for name, value in vars(layer).items()
        if "drop" in name and isinstance(value, float)
    ]
    for layer, name, _ in rates:
        setattr(layer, name, 0.0)
    for layer in layers:  # by its flags: the method that sets them has another name in every version
        layer.gradient_checkpointing = layer.training = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = layer.training = False
        for layer, name, value in rates:
            setattr(layer, name, value)
