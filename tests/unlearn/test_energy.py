"""Energy counters: their values, their wrap-around, and None without counters."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from factcensus.unlearn.planning.energy import EnergyMeter

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def powercap(root: Path, **domains: int) -> Path:
    """Write RAPL domains as on Linux, each with its microjoules; counters wrap at 1000."""
    for number, (name, value) in enumerate(domains.items()):
        folder = root / f"intel-rapl:{number}"
        folder.mkdir(parents=True)
        (folder / "name").write_text(name.replace("_", "-") + "\n")
        (folder / "max_energy_range_uj").write_text("1000\n")
        (folder / "energy_uj").write_text(f"{value}\n")
    return root


def now(root: Path, number: int, value: int) -> None:
    (root / f"intel-rapl:{number}" / "energy_uj").write_text(str(value))


def test_package_counters_are_summed_across_wraps_without_their_parts(tmp_path: Path) -> None:
    root = powercap(tmp_path, package_0=100, package_1=900, core=0, psys=0)
    meter = EnergyMeter(CPU, root)
    assert meter.read_from == ["rapl:package-0", "rapl:package-1"]
    now(root, 0, 400)
    now(root, 1, 50)  # wrapped: 150 more
    now(root, 2, 999)
    assert meter.update() == pytest.approx((300 + 150) / 1e6)
    now(root, 1, 40)  # and again: 990 more
    assert meter.update() == pytest.approx((300 + 150 + 990) / 1e6)


def test_missing_or_failing_counters_give_no_energy(tmp_path: Path) -> None:
    nothing = {"energy_joules": None, "energy_read_from": []}
    assert EnergyMeter(CPU, tmp_path / "nowhere").read() == nothing
    root = powercap(tmp_path, package_0=1)
    meter = EnergyMeter(CPU, root)
    (root / "intel-rapl:0" / "energy_uj").unlink()  # as if only root may read it
    assert meter.read() == nothing
    assert EnergyMeter(CPU, root).read() == nothing


class CardLost(Exception):
    """The error class of NVML."""


def test_gpu_energy_comes_from_nvml_or_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = powercap(tmp_path, package_0=0)
    said = iter([5_000, 7_500])
    nvml = SimpleNamespace(
        NVMLError=CardLost,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=lambda _: next(said),
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="7"))
    meter = EnergyMeter(GPU, root)
    now(root, 0, 500)
    assert meter.update() == pytest.approx(2.5 + 0.0005)
    assert meter.read_from == ["rapl:package-0", "nvml:GPU-7"]
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert EnergyMeter(GPU, root).read_from == []
