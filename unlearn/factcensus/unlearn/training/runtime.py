"""The device, threads, and saved states of a training run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from factcensus.indexer.system.files import replaced_file
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.training.ranks import ALONE, ManyRanks, Ranks


def resolve_device(device: str, ranks: Ranks = ALONE) -> torch.device:
    """Return the device; ``auto`` means a GPU if there is one.

    With several processes, each uses the GPU assigned by the launcher.

    Raises:
        ConfigError: the device is ``cuda``, but there is no CUDA device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', but torch finds no CUDA device; use device = 'auto' or 'cpu'")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if isinstance(ranks, ManyRanks) and device == "cuda":
        return ranks.device
    return torch.device(device)


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Set the number of torch threads inside the block; None changes nothing.

    One thread is fastest for small models: with two threads on a busy machine, a step of 4096 tokens took 8 times the
    CPU time.
    """
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write a state atomically.

    Raises:
        OSError: it cannot be written; torch would hide the reason if it opened the file itself.
    """
    with replaced_file(path, durable=True) as partial, partial.open("wb") as file:
        torch.save(state, file)


def load_state(path: Path, device: torch.device) -> dict[str, Any] | None:
    """Return the saved state, or None. Only tensors and plain values are read (``weights_only``)."""
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state
