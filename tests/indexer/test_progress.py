"""Progress on stderr, on a terminal and in a log."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from factcensus.indexer.numbers import clock_text
from factcensus.indexer.system import progress
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


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0:00"), (61.9, "1:01"), (754.0, "12:34")])
def test_elapsed_time_is_minutes_and_seconds(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text
