"""Console output of commands: progress on stderr, tables and JSON on stdout."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from typing import Any

from factcensus.indexer.errors import InputError

_UNITS = {"B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
          "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "": 1}  # fmt: skip


class ConsoleProgress:
    """One line per stage on stderr, with rate and remaining time; updated in place on a terminal."""

    def __init__(self, interval_s: float | None = None) -> None:
        self._live = sys.stderr.isatty()
        self._interval_s = interval_s if interval_s is not None else (0.2 if self._live else 10.0)
        self._stage = ""
        self._started = self._shown = 0.0
        self._line = ""

    def __call__(self, stage: str, done: int, total: int, unit: str) -> None:
        """Show that ``done`` of ``total`` units of a stage are finished."""
        now = time.monotonic()
        if stage != self._stage:
            self.close()
            self._stage, self._started, self._shown = stage, now, now
        elif now - self._shown < self._interval_s and done < total:
            self._line = self._format(done, total, unit, now)
            return
        self._shown = now
        self._line = self._format(done, total, unit, now)
        if self._live:
            print(f"\r\x1b[2K{self._line}", end="", file=sys.stderr, flush=True)
        elif now - self._started >= self._interval_s:
            print(self._line, file=sys.stderr, flush=True)
            self._line = ""

    def _format(self, done: int, total: int, unit: str, now: float) -> str:
        seconds = now - self._started
        share = f"{100 * done / total:3.0f} %" if total else "    "
        amount = f"{size_text(done)} of {size_text(total)}" if unit == "B" else f"{done:,} of {total:,} {unit}"
        line = f"{self._stage:<16} {share}  {amount}"
        if seconds > 0.5 and done > 0:
            rate = f"{size_text(done / seconds)}/s" if unit == "B" else f"{done / seconds:,.0f} {unit}/s"
            left = f", {duration_text(seconds * (total - done) / done)} left" if done < total else ""
            line += f"  ({rate}, {duration_text(seconds)}{left})"
        return line

    def close(self) -> None:
        """End the line of the last stage."""
        if self._live and self._stage:
            print(file=sys.stderr, flush=True)
        elif self._line:
            print(self._line, file=sys.stderr, flush=True)
        self._stage = self._line = ""


def size_text(size_bytes: float) -> str:
    """Format a size in decimal units, such as 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size_bytes < 1000 or unit == "TB":
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    raise AssertionError


def duration_text(seconds: float) -> str:
    """Format a duration, such as 42 s or 3:05 min."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


def parse_size(text: str) -> int:
    """Return the number of bytes of a size such as 8GiB, 500MB or 1048576.

    Raises:
        InputError: The text is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if not match or match[2].upper() not in _UNITS or float(match[1]) <= 0:
        raise InputError(f"invalid size {text!r}; write it like 8GiB, 500MB or a number of bytes")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def print_json(value: Any) -> None:
    """Print one line of JSON on stdout; values without a JSON type, such as paths, become text."""
    print(json.dumps(value, ensure_ascii=False, default=str))


def print_table(rows: Sequence[Sequence[Any]], header: Sequence[str]) -> None:
    """Print a plain table on stdout; numbers are right-aligned, with thousands separators."""
    texts = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *texts]) for i in range(len(header))]
    numeric = [all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(header))]
    for line in [list(header), *texts]:
        cells = [c.rjust(w) if right else c.ljust(w) for c, w, right in zip(line, widths, numeric, strict=True)]
        print("  ".join(cells).rstrip())
