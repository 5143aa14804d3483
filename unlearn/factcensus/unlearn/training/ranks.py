"""Training with several processes: each takes part of every batch, and gradients are *summed* over all processes.

Every loss is divided by the size of the whole batch, so the update equals that of a single process up to the order of
summation. (Data-parallel wrappers average over ranks, which differs if parts have different sizes.) Parts come from one
shared order of the examples, which depends only on seed, name, epoch and position, so no two ranks use the same row.

Start the processes with ``accelerate launch`` or ``torchrun``; accelerate chooses the back end (NCCL, gloo). Every rank
holds the whole model, or a share of it while it trains (:mod:`factcensus.unlearn.training.weights`). The first rank
evaluates and writes; the others wait for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import cache
from importlib.util import find_spec
from typing import Any, TypeVar

import torch

from factcensus.unlearn.errors import ConfigError

Item = TypeVar("Item")

#: Maximum time that a rank waits for another one; an evaluation by the first rank may take hours.
PATIENCE = timedelta(hours=24)
#: Maximum number of elements per message when summing gradients (64 MiB in float32).
BUCKET_ELEMENTS = 1 << 24


class Ranks:
    """The processes of a run. This base class is a single process: it sums nothing and never waits.

    Attributes:
        index: Index of this process, from 0.
        count: Number of processes.
    """

    index, count = 0, 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports."""
        return self.index == 0

    def share(self, items: Sequence[Item]) -> list[Item]:
        """Return this process's part of a batch: every ``count``-th item. May be empty."""
        return list(items[self.index :: self.count])

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes; a process without a part counts as zero."""

    def sum(self, *values: float) -> tuple[float, ...]:
        """Return the sum of each number over all processes."""
        return values

    def any(self, flag: bool) -> bool:
        """Return whether the flag is true in any process."""
        return self.sum(float(flag))[0] > 0

    def wait(self) -> None:
        """Wait until all processes have called this."""

    def now(self) -> datetime:
        """Return the local time of the first process, in whole seconds; the same in every process."""
        (seconds,) = self.sum(float(int(time.time())) if self.is_first else 0.0)
        return datetime.fromtimestamp(seconds)


class ManyRanks(Ranks):
    """Processes connected by torch.distributed, as set up by accelerate."""

    def __init__(self, index: int, count: int, device: torch.device) -> None:
        self.index, self.count, self.device = index, count, device

    @torch.no_grad()
    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes; a process without a part counts as zero."""
        bucket: list[torch.Tensor] = []
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradient = parameter.grad
            if bucket and (bucket[0].dtype != gradient.dtype or _elements(bucket) + gradient.numel() > BUCKET_ELEMENTS):
                _sum_bucket(bucket)
                bucket = []
            bucket.append(gradient)
        if bucket:
            _sum_bucket(bucket)

    def sum(self, *values: float) -> tuple[float, ...]:
        """Return the sum of each number over all processes."""
        total = torch.tensor(values, dtype=torch.float64 if self.device.type != "mps" else torch.float32)
        total = total.to(self.device)
        torch.distributed.all_reduce(total)
        return tuple(total.tolist())

    def wait(self) -> None:
        """Wait until all processes have called this."""
        self.sum(0.0)


def _elements(bucket: Sequence[torch.Tensor]) -> int:
    return sum(gradient.numel() for gradient in bucket)


def _sum_bucket(bucket: Sequence[torch.Tensor]) -> None:
    flat = torch.cat([gradient.flatten() for gradient in bucket])
    torch.distributed.all_reduce(flat)
    parts = torch.split(flat, [gradient.numel() for gradient in bucket])
    for gradient, summed in zip(bucket, parts, strict=True):
        gradient.copy_(summed.view_as(gradient))


ALONE = Ranks()


@cache
def current_ranks(cpu: bool = False) -> Ranks:
    """Return the connected processes of the launcher; :data:`ALONE` without a launcher.

    Args:
        cpu: Compute on the CPU even if there are other devices.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    if find_spec("accelerate") is None:
        raise ConfigError(
            "a launcher started several processes, but accelerate, which connects them, is not installed; run "
            "`pip install 'factcensus[unlearn]'`, or start a single process"
        )
    from accelerate import PartialState

    state: Any = PartialState(cpu=cpu, timeout=PATIENCE)
    return ManyRanks(state.process_index, state.num_processes, state.device)
