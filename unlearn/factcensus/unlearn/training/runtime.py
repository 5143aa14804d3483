"""What training needs from the machine: a device, threads, and saved states that are always complete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.training.ranks import ALONE, ManyRanks, Ranks


def resolve_device(device: str, ranks: Ranks = ALONE) -> torch.device:
    """``auto`` is a GPU where there is one; asking for a GPU that is not there is an error.

    Of several processes each has the GPU that the launcher gave it.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda' and torch sees no CUDA device here; use device = 'auto' or 'cpu'")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if isinstance(ranks, ManyRanks) and device == "cuda":
        return ranks.device
    return torch.device(device)


@contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    """Use so many threads inside; None changes nothing.

    On small models one thread is the fastest: with two on a busy machine a 4096-token step took 8 times the CPU time.
    """
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write a state so that a reader finds the old one or the new one, whenever the process ends."""
    unfinished = path.with_name(path.name + ".unfinished")
    with unfinished.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def load_state(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The state saved here, or None. Only tensors and plain values are read (``weights_only``)."""
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state
