"""The devices of a run: those of this machine, or GPUs that a plan assumes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cache

import torch

from factcensus.indexer.numbers import parse_size
from factcensus.unlearn.config.run_config import RunConfig
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.planning.memory import total_bytes
from factcensus.unlearn.training.ranks import Ranks

#: Share of the rate of a bare matrix product that training reaches; element-wise work and the optimiser take the rest.
SHARE_OF_PRODUCT = 0.5
#: Operations per second of an A100 without sparsity, by type of the arithmetic.
A100_RATES = {"float32": 19.5e12, "bfloat16": 312e12, "bfloat16-autocast": 312e12}
#: Memory of a GPU that is sold with 80 GB, as its driver reports it.
A100_MEMORY = "79GiB"


@dataclass(frozen=True, slots=True)
class Hardware:
    """One device per process.

    Attributes:
        name: The device as messages name it.
        kind: ``cpu`` or ``cuda``.
        count: Number of processes.
        memory_bytes: Memory of each device, or the limit ``memory`` of the run.
        assumed_rate: Operations per second of a matrix product; None to measure it here.
        assumed: Whether the devices are not those of this machine.
    """

    name: str
    kind: str
    count: int
    memory_bytes: int
    assumed_rate: float | None = None
    assumed: bool = False

    def rate(self, dtype: str, width: int) -> float:
        """Return the operations per second that training reaches on one device."""
        measured = self.assumed_rate or product_rate(self.kind, dtype, width)
        return SHARE_OF_PRODUCT * measured


def this_machine(config: RunConfig, device: torch.device, ranks: Ranks) -> Hardware:
    """Return the device of this process, and the number of processes of the launcher."""
    limit = None if config.memory is None else parse_size(config.memory)
    return Hardware(str(device), device.type, ranks.count, total_bytes(device) if limit is None else limit)


def assumed_gpus(config: RunConfig, count: int, memory_bytes: int | None = None, rate: float | None = None) -> Hardware:
    """Return GPUs that this machine need not have; by default A100 with 80 GB."""
    return Hardware(
        f"{count} GPU{'s' if count > 1 else ''} (assumed)",
        "cuda",
        count,
        memory_bytes or parse_size(config.memory or A100_MEMORY),
        rate or A100_RATES[config.dtype],
        assumed=True,
    )


def check_sharding(config: RunConfig, processes: int) -> None:
    """Check that there are processes to share a model.

    Raises:
        ConfigError: ``fsdp`` is set, but there is one process.
    """
    if config.fsdp and processes == 1:
        raise ConfigError(
            "fsdp shares a model between processes, but there is one; start with `accelerate launch --num_processes N "
            "-m factcensus unlearn run CONFIG` (`unlearn plan --gpus N` plans for them), or set fsdp to false"
        )


@cache
def product_rate(device: str, dtype: str, width: int) -> float:
    """Return the operations per second of a matrix product (512, width) x (width, 4 width), the best of four."""
    kind = torch.float32 if dtype == "float32" else torch.bfloat16
    left = torch.ones(512, width, device=device, dtype=kind)
    right = torch.ones(width, 4 * width, device=device, dtype=kind)
    best = math.inf
    for _ in range(4):  # the first one warms up
        begun = time.perf_counter()
        (left @ right).sum().item()
        best = min(best, time.perf_counter() - begun)
    return 2.0 * 512 * width * 4 * width / best
