"""Progress on stderr, on a terminal and in a log."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from factcensus.indexer import CountIndex, add_to_index, build_index, compact_index, delete_documents
from factcensus.indexer.building.convert import convert_index
from factcensus.indexer.numbers import clock_text
from factcensus.indexer.storage.manifest import Layout
from factcensus.indexer.system import progress
from factcensus.indexer.system.display import display_width
from factcensus.indexer.system.progress import ConsoleProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Time:
    """A clock that only moves when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Iterator[Time]:
    fixed = Time()
    monkeypatch.setattr(progress, "time", fixed)
    return fixed


def test_a_log_gets_a_line_every_few_seconds_and_one_at_the_end(time: Time) -> None:
    out = io.StringIO()
    with ConsoleProgress(out) as console:
        for done in range(0, 101, 5):
            console("analyse", done * 10**6, 100 * 10**6, "B")
            time.now += 1
    assert out.getvalue().splitlines() == [
        "analyse           50%  50.0 MB of 100.0 MB  (5.0 MB/s, 10 s, 10 s left)",
        "analyse          100%  100.0 MB of 100.0 MB  (5.0 MB/s, 20 s)",
    ]


def test_a_terminal_updates_one_line_and_ends_it_with_the_stage(time: Time) -> None:
    out = Terminal()
    console = ConsoleProgress(out)
    for done in (0, 1, 2):
        console("count", done, 2, "facts")
        time.now += 1
    console("merge", 0, 3, "files")
    console.close()
    lines = out.getvalue().split("\n")
    assert [line.count("\r") for line in lines] == [3, 1, 0]
    assert lines[0].endswith("count            100%  2 of 2 facts  (1 facts/s, 2 s)")


def test_a_stage_that_does_not_reach_its_total_is_still_shown(time: Time) -> None:
    out = io.StringIO()
    console = ConsoleProgress(out)
    console("read", 1, 3, "shards")
    time.now += 1
    console("sort", 1, 1, "shards")
    console("sort", 1, 1, "shards")  # the end, reported again
    console.close()
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["read", "sort"]


def test_stages_at_the_same_time_show_elapsed_and_remaining_time_of_each(time: Time) -> None:
    out = io.StringIO()
    console = ConsoleProgress(out, interval_s=5, clock=True)
    console.say("index")
    for moment, done in ((0, 50), (3, 60), (10, 75), (20, 100)):  # continues a half-finished stage
        time.now = 100 + moment
        console("seed 0: pretrain", done, 100, detail="loss 1.5")
        console("seed 1: pretrain", done - 50, 100)
    assert out.getvalue().splitlines() == [
        "[ 0:00] index",
        "[ 0:10] seed 0: pretrain  75%  75 of 100  (10 s, 10 s left), loss 1.5",
        "[ 0:10] seed 1: pretrain  25%  25 of 100  (10 s, 30 s left)",
        "[ 0:20] seed 0: pretrain 100%  100 of 100  (20 s), loss 1.5",
        "[ 0:20] seed 1: pretrain  50%  50 of 100  (20 s, 20 s left)",
    ]


@pytest.mark.usefixtures("time")
def test_a_share_below_the_total_is_never_shown_as_complete() -> None:
    out = Terminal()
    with ConsoleProgress(out, interval_s=0) as console:
        for done in (0, 995, 999, 1000):
            console("write", done, 1000)
        console("empty", 0, 0)
    shares = [part.split("%")[0].split()[-1] for part in out.getvalue().split("\r")[1:]]
    assert shares == ["0", "99", "99", "100", "100"]


class Narrow(Terminal):
    """A terminal of a few columns."""

    def fileno(self) -> int:
        return 7


@pytest.mark.parametrize("columns", [20, 60, 80, 200])
def test_a_line_is_narrower_than_the_terminal(time: Time, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: {7: os.terminal_size((columns, 24))}[fd])
    out = Narrow()
    with ConsoleProgress(out) as console:
        for done in range(0, 100_000_001, 5_000_000):
            console("sort 北京 0", done, 100_000_000, "tokens", "loss 1.5")
            time.now += 8
    lines = [part.removeprefix("\x1b[2K").rstrip("\n") for part in out.getvalue().split("\r")[1:]]
    assert all(display_width(line) < columns for line in lines)
    assert ("left" in lines[1], "tokens/s" in lines[1]) == (columns > 60, columns > 100)


@pytest.mark.usefixtures("time")
def test_messages_begin_on_a_line_of_their_own_and_the_last_state_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", out)
    console = ConsoleProgress(out)
    console("count", 1, 10, "facts")
    console("count", 4, 10, "facts")  # too early to be shown
    progress.to_stderr("2 lines skipped")
    console("count", 10, 10, "facts")
    progress.to_stderr("done")
    shown = [line.split("\r\x1b[2K")[-1] for line in out.getvalue().split("\n")[:-1]]
    assert [" ".join(line.split()) for line in shown] == [
        "count 40% 4 of 10 facts",
        "factcensus: 2 lines skipped",
        "count 100% 10 of 10 facts",
        "factcensus: done",
    ]


def last_reports(reports: list[tuple[str, int, int, str]]) -> dict[str, tuple[int, int]]:
    return {stage: (done, total) for stage, done, total, _ in reports}


@pytest.mark.parametrize("layout", ["suffix-array", "compact"])
def test_every_stage_of_building_and_changing_an_index_ends_at_its_total(tmp_path: Path, layout: Layout) -> None:
    files = []
    for number in range(3):
        files.append(tmp_path / f"{number}.jsonl")
        rows = [{"id": f"{number}-{row}", "text": f"Paris is {number} {row}"} for row in range(50)]
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    reports: list[tuple[str, int, int, str]] = []

    def report(stage: str, done: int, total: int, unit: str) -> None:
        reports.append((stage, done, total, unit))

    out = tmp_path / "index"
    other: dict[Layout, Layout] = {"suffix-array": "compact", "compact": "suffix-array"}
    build_index(files[:2], out, layout=layout, jobs=1, shard_tokens=300, progress=report)
    add_to_index(out, files[2], jobs=1, shard_tokens=300, progress=report)
    delete_documents(out, ids=["0-1"], progress=lambda done, total: report("delete", done, total, ""))
    convert_index(out, other[layout], tmp_path / "converted", jobs=1, progress=report)
    compact_index(out, tmp_path / "compacted", jobs=1, progress=report)
    with CountIndex.open(out) as index:
        facts = [{"subject": "Paris", "object": str(number)} for number in range(50)]
        index.count_facts(facts, progress=lambda done, total: report("count", done, total, ""))
    ends = last_reports(reports)
    assert {stage.split()[0] for stage in ends} >= {"analyse", "join", "delete", "read", "count"}
    assert {stage: end for stage, end in ends.items() if end[0] != end[1]} == {}
    assert ("write shard 0" in ends) or layout == "compact"


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0:00"), (61.9, "1:01"), (754.0, "12:34")])
def test_elapsed_time_is_minutes_and_seconds(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text
