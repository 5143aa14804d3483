"""Grids: their runs, and that finished runs are never repeated."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from factcensus.indexer.errors import DiskFullError
from factcensus.unlearn.errors import ConfigError, RunFolderError
from factcensus.unlearn.progress import Progress
from factcensus.unlearn.sweep.grid import Sweep, read_sweep
from factcensus.unlearn.sweep.run import run_sweep, sweep_status

BASE: dict[str, Any] = {"model": "m", "facts": "f.csv", "out": "o", "methods": ["simnpo"]}


def written(folder: Path, sweep: Any, **settings: Any) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({**BASE, **settings, "sweep": sweep}, sort_keys=False))
    return path


def names(sweep: Sweep) -> list[str]:
    return [point.name for point in sweep.points]


def test_every_combination_is_a_run_with_a_separate_folder(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"seed": [0, 1], "training": {"learning_rate": [1e-5, 2e-4]}, "methods": ["npo", ["idk", "simnpo"]]},
    )
    sweep = read_sweep(path)
    assert sweep.keys == ("seed", "training.learning_rate", "methods")
    assert len(sweep.points) == 8
    first, last = sweep.points[0], sweep.points[-1]
    assert first.name == "seed=0,learning_rate=1e-05,methods=npo"
    assert first.config.out == Path("o") / first.name
    assert (first.config.seed, first.config.training.learning_rate) == (0, 1e-5)
    assert [method.name for method in last.config.methods] == ["idk", "simnpo"]
    assert (last.config.seed, last.config.training.learning_rate) == (1, 2e-4)


def test_a_list_of_grids_is_their_union(tmp_path: Path) -> None:
    path = written(tmp_path, [{"seed": [0, 1]}, {"seed": [1, 2], "template": ["chat"]}, {"seed": [0]}])
    assert names(read_sweep(path)) == ["seed=0", "seed=1", "seed=1,template=chat", "seed=2,template=chat"]


@given(st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=6, unique=True))
def test_different_rates_never_share_a_folder(rates: list[float]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        sweep = read_sweep(written(Path(folder), {"training.learning_rate": rates}))
    assert [point.config.training.learning_rate for point in sweep.points] == rates
    assert len(set(names(sweep))) == len(rates)


def test_methods_that_differ_inside_have_different_folders(tmp_path: Path) -> None:
    methods = [{"preset": "simnpo", "gamma": gamma} for gamma in (0.5, 1.0)]
    assert len(set(names(read_sweep(written(tmp_path, {"methods": methods}))))) == 2


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ({"seed": 3}, r"sweep.seed is 3; expected a list of values, such as \[3\]"),
        ({"seed": []}, "sweep.seed"),
        ({}, "expected keys with lists"),
        ({"training.passes": [1], "training": {"passes": [2]}}, "sweep has 'training.passes' twice"),
        ({"sed": [1]}, "the run sed=1: unknown key 'sed'; did you mean 'seed'"),
        ({"training.learning_rate": [1e-5, -1.0]}, "the run learning_rate=.*greater than 0"),
        ({"out": ["a"]}, "out cannot vary"),
        ({"methods": ["simnop"]}, "unknown preset 'simnop'"),
    ],
)
def test_invalid_grids_are_refused_before_anything_runs(tmp_path: Path, sweep: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_sweep(written(tmp_path, sweep))


@pytest.fixture
def settings(world: Path, model_folder: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "model": str(model_folder),
        "facts": str(world / "facts.jsonl"),
        "out": str(tmp_path / "sweep"),
        "evaluator": "none",
        "selection": {"forget": {"roles": ["forget"], "limit": 4}, "count_column": "exposures"},
        "training": {"passes": 1, "batch_forget": 4, "batch_retain": 4},
    }


@dataclass
class Trained:
    """The names of the runs that a sweep trains, read from its progress."""

    names: list[str] = field(default_factory=list)
    current: str = ""

    def __call__(self, progress: Progress) -> None:
        if progress.stage == "sweep":
            self.current = progress.detail
        elif progress.stage.startswith("unlearn ") and progress.done == 1:
            self.names.append(self.current)


def test_changing_the_grid_does_not_repeat_finished_runs(settings: dict[str, Any], tmp_path: Path) -> None:
    trained = Trained()
    result = run_sweep(read_sweep(written(tmp_path, {"seed": [0, 1]}, **settings)), progress=trained)
    assert trained.names == ["seed=0", "seed=1"]
    assert result.failed == {}
    assert [(row["seed"], row["status"]) for row in result.rows] == [(0, "done"), (1, "done")]
    # Another axis with the old value and another seed change the folder names, but finished runs are still found.
    larger = {"training.learning_rate": [2e-5, 1e-5], "seed": [0, 1]}
    before = sweep_status(read_sweep(written(tmp_path, larger, **settings)))
    assert [row["status"] for row in before] == ["pending", "pending", "done", "done"]
    result = run_sweep(read_sweep(written(tmp_path, larger, **settings)), progress=trained)
    assert trained.names[2:] == ["learning_rate=2e-05,seed=0", "learning_rate=2e-05,seed=1"]
    table = pq.read_table(result.path)
    assert table["status"].to_pylist() == ["done"] * 4
    assert table["training.learning_rate"].to_pylist() == [2e-5, 2e-5, 1e-5, 1e-5]
    assert all(loss > 0 for loss in table["retain_loss_nats"].to_pylist())
    assert all(size > 0 for size in table["peak_memory_bytes"].to_pylist())
    run_sweep(read_sweep(written(tmp_path, larger, **settings)), progress=trained)
    assert len(trained.names) == 4


def test_failed_runs_are_recorded_and_the_others_continue(settings: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path, {"selection.forget.relations": [["no-such"], ["birth_city"]], "seed": [5]}, **settings)
    result = run_sweep(read_sweep(path))
    assert [row["status"] for row in result.rows] == ["failed", "done"]
    assert list(result.failed) == ["relations=no-such,seed=5"]
    assert "no fact meets" in result.failed["relations=no-such,seed=5"]


def test_a_full_disk_ends_the_grid_and_fails_no_run(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = read_sweep(written(tmp_path, {"seed": [5, 6]}, **settings))
    begun: list[int] = []

    def refuse(config: Any, *_: Any, **__: Any) -> None:
        begun.append(config.seed)
        raise DiskFullError("the disk is full")

    monkeypatch.setattr("factcensus.unlearn.run.run_unlearning", refuse)
    with pytest.raises(DiskFullError):
        run_sweep(sweep)
    assert begun == [5]
    assert {row["status"] for row in sweep_status(sweep)} == {"pending"}


def test_original_is_evaluated_once_for_equal_evaluations(settings: dict[str, Any], tmp_path: Path) -> None:
    import pyarrow as pa

    points: list[str] = []

    class Recorder:
        def evaluate(self, *_: Any, point: str, **__: Any) -> tuple[pa.Table, pa.Table]:
            points.append(point)
            return pa.table({"point": [point]}), pa.table({"point": [point]})

        def finish(self, run_folder: Path) -> None:
            pass

    settings = {**settings, "evaluator": "standard"}
    sweep = read_sweep(written(tmp_path, {"training.learning_rate": [1e-5, 2e-5], "seed": [0, 1]}, **settings))
    run_sweep(sweep, Recorder)
    assert points.count("after") == 4
    assert points.count("before") == 2  # one per seed, because the forget sets differ
    notes = [json.loads(path.read_text()) for path in Path(settings["out"]).glob("*/cells/original/done.json")]
    assert sum("taken_over_from" in note for note in notes) == 2


def test_a_folder_with_other_files_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    Path(settings["out"]).mkdir()
    (Path(settings["out"]) / "thesis.tex").write_text("mine")
    with pytest.raises(RunFolderError, match=r"thesis\.tex"):
        run_sweep(read_sweep(written(tmp_path, {"seed": [0]}, **settings)))
