"""Outputs of the original model, without a second model in memory.

With an adapter, the original is the model with its adapter switched off, which costs one more forward pass without
gradient and no memory. Otherwise the outputs are computed once, before training. For logits, the input of the LM head
is cached, (D,) per token instead of (V,), together with one copy of the head, which gives the same logits (0.5 GB
instead of 14 GB for a model of 7e9 parameters). For activations at a layer, these activations are cached.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch

from factcensus.unlearn.stopping import check_stop
from factcensus.unlearn.training.adapters import Adapter
from factcensus.unlearn.training.examples import Batch, Example, collate
from factcensus.unlearn.training.layers import hidden_at
from factcensus.unlearn.training.modes import training_mode
from factcensus.unlearn.training.scoring import AnswerOutput, answer_logits, forward_answers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Arithmetic = Callable[[], AbstractContextManager[Any]]
BATCH = 32


class Reference(Protocol):
    """Returns the original model's logits (B, T, V), float32, or activations (B, T, D) for a batch."""

    def __call__(self, indices: Sequence[int], batch: Batch) -> torch.Tensor:
        """Return the values without gradient; after the end of an answer they are meaningless.

        Args:
            indices: Indices of the batch's examples, in order.
            batch: The batch, on the device of the result.
        """
        ...


class AdapterOffReference:
    """The model itself with its adapter switched off."""

    def __init__(self, model: PreTrainedModel, adapter: Adapter, layer: int | None, arithmetic: Arithmetic) -> None:
        self._model, self._adapter, self._layer, self._arithmetic = model, adapter, layer, arithmetic

    @torch.no_grad()
    def __call__(self, indices: Sequence[int], batch: Batch) -> torch.Tensor:  # noqa: ARG002 - required by the protocol
        """Return the original model's values; see :class:`Reference`."""
        with self._adapter.off(), training_mode(self._model, False), self._arithmetic():
            if self._layer is None:
                return answer_logits(self._model, batch)
            return hidden_at(self._model, batch, self._layer)


class CachedReference:
    """Outputs of the model at the time of construction, cached on the CPU.

    Args:
        model: The original model; it may be trained afterwards.
        examples: All examples.
        wanted: Indices of the examples to cache.
        pad_id: Any token id.
        layer: The layer whose activations are cached; None for logits.
        arithmetic: The arithmetic used in training.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: PreTrainedModel,
        examples: Sequence[Example],
        wanted: Collection[int],
        pad_id: int,
        layer: int | None,
        arithmetic: Arithmetic,
    ) -> None:
        self._arithmetic = arithmetic
        self._kept: dict[int, torch.Tensor] = {}
        self._head: Any = copy.deepcopy(cast("Any", model).get_output_embeddings()) if layer is None else None
        device = next(model.parameters()).device
        order = sorted(wanted, key=lambda index: len(examples[index]))
        for start in range(0, len(order), BATCH):
            check_stop()
            chosen = order[start : start + BATCH]
            batch = collate([examples[index] for index in chosen], pad_id).to(device)
            with arithmetic():
                if layer is not None:
                    values = hidden_at(model, batch, layer)
                else:
                    output = forward_answers(model, batch)
                    if start == 0 and not self._says(output):
                        self._head = None  # the model changes logits after its head, so cache the logits
                    values = output.logits if self._head is None else output.hidden
            for row, index in enumerate(chosen):
                self._kept[index] = values[row, : len(examples[index].answer_ids)].cpu()

    @torch.no_grad()
    def __call__(self, indices: Sequence[int], batch: Batch) -> torch.Tensor:
        """Return the original model's values; see :class:`Reference`."""
        values = torch.nn.utils.rnn.pad_sequence([self._kept[index] for index in indices], batch_first=True)
        values = values.to(batch.input_ids.device)
        missing = batch.answer_mask.shape[1] - values.shape[1]
        values = torch.nn.functional.pad(values, (0, 0, 0, missing))
        if self._head is None:
            return values
        with self._arithmetic():
            return self._head(values).float()  # type: ignore[no-any-return]

    def _says(self, output: AnswerOutput) -> bool:
        """Return whether the head alone gives the model's logits."""
        return torch.allclose(self._head(output.hidden).float(), output.logits, rtol=1e-4, atol=1e-4)

    @property
    def size_bytes(self) -> int:
        """Memory of the cache, including the copy of the head."""
        head = 0 if self._head is None else sum(each.nbytes for each in self._head.parameters())
        return head + sum(each.nbytes for each in self._kept.values())
