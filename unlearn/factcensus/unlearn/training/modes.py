"""Training mode for dropout, and evaluation mode inside it.

Dropout masks depend only on seed, step and process, so a resumed run draws the same ones. They also depend on the
order of the forward passes: with dropout, the update differs between splits of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def training_mode(model: PreTrainedModel, training: bool) -> Iterator[None]:
    """Put all modules in training or evaluation mode inside the block, then restore the mode of each one."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode


@contextmanager
def dropout(model: PreTrainedModel, seed: int, step: int, process: int) -> Iterator[None]:
    """Train with the model's dropout inside the block; afterwards the random state is the same as before."""
    device = next(model.parameters()).device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), training_mode(model, True):
        torch.manual_seed(int(np.random.SeedSequence([seed, step, process, 31]).generate_state(1)[0]))
        yield
