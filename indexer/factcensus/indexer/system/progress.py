"""Progress on stderr: one line per stage, with rate and remaining time."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

from factcensus.indexer.numbers import clock_text, duration_text, size_text
from factcensus.indexer.system.display import cut, display_width, pad_right

#: Seconds between two lines of a stage: updated in place on a terminal, and printed one below the other elsewhere.
LIVE_INTERVAL_S, LOG_INTERVAL_S = 0.2, 10.0


@dataclass(slots=True)
class _Stage:
    """A stage since its first report in this process; ``first`` is above 0 if the stage was continued."""

    begun: float
    first: int
    shown: float
    over: bool = False

    def seconds_left(self, done: int, total: int, now: float) -> float | None:
        """Return the remaining time, or None if it cannot be estimated yet."""
        if done <= self.first or done >= total:
            return None
        return (now - self.begun) / (done - self.first) * (total - done)


class ConsoleProgress:
    """Prints the progress of one or more stages.

    On a terminal, the line of the current stage is updated in place. Elsewhere a stage gets a line every few seconds,
    and one at its end.

    Args:
        stream: Where to print; stderr by default.
        interval_s: Seconds between two lines of a stage.
        clock: Begin each line with the elapsed time, and never update a line in place. For stages that run at the same
            time.
    """

    def __init__(self, stream: TextIO | None = None, *, interval_s: float | None = None, clock: bool = False) -> None:
        self._out = stream or sys.stderr
        self._live = self._out.isatty() and not clock
        self._interval_s = interval_s if interval_s is not None else LIVE_INTERVAL_S if self._live else LOG_INTERVAL_S
        self._clock_from = time.monotonic() if clock else None
        self._stages: dict[str, _Stage] = {}
        self._open = ""
        self._pending = ""

    def __call__(self, stage: str, done: int, total: int, unit: str = "", detail: str = "") -> None:
        """Show that ``done`` of ``total`` units of a stage are finished.

        Args:
            stage: Name of the stage.
            done: Number of finished units; at ``total`` the stage is complete.
            total: Total number of units.
            unit: Name of the unit, such as ``tokens``; ``B`` for bytes.
            detail: A few words to add, such as ``loss 1.93``.
        """
        now, over = time.monotonic(), done >= total
        if self._clock_from is None and stage != self._open:
            self.close()
            self._open = stage
        state = self._stages.get(stage)
        if state is None or (state.over and not over) or done < state.first:
            state = self._stages[stage] = _Stage(now, done, now if not self._live else float("-inf"))
        elif state.over:
            return
        state.over = over
        line = _line(stage, done, total, unit, state, now, detail, self._columns())
        if over or now - state.shown >= self._interval_s:
            state.shown, self._pending = now, ""
            self._show(line, end=over)
        elif self._clock_from is None:
            self._pending = line

    def say(self, text: str) -> None:
        """Print a line that is not about a stage."""
        self.close()
        self._print(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the line of the last stage."""
        if self._live and self._open and not self._stages[self._open].over:
            if self._pending:
                self._show(self._pending, end=True)
            else:
                print(file=self._out, flush=True)
        elif not self._live and self._pending:
            self._print(self._pending)
        self._open = self._pending = ""
        self._is_unfinished(False)

    def _show(self, line: str, *, end: bool) -> None:
        if self._live:
            print(f"\r\x1b[2K{line}", end="\n" if end else "", file=self._out, flush=True)
            self._is_unfinished(not end)
        else:
            self._print(line)

    def _is_unfinished(self, unfinished: bool) -> None:
        global _unfinished
        if unfinished:
            _unfinished = self
        elif _unfinished is self:
            _unfinished = None

    def _columns(self) -> int | None:
        """Return the width of the terminal, which may change at any time; None if lines may have any length."""
        if not self._live:
            return None
        try:
            return os.get_terminal_size(self._out.fileno()).columns or None
        except (OSError, ValueError):  # the output has no size, or is not a file of the system
            return None

    def _print(self, line: str) -> None:
        elapsed = "" if self._clock_from is None else f"[{clock_text(time.monotonic() - self._clock_from):>5}] "
        print(elapsed + line, file=self._out, flush=True)


def _line(
    stage: str,
    done: int,
    total: int,
    unit: str,
    state: _Stage,
    now: float,
    detail: str,
    columns: int | None,
) -> str:
    """Return the line of a stage; in a narrow terminal, it leaves out the rate, the elapsed time and the detail.

    A line that is wider than the terminal could not be updated in place.
    """
    # Rounded down: 100% means that the stage is complete.
    share = f"{100 * done // total if total else 100:3}%"
    amount = f"{size_text(done)} of {size_text(total)}" if unit == "B" else f"{done:,} of {total:,} {unit}".rstrip()
    begin, detail = f"{pad_right(stage, 16)} {share}  {amount}", f", {detail}" if detail else ""
    seconds, rate, elapsed, left = now - state.begun, "", "", ""
    if seconds > 0.5 and done > state.first:
        speed = (done - state.first) / seconds
        rate = f"{size_text(speed)}/s" if unit == "B" else f"{speed:,.0f} {unit}/s" if unit else ""
        elapsed = duration_text(seconds)
    remaining = state.seconds_left(done, total, now)
    if remaining is not None and seconds > 0.5:
        left = f"{duration_text(remaining)} left"
    for parts, more in (([rate, elapsed, left], detail), ([elapsed, left], detail), ([left], detail), ([left], "")):
        shown = ", ".join(part for part in parts if part)
        line = begin + (f"  ({shown})" if shown else "") + more
        if columns is None or display_width(line) < columns:
            return line
    assert columns is not None
    return cut(line, columns - 1)


#: The progress whose line on the terminal will be updated in place.
_unfinished: ConsoleProgress | None = None


def end_line() -> None:
    """End the line of progress on the terminal, so that the next message begins on a line of its own."""
    if _unfinished is not None:
        _unfinished.close()


#: Whether :func:`announce_compiling` prints nothing: in other programs than the command line, and after the first call.
compiling_is_silent = True


def to_stderr(text: str) -> None:
    """Print a message of the program."""
    end_line()
    print(f"factcensus: {text}", file=sys.stderr, flush=True)


#: Shows a message to the user; a service with a log in JSON writes an entry instead.
notify: Callable[[str], None] = to_stderr


def announce_compiling() -> None:
    """Report once, on stderr, that counting code is being compiled, which takes seconds."""
    global compiling_is_silent
    if not compiling_is_silent:
        compiling_is_silent = True
        notify("compiling counting code for this machine; later commands reuse it")
