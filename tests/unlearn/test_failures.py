"""A method with a loss that is not finite is recorded as failed and never blocks other methods."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from safetensors import SafetensorError

from factcensus.indexer.cli import main
from factcensus.indexer.errors import DiskFullError
from factcensus.unlearn.config.run_config import check_config
from factcensus.unlearn.errors import NumericsError
from factcensus.unlearn.models import save_model
from factcensus.unlearn.progress import Progress
from factcensus.unlearn.run import run_unlearning
from factcensus.unlearn.training import runtime
from factcensus.unlearn.world.pretrain import pretrain
from tiny import SMALL_MODEL

WILD: dict[str, Any] = {"preset": "grad_ascent", "name": "wild", "learning_rate": 1e30}


@pytest.fixture
def settings(world: Path, model_folder: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "model": str(model_folder),
        "facts": str(world / "facts.jsonl"),
        "out": str(tmp_path / "run"),
        "methods": ["simnpo", WILD, "idk"],
        "training": {"passes": 2, "learning_rate": 1e-4},
        "selection": {"count_column": "exposures", "forget": {"roles": ["forget"], "limit": 12}},
        "evaluator": "none",
    }


def trained(settings: dict[str, Any]) -> tuple[list[str], str]:
    """Return the methods that a call trains and its final error message."""
    seen: list[Progress] = []
    with pytest.raises(NumericsError) as failed:
        run_unlearning(check_config(settings), progress=seen.append)
    stages = dict.fromkeys(each.stage for each in seen if each.stage.startswith("unlearn "))
    return [stage.removeprefix("unlearn ") for stage in stages], str(failed.value)


def record_of(settings: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((Path(settings["out"]) / "run.json").read_text())
    return record


def test_other_methods_finish_and_the_failure_is_recorded(settings: dict[str, Any]) -> None:
    names, message = trained(settings | {"evaluator": "standard"})
    assert names == ["simnpo", "wild", "idk"]
    assert message.startswith("1 of 3 methods failed: wild: loss ")
    record = record_of(settings)
    assert record["status"] == "failed"
    assert [each["method"] for each in record["failed"]] == ["wild"]
    summary = json.loads((Path(settings["out"]) / "summary.json").read_text())
    assert [each["name"] for each in summary["methods"]] == ["simnpo", "idk"]
    assert [each["method"] for each in summary["failed"]] == ["wild"]
    assert "A method failed and has no results: wild:" in (Path(settings["out"]) / "report.html").read_text()
    assert not (Path(settings["out"]) / "cells" / "wild" / "state.pt").exists()


def test_the_next_call_skips_and_names_failed_methods(settings: dict[str, Any]) -> None:
    trained(settings)
    names, message = trained(settings)
    assert names == []
    assert "wild: loss" in message
    names, _ = trained(settings | {"methods": [*settings["methods"], "npo"]})
    assert names == ["npo"]


def test_failed_methods_run_again_with_other_settings(settings: dict[str, Any]) -> None:
    trained(settings)
    tame = [WILD | {"learning_rate": 1e-4} if each is WILD else each for each in settings["methods"]]
    folder = run_unlearning(check_config(settings | {"methods": tame}))
    record = record_of(settings)
    assert (record["status"], record["failed"], "error" in record) == ("done", [], False)
    assert (folder / "cells" / "wild" / "done.json").is_file()
    assert not (folder / "cells" / "wild" / "failed.json").exists()


@pytest.mark.parametrize(
    "changes", [{"learning_rate": 1e38}, {"passes": 0.6}, {"passes": 2, "learning_rate": 1e38}], ids=str
)
def test_overflow_and_non_finite_last_step_are_failures(settings: dict[str, Any], changes: dict[str, Any]) -> None:
    _, message = trained(settings | {"methods": [WILD | {"learning_rate": 3e38} | changes, "idk"]})
    assert message.startswith("1 of 2 methods failed: wild: ")


def test_run_with_only_failures_keeps_the_original_and_the_error(settings: dict[str, Any]) -> None:
    _, message = trained(settings | {"evaluator": "standard", "methods": [WILD]})
    assert message.startswith("1 of 1 methods failed")
    assert (Path(settings["out"]) / "facts.parquet").is_file()


def test_command_exits_with_1_and_a_sweep_continues(
    settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(settings))
    assert main(["unlearn", "run", str(path)]) == 1
    assert "1 of 3 methods failed: wild: loss" in capsys.readouterr().err
    grid = settings | {"out": str(tmp_path / "grid"), "sweep": {"seed": [0, 1]}}
    path.write_text(json.dumps(grid))
    assert main(["unlearn", "run", str(path), "--json"]) == 1
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert {(each["method"], each["status"]) for each in cells} == {
        ("simnpo", "done"),
        ("wild", "failed"),
        ("idk", "done"),
    }
    assert all(("wild: loss" in str(each["error"])) == (each["method"] == "wild") for each in cells)
    assert main(["unlearn", "status", str(path), "--json"]) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert {each["status"] for each in cells if each["method"] == "wild"} == {"failed"}


@contextmanager
def full_disk(*_: Any, **__: Any) -> Iterator[Path]:
    """Stand for a file on a disk without space."""
    yield Path("/dev/full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_and_the_same_call_continues(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings |= {"methods": ["simnpo", "idk"]}
    settings["training"] = {**settings["training"], "save_every_steps": 1}
    with monkeypatch.context() as patched:
        patched.setattr(runtime, "replaced_file", full_disk)
        with pytest.raises(DiskFullError, match=rf"the disk of {settings['out']} is full.*run the same command again"):
            run_unlearning(check_config(settings))
    run_unlearning(check_config(settings))
    assert record_of(settings)["failed"] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_in_pretraining(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "replaced_file", full_disk)
    with pytest.raises(DiskFullError, match=f"the disk of {tmp_path} is full"):
        pretrain(world, tmp_path / "model", SMALL_MODEL, 0)


def test_a_model_that_does_not_fit_the_disk_is_a_full_disk(tmp_path: Path) -> None:
    class Full:
        def save_pretrained(self, _: Path) -> None:
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(OSError, match="No space left") as full:
        save_model(cast("Any", Full()), tmp_path)
    assert full.value.errno == errno.ENOSPC
