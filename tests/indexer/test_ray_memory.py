"""The number of units that run at a time on Ray: as many as fit in the memory of a machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from factcensus.indexer.system.places import Place
from factcensus.indexer.work import Run, WorkFolder
from factcensus.indexer.work.job import Unit
from factcensus.indexer.work.ray_runner import RayRunner


@dataclass
class Cluster:
    """A cluster in this process that finishes one task per wait, and records what tasks reserve."""

    memory: float
    most: int = 0
    reserved: list[Any] = field(default_factory=list)
    exceptions: Any = field(default_factory=lambda: SimpleNamespace(RayTaskError=KeyError, RayError=LookupError))

    def remote(self, **options: Any) -> Callable[..., Any]:
        self.reserved.append(options.get("memory"))
        return lambda _run: SimpleNamespace(remote=lambda _shared, unit: ("task", unit.number))

    def put(self, value: Any) -> Any:
        return value

    def wait(self, tasks: list[Any]) -> tuple[list[Any], list[Any]]:
        self.most = max(self.most, len(tasks))
        return tasks[:1], tasks[1:]

    def get(self, _task: Any) -> tuple[None, list[str]]:
        return None, []

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"memory": self.memory}}, {"Alive": False, "Resources": {"memory": 1e15}}]


@pytest.mark.parametrize(
    ("address", "needed", "most", "reserved", "told"),
    [
        ("local", 3 << 30, 2, None, False),
        ("auto", 3 << 30, 9, 3 << 30, False),
        ("auto", 30 << 30, 9, 8 << 30, True),
        ("auto", 0, 9, None, False),
    ],
)
def test_units_reserve_their_memory_or_are_as_few_as_fit(
    address: str,
    needed: int,
    most: int,
    reserved: int | None,
    told: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray")
    runner, cluster, notices = RayRunner(address, jobs=2), Cluster(memory=float(8 << 30)), list[str]()
    monkeypatch.setattr(runner, "_ray", cluster)

    @contextmanager
    def connected() -> Any:
        yield

    monkeypatch.setattr(runner, "connected", connected)
    job: Any = SimpleNamespace(unit_bytes=needed)
    units = [Unit("shards", number, 1) for number in range(9)]
    assert runner(job, WorkFolder(Place.of(tmp_path)), units, Run(notice=notices.append)) == []
    assert cluster.most == most
    assert cluster.reserved == [reserved]
    assert bool(notices) == told
