"""The memory of a device, and the peak memory of a piece of work."""

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
    """Return the memory of a GPU, or that of the machine within the limit of its container."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _LIMITS:
        with contextlib.suppress(OSError, ValueError):
            total = min(total, int(path.read_text()))
    return total


def process_bytes() -> int:
    """Return the resident memory of this process; if the system does not report it, its peak."""
    return _status("VmRSS") or _most_ever()


class PeakMemory:
    """Measures peak memory since construction: allocated tensors on a GPU, else resident memory of the process."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # Linux: reset the peak

    def read_bytes(self) -> int:
        """Return the peak so far."""
        if self._device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self._device))
        return _status("VmHWM") or _most_ever()


def _status(name: str) -> int | None:
    """Return a size from the Linux status of this process."""
    with contextlib.suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    return None


def _most_ever() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
