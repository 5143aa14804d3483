"""How much memory a device has, and how much a piece of work took at most."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def total_bytes(device: torch.device) -> int:
    """Memory that a process may use there: a GPU's, or the machine's, where a container's limit is below it."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _LIMITS:
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(path.read_text()))
    return total


def process_bytes() -> int:
    """Resident memory of this process now; where the system does not say, the most it ever had."""
    return _status("VmRSS") or _most_ever()


class PeakMemory:
    """The most memory since this was made: allocated tensors on a GPU, resident memory of the process elsewhere."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far

    def read_bytes(self) -> int:
        """The peak so far."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        return _status("VmHWM") or _most_ever()


def _status(name: str) -> int | None:
    """A size from Linux' own record of this process."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return None


def _most_ever() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
