"""The stages of ``make check-full``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def check_full() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_full", ROOT / ".ci" / "check_full.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def exits(check_full: ModuleType, name: str, status: int) -> object:
    return check_full.Stage(name, f"what {name} does", [sys.executable, "-c", f"raise SystemExit({status})"])


def test_every_stage_is_announced_and_its_time_reported(check_full: ModuleType) -> None:
    said: list[str] = []
    assert check_full.run([exits(check_full, name, 0) for name in ("one", "two")], said.append) == 0
    assert said[:2] == ["stage 1 of 2, one: what one does", "stage 2 of 2, two: what two does"]
    assert [line.split()[0] for line in said[2:4]] == ["one", "two"]
    assert said[4].startswith("all stages passed")


def test_the_first_failing_stage_ends_the_run(check_full: ModuleType) -> None:
    said: list[str] = []
    stages = [exits(check_full, name, status) for name, status in (("one", 0), ("two", 3), ("three", 0))]
    assert check_full.run(stages, said.append) == 3
    assert not [line for line in said if line.startswith("stage 3")]
    assert said[-2:] == [
        "FAILED in stage two (exit status 3); stages that did not run: three",
        'run it again with: make check-full STAGES="two"',
    ]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not count mapped memory")
def test_a_process_cannot_take_more_memory_than_allowed(
    check_full: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_full, "MEMORY_BYTES", 1 << 28)
    take = [sys.executable, "-c", "raise SystemExit(len(bytes(1 << 29)) == 0)"]
    stages = [check_full.Stage("large", "takes 512 MiB", take, limited=limited) for limited in (False, True)]
    assert [check_full.run([stage], lambda _line: None) for stage in stages] == [0, 1]


def test_unknown_stages_are_named(check_full: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_full.main(["tests", "bond"]) == 2
    assert capsys.readouterr().out == "unknown stages: bond; known: lint, tests, bounds, stack\n"


def test_the_tests_of_the_stages_exist(check_full: ModuleType) -> None:
    assert all((ROOT / name).is_file() for name in check_full.KERNEL_TESTS)
