"""What training needs of the machine: device, threads, an orderly end on SIGTERM, states that are never half there."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from factcensus.unlearn.errors import ConfigError, InterruptedRunError
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
def ended_by_sigterm() -> Iterator[None]:
    """Inside, SIGTERM ends the work at once and in order: open files are closed, the status is written.

    A training loop does better for as long as it lasts (:func:`stop_on_sigterm`): it saves its state first. Outside the
    main thread signals are left alone.

    Raises:
        InterruptedRunError: on SIGTERM.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        raise InterruptedRunError("stopped by SIGTERM; finished cells are kept, and the same command continues")

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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


class StopRequest:
    """Whether the process was asked to end; long loops look at it after each step."""

    def __init__(self) -> None:
        self.requested = False

    def check(self, save: Callable[[], None]) -> None:
        """Save and leave if a stop was requested.

        Raises:
            InterruptedRunError: after ``save`` has returned.
        """
        if self.requested:
            save()
            raise InterruptedRunError("stopped by SIGTERM; the state is saved, and the same command continues it")


@contextmanager
def stop_on_sigterm() -> Iterator[StopRequest]:
    """Turn SIGTERM into a request for as long as this lasts. Outside the main thread signals are left alone."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        request.requested = True

    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)


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
