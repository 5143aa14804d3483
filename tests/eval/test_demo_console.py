from __future__ import annotations

import pytest

from factcensus.eval import demo
from factcensus.eval.demo import Console, clock
from factcensus.unlearn.progress import Progress


def test_console_shows_elapsed_and_remaining_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter([100.0, 100.0, 103.0, 110.0, 110.0, 120.0, 120.0])  # read once per report, and once per line
    monkeypatch.setattr(demo.time, "monotonic", lambda: next(times))
    console = Console(begun=100.0)
    for done in (50, 60, 75, 100):  # continues a half-finished stage
        console.progress("seed 0", Progress("pretrain", done, 100, "loss 1.5"))
    assert capsys.readouterr().err.splitlines() == [
        "[ 0:00] seed 0: pretrain 50%, loss 1.5",
        "[ 0:10] seed 0: pretrain 75%, loss 1.5, about 0:10 left",
        "[ 0:20] seed 0: pretrain 100%, loss 1.5",
    ]


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0:00"), (61.9, "1:01"), (754.0, "12:34")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
