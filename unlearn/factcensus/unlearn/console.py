"""Progress on stderr: one line per stage, with the remaining time."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from factcensus.indexer.system.console import duration_text
from factcensus.unlearn.progress import Progress, ProgressFunction


class TimeLeft:
    """Estimates the remaining seconds of a stage from the pace since its first report in this process."""

    def __init__(self) -> None:
        self._stage, self._first_done, self._first_at = "", 0, 0.0

    def seconds(self, progress: Progress, now: float) -> float | None:
        """Return the remaining time, or None if it cannot be estimated yet."""
        if progress.stage != self._stage or progress.done < self._first_done:
            self._stage, self._first_done, self._first_at = progress.stage, progress.done, now
        done, left = progress.done - self._first_done, progress.total - progress.done
        if done <= 0 or left <= 0:
            return None
        return (now - self._first_at) / done * left


def stderr_progress(stream: TextIO | None = None) -> ProgressFunction:
    """Return a function that prints progress: one updating line on a terminal, else at most one line per second."""
    out: TextIO = stream or sys.stderr
    terminal, last, time_left = out.isatty(), [0.0], TimeLeft()

    def report(progress: Progress) -> None:
        over = progress.done == progress.total
        now = time.monotonic()
        seconds = time_left.seconds(progress, now)
        if not over and now - last[0] < (0.1 if terminal else 1.0):
            return
        last[0] = now
        left = f", {duration_text(seconds)} left" if seconds is not None else ""
        line = f"{progress.stage}: {progress.done}/{progress.total}{left} {progress.detail}".rstrip()
        shown, end = (f"\r\x1b[K{line}", "\n" if over else "") if terminal else (line, "\n")
        print(shown, end=end, file=out, flush=True)

    return report
