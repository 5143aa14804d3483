"""Work folders: a toy job of two stages under every runner, interrupted, repeated and shared."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from factcensus.indexer.corpus import SourceFile, find_source_files
from factcensus.indexer.errors import InputError
from factcensus.indexer.system.places import Place, PlaceError
from factcensus.indexer.work import Plan, Run, RunUnit, Unit, WorkFolder, job_of, run_job
from factcensus.indexer.work.job import progress_of
from factcensus.indexer.work.runners import LocalRunner, load_runner

STAGES = ("read", "sum")


@dataclass(frozen=True)
class Toy:
    """Adds the sizes of the words of files: a unit per file, then a unit per three of those."""

    texts: tuple[str, ...]
    stages: Sequence[str] = STAGES

    def units(self, stage: str, folder: WorkFolder) -> list[Unit]:
        if stage == "read":
            return [Unit("read", n, len(text), text, (f"file {n}",)) for n, text in enumerate(self.texts)]
        assert len(folder.done("read")) == len(self.texts)
        numbers = range(len(self.texts))
        return [Unit("sum", n, 1, tuple(numbers[first : first + 3])) for n, first in enumerate(numbers[::3])]

    def start(self, folder: WorkFolder) -> RunUnit:
        def run(unit: Unit, on_bytes: Callable[[int], None], notice: Callable[[str], None]) -> bytes:
            on_bytes(unit.size_bytes)
            if unit.stage == "read":
                if unit.what == "bad":
                    raise InputError("file 1, line 1: bad line")
                if unit.what == "unreachable":
                    raise PlaceError("cannot read s3://bucket/file: SlowDown")
                notice(f"read {unit.number}")
                return str(sum(map(len, unit.what.split()))).encode()
            return str(sum(int(folder.read(Unit("read", number, 0))) for number in unit.what)).encode()

        return run

    def finish(self, folder: WorkFolder, out: Place, *, allow_missing: bool = False) -> str:
        raise NotImplementedError


TEXTS = ("a bb", "ccc", "d ee fff", "", "gggg", "h", "ii jj")
RESULT = {
    "read/000000": b"3",
    "read/000001": b"3",
    "read/000002": b"6",
    "read/000003": b"0",
    "read/000004": b"4",
    "read/000005": b"1",
    "read/000006": b"4",
    "sum/000000": b"12",
    "sum/000001": b"5",
    "sum/000002": b"4",
}


def plan_of(texts: Sequence[str], **settings: object) -> Plan:
    files = [SourceFile(f"/{n}.jsonl", f"{n}.jsonl", len(text), "1") for n, text in enumerate(texts)]
    return Plan.of("toy", {"windows": [], **settings}, files, {"facts.parquet": b"facts"})


def new_folder(place: str | Path, texts: Sequence[str] = TEXTS) -> WorkFolder:
    folder = WorkFolder(Place.of(place))
    folder.claim(plan_of(texts), {"facts.parquet": b"facts"})
    return folder


def objects(folder: WorkFolder) -> dict[str, bytes]:
    """Return the objects of units; a killed process may leave temporary files next to them."""
    names = [name for name in folder.place.files() if name.startswith(STAGES) and not name.endswith(".partial")]
    return {name: (folder.place / name).read() for name in names}


def test_local_runner_runs_all_stages(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "w")
    told: list[str] = []
    after = run_job(Toy(TEXTS), folder, LocalRunner(), Run(notice=told.append))
    assert after.stage is None
    assert objects(folder) == RESULT
    assert sorted(told) == [f"read {n}" for n in range(len(TEXTS))]
    assert folder.input("facts.parquet") == b"facts"


def test_work_in_a_store_equals_local_work(bucket: str) -> None:
    folder = new_folder(f"{bucket}/w")
    run_job(Toy(TEXTS), folder, LocalRunner())
    assert objects(folder) == RESULT


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1, 0], [1, 1, 2, 0]])
def test_parts_do_their_share_and_wait_for_earlier_stages(order: list[int], tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "w")
    missing = set(range(len(TEXTS)))
    for part in order:
        after = run_job(Toy(TEXTS), folder, LocalRunner(1, part, 3))
        missing -= set(range(part, len(TEXTS), 3))
        assert {unit.number for unit in after.missing if unit.stage == "read"} == missing
        assert (after.stage == "read") == bool(missing)
    for part in order:
        after = run_job(Toy(TEXTS), folder, LocalRunner(1, part, 3))
    assert after.stage is None
    assert objects(folder) == RESULT


def test_only_named_stages_are_run(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "w")
    assert run_job(Toy(TEXTS), folder, LocalRunner(), stages=["sum"]).stage == "read"
    assert objects(folder) == {}
    assert run_job(Toy(TEXTS), folder, LocalRunner(), stages=["read"]).stage == "sum"


def test_units_run_twice_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = new_folder(tmp_path / "w")
    run_job(Toy(TEXTS), folder, LocalRunner())
    monkeypatch.setattr(WorkFolder, "done", lambda *_: set())
    monkeypatch.setattr(WorkFolder, "has", lambda *_: False)
    LocalRunner()(Toy(TEXTS), folder, Toy(TEXTS).units("read", folder), Run())
    assert objects(folder) == RESULT


def test_failed_unit_is_named_and_others_are_done(tmp_path: Path) -> None:
    texts = ("a", "unreachable", "b")
    folder = new_folder(tmp_path / "w", texts)
    with pytest.raises(PlaceError, match="SlowDown; all others are done, run the same command again"):
        run_job(Toy(texts), folder, LocalRunner())
    assert folder.done("read") == {0, 2}
    assert folder.failures() == {("read", 1): "cannot read s3://bucket/file: SlowDown"}
    run_job(Toy(("a", "b", "b")), folder, LocalRunner())
    assert folder.failures() == {}


def test_bad_line_stops_the_job(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "w", ("a", "bad"))
    with pytest.raises(InputError, match="line 1: bad line"):
        run_job(Toy(("a", "bad")), folder, LocalRunner())


class Killed(BaseException):
    """The process is killed: from then on, none of its operations does anything."""


class Killing:
    """Lets this process be killed at a random operation of the file system.

    Attributes:
        left: Number of operations until then; 0 lets it live.
    """

    def __init__(self, patch: pytest.MonkeyPatch, chance: random.Random) -> None:
        self.left, self._chance = 0, chance
        for owner, name in [
            (Path, "write_bytes"),
            (Path, "replace"),
            (Path, "unlink"),
            (Path, "mkdir"),
            (Place, "facts"),
            (Place, "files"),
            (Place, "read"),
        ]:
            patch.setattr(owner, name, self._dying(getattr(owner, name)))

    def _dying(self, function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            if self.left < 0:
                raise Killed
            if self.left == 1:
                if self._chance.random() < 0.5:
                    function(*arguments, **named)
                self.left = -1
                raise Killed
            self.left -= self.left > 0
            return function(*arguments, **named)

        return call


@pytest.mark.parametrize("seed", range(10))
def test_killing_at_any_operation_gives_the_same_bytes(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts die 20 times at a random operation of the file system, and are started again until the job is done."""
    chance = random.Random(seed)
    killing = Killing(monkeypatch, chance)
    kills = folders = 0
    while kills < 20:
        folders += 1
        folder = WorkFolder(Place.of(tmp_path / f"w{folders}"))
        done = False
        while not done:
            killing.left = chance.randrange(1, 80) if kills < 20 else 0
            try:
                folder.claim(plan_of(TEXTS), {"facts.parquet": b"facts"})
                done = run_job(Toy(TEXTS), folder, LocalRunner(1, chance.randrange(2), 2)).stage is None
            except Killed:
                kills += 1
        killing.left = 0
        assert objects(folder) == RESULT


# ---------------------------------------------------------------------------------------------- plans


def test_plan_is_read_back(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "w")
    assert folder.plan() == plan_of(TEXTS)
    assert folder.plan().digest == json.loads((tmp_path / "w/plan.json").read_text())["digest"]


@pytest.mark.parametrize(
    ("plan", "difference"),
    [
        (plan_of(TEXTS, windows=[3]), r"windows \[\], not \[3\]"),
        (plan_of((*TEXTS[:2], "longer", *TEXTS[3:])), r"other content of 2\.jsonl, changed since then"),
        (plan_of(TEXTS[:-1]), r"6\.jsonl, not among the sources now"),
        (plan_of((*TEXTS, "new")), r"fewer files, without 7\.jsonl"),
        (Plan.of("toy", {"windows": []}, [], {"facts.parquet": b"other"}), "another facts table"),
        (Plan.of("toy", {"windows": []}, [], {}, 2), "version .*, toy 1 of factcensus, and this is .* 2"),
        (Plan.of("scan", {}, []), "factcensus"),
    ],
)
def test_another_plan_is_refused_with_the_difference(plan: Plan, difference: str, tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "w")
    with pytest.raises(InputError, match=f"was planned with.*{difference}.*new --work folder"):
        folder.claim(plan, {})


def test_changed_stamp_of_a_source_is_refused_by_name(bucket: str, tmp_path: Path) -> None:
    source = Place.of(f"{bucket}/c/a.jsonl")
    source.write(b'{"text": "a"}\n')
    folder = WorkFolder(Place.of(tmp_path / "w"))
    folder.claim(Plan.of("toy", {}, find_source_files(f"{bucket}/c")), {})
    folder.claim(Plan.of("toy", {}, find_source_files(f"{bucket}/c")), {})
    source.write(b'{"text": "b"}\n')  # of the same size
    with pytest.raises(InputError, match=r"other content of a\.jsonl"):
        folder.claim(Plan.of("toy", {}, find_source_files(f"{bucket}/c")), {})


def test_damaged_plan_is_refused(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "w")
    for damage in (b"", b"{}", (tmp_path / "w/plan.json").read_bytes().replace(b"toy", b"tay"), b"\xff"):
        (tmp_path / "w/plan.json").write_bytes(damage)
        with pytest.raises(InputError, match=r"plan\.json.*(damaged|format)"):
            folder.plan()


def test_folder_without_a_plan_is_not_a_work_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is not a work folder: it has no plan\.json"):
        WorkFolder(Place.of(tmp_path)).plan()


def test_unknown_kinds_and_runners_are_refused() -> None:
    with pytest.raises(InputError, match="unknown kind of job 'toy'"):
        job_of(plan_of(TEXTS))
    with pytest.raises(InputError, match="unknown runner 'rya'; did you mean 'ray'"):
        load_runner("rya")


@pytest.mark.parametrize("address", ["", "host:6379", "http://x", "127.0.0.1"])
def test_ray_needs_an_address_of_a_known_form(address: str) -> None:
    with pytest.raises(InputError, match="--ray must be auto, local or ray://HOST:PORT"):
        load_runner("ray", address=address)


def test_progress_names_what_is_missing(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "w")
    run_job(Toy(TEXTS), folder, LocalRunner(1, 0, 2))
    now = progress_of(Toy(TEXTS), folder)
    assert (now.stage, now.finished, now.units) == ("read", {"read": 4}, {"read": 7})
    assert [unit.files for unit in now.missing] == [("file 1",), ("file 3",), ("file 5",)]
