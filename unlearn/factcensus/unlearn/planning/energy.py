"""Measure the energy of a piece of work, with RAPL on Linux and NVML for GPUs.

Counters cover whole processor packages and GPUs, so other work on them is included. Nothing is estimated: if the
counter of the computing device cannot be read (as in most containers and virtual machines), the result is None.
"""

from __future__ import annotations

import contextlib
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch

POWERCAP = Path("/sys/class/powercap")


class EnergyCounter(Protocol):
    """An energy counter.

    Attributes:
        name: The source, such as ``rapl:package-0``.
    """

    name: str

    def joules(self) -> float:
        """Return the joules since construction; raise OSError if the counter cannot be read."""
        ...


class EnergyMeter:
    """Measures joules since construction. Call :meth:`update` every few minutes, because RAPL counters wrap around.

    Args:
        device: The computing device. For a GPU, its counter must be readable; processor counters are added if readable.
        powercap: The RAPL folder; by default that of Linux.
    """

    def __init__(self, device: torch.device, powercap: Path | None = None) -> None:
        self._counters: list[EnergyCounter] = []
        with contextlib.suppress(OSError, ValueError):
            self._counters += _packages(powercap or POWERCAP)
        if device.type != "cpu":
            card = _card(device)
            self._counters = [] if card is None else [*self._counters, card]

    @property
    def read_from(self) -> list[str]:
        """Names of the counters; empty if there are none."""
        return [counter.name for counter in self._counters]

    def update(self) -> float | None:
        """Return the joules so far, or None if they cannot be read."""
        try:
            return sum(counter.joules() for counter in self._counters) if self._counters else None
        except OSError:
            self._counters = []
            return None

    def read(self) -> dict[str, Any]:
        """Return ``energy_joules`` and its sources."""
        joules = self.update()
        return {"energy_joules": None if joules is None else round(joules, 3), "energy_read_from": self.read_from}


class _Package:
    """Counter of a processor package, in microjoules, which wraps around."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last, self._total = int(self._path.read_text()), 0
        self.name = f"rapl:{(folder / 'name').read_text().strip()}"

    def joules(self) -> float:
        now = int(self._path.read_text())
        self._total += now - self._last if now >= self._last else now + self._range - self._last
        self._last = now
        return self._total / 1e6


class _Card:
    """Counter of a GPU, in millijoules since the driver was loaded."""

    def __init__(self, nvml: Any, uuid: str) -> None:
        self._nvml, self._handle = nvml, nvml.nvmlDeviceGetHandleByUUID(uuid)
        self._first = self._millijoules()
        self.name = f"nvml:{uuid}"

    def _millijoules(self) -> int:
        return int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle))

    def joules(self) -> float:
        try:
            return (self._millijoules() - self._first) / 1e3
        except self._nvml.NVMLError as error:
            raise OSError(str(error)) from error


def _packages(powercap: Path) -> list[EnergyCounter]:
    """Return the package counters; cores and memory are parts of a package, and `psys` is their total."""
    found: list[EnergyCounter] = []
    for folder in sorted(powercap.glob("*:*")):
        if (folder / "name").is_file() and (folder / "name").read_text().startswith("package"):
            found.append(_Package(folder))
    return found


def _card(device: torch.device) -> EnergyCounter | None:
    """Return the counter of this GPU; None without the package `nvidia-ml-py` or if the GPU has no counter."""
    try:
        nvml: Any = import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        return _Card(nvml, f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except (nvml.NVMLError, AttributeError):
        return None
