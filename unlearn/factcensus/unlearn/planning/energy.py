"""How much energy a piece of work took, where the machine can be asked: RAPL on Linux, NVML for a GPU.

Counters are of whole packages and whole cards, so what else ran there is in the figure. Nothing is estimated: where a
counter of the device that computes cannot be read (in most containers and virtual machines), the answer is None.
"""

from __future__ import annotations

import contextlib
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch

POWERCAP = Path("/sys/class/powercap")


class Counter(Protocol):
    """Energy since some time in the past.

    Attributes:
        name: How it is read, such as ``rapl:package-0``.
    """

    name: str

    def joules(self) -> float:
        """Joules since the counter was made; OSError if it cannot be read any more."""
        ...


class EnergyMeter:
    """Joules since this was made. Call :meth:`update` at least every few minutes: RAPL's counters start again at 0.

    Args:
        device: Where the work is done: a GPU's own counter must be readable, the processors' is added if it is.
        powercap: Where Linux shows RAPL.
    """

    def __init__(self, device: torch.device, powercap: Path = POWERCAP) -> None:
        self._counters: list[Counter] = []
        with contextlib.suppress(OSError, ValueError):
            self._counters += _packages(powercap)
        if device.type != "cpu":
            card = _card(device)
            self._counters = [] if card is None else [*self._counters, card]

    @property
    def read_from(self) -> list[str]:
        """The counters that are read; empty where there is none."""
        return [counter.name for counter in self._counters]

    def update(self) -> float | None:
        """Joules so far, or None if they cannot be read."""
        try:
            return sum(counter.joules() for counter in self._counters) if self._counters else None
        except OSError:
            self._counters = []
            return None

    def read(self) -> dict[str, Any]:
        """``energy_joules`` and how it was read."""
        joules = self.update()
        return {"energy_joules": None if joules is None else round(joules, 3), "energy_read_from": self.read_from}


class _Package:
    """A processor package: microjoules that start again at 0 after a range."""

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
    """A GPU: millijoules since the driver was loaded."""

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


def _packages(powercap: Path) -> list[Counter]:
    """Packages only: cores and memory are parts of one, and `psys` is the whole of them."""
    found: list[Counter] = []
    for folder in sorted(powercap.glob("*:*")):
        if (folder / "name").is_file() and (folder / "name").read_text().startswith("package"):
            found.append(_Package(folder))
    return found


def _card(device: torch.device) -> Counter | None:
    """The counter of this GPU; None without the package `nvidia-ml-py`, or on a card that does not count."""
    try:
        nvml: Any = import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        return _Card(nvml, f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    except (nvml.NVMLError, AttributeError):
        return None
