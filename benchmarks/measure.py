"""Measurement of alternating runs of our code and the peers: medians, spread, and ratios per round.

A slowdown of the machine affects all runs. CPU seconds, including those of finished child processes, are the reliable
figure on a machine with other work; wall seconds are shown as well.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one run.

    Attributes:
        peak_bytes: Resident memory of the largest single process; 0 if it was not measured.
        stopped: Whether the run was ended at its time limit.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int = 0
    stopped: bool = False

    def __add__(self, other: Cost) -> Cost:
        """Add the costs of runs one after another."""
        return Cost(
            self.wall_s + other.wall_s,
            self.cpu_s + other.cpu_s,
            max(self.peak_bytes, other.peak_bytes),
            self.stopped or other.stopped,
        )


#: A function to measure; one that starts processes returns their cost itself.
Run = Callable[[], Any]


def cost_of(run: Run) -> Cost:
    """Run a function once and return its cost."""
    gc.collect()
    gc.freeze()  # keeps the garbage collector from scanning the objects of the peers
    wall, cpu = time.perf_counter(), _cpu_seconds()
    result = run()
    cost = result if isinstance(result, Cost) else Cost(time.perf_counter() - wall, _cpu_seconds() - cpu)
    gc.unfreeze()
    return cost


def _cpu_seconds() -> float:
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, who))


def run_process(command: Sequence[str | Path], *, cwd: Path | None = None, limit_s: float | None = None) -> Cost:
    """Run a command and its children to the end or to the time limit.

    Raises:
        RuntimeError: the command failed; the message has the end of its output.
    """
    with tempfile.NamedTemporaryFile() as result, tempfile.TemporaryFile() as written:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", LAUNCHER, result.name, *map(str, command)],
            cwd=cwd,
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return Cost(time.perf_counter() - started, 0, stopped=True)
        if process.returncode:
            written.seek(0)
            end = written.read()[-2000:].decode(errors="replace")
            raise RuntimeError(f"{' '.join(map(str, command))} failed ({process.returncode}): {end}")
        return Cost(*json.load(result))


@dataclass(slots=True)
class Report:
    """The results, printed as text and kept as Markdown."""

    rounds: int
    lines: list[str] = field(default_factory=list)

    def title(self, text: str) -> None:
        """Begin a benchmark."""
        print(f"== {text}\n", flush=True)
        self.lines += [f"### {text}", ""]

    def note(self, text: str) -> None:
        """Add a separate sentence."""
        print(f"{text}\n", flush=True)
        self.lines += [text, ""]

    def heading(self, text: str) -> None:
        """Add the heading of the next table."""
        print(text)
        self.lines += [f"**{text}**", ""]

    def block(self, text: str) -> None:
        """Add printed lines unchanged."""
        self.lines += ["```", *text.strip().splitlines(), "```", ""]

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table; the first column is text, the others are numbers."""
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        for row in [header, *rows]:
            print("  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip())
        print(flush=True)
        marks = ["---", *["---:"] * (len(header) - 1)]
        self.lines += [f"| {' | '.join(cells)} |" for cells in [header, marks, *rows]] + [""]

    def compare(
        self, what: str, runs: Mapping[str, Run], *, per: int = 1, warm: bool = True, rounds: int | None = None
    ) -> dict[str, list[Cost]]:
        """Run all alternately, and report medians and ratios relative to the first.

        Args:
            what: Description of the work.
            runs: Runs by name; the first is ours. A run that is stopped at its time limit is not repeated.
            per: The number of equal items in a run; times are reported per item.
            warm: Whether to run each once before measuring.
            rounds: Number of rounds, if different from the requested one.
        """
        if warm:
            for run in runs.values():
                run()
        costs: dict[str, list[Cost]] = {name: [] for name in runs}
        for _ in range(rounds or self.rounds):
            for name, run in runs.items():
                if not any(cost.stopped for cost in costs[name]):
                    costs[name].append(cost_of(run))
        ours = next(iter(costs.values()))
        rows = []
        for name, theirs in costs.items():
            stopped = any(cost.stopped for cost in theirs)
            cpu, wall = ([getattr(cost, kind) / per for cost in theirs] for kind in ("cpu_s", "wall_s"))
            if stopped:
                patience = wall[-1] * per / median_of(ours, "wall_s")
                rows.append([name, "", f"stopped after {_seconds(wall[-1])}", "", f"more than {patience:.0f}"])
                continue
            ratios = [
                spread([getattr(their, kind) / getattr(our, kind) for our, their in zip(ours, theirs, strict=True)])
                if theirs is not ours and all(getattr(our, kind) > 0 for our in ours)
                else ""
                for kind in ("cpu_s", "wall_s")
            ]
            rows.append([name, spread(cpu, _seconds), spread(wall, _seconds), *ratios])
        self.heading(what)
        self.table(["", "CPU", "wall", "CPU ÷ ours", "wall ÷ ours"], rows)
        return costs


def median_of(costs: Sequence[Cost], kind: str = "cpu_s") -> float:
    """Return the median of one figure."""
    return statistics.median(getattr(cost, kind) for cost in costs)


def spread(values: Sequence[float], told: Callable[[float], str] = lambda value: f"{value:.3g}") -> str:
    """Format the median, the minimum and the maximum."""
    if len(values) == 1:
        return told(values[0])
    return f"{told(statistics.median(values))} ({told(min(values))} to {told(max(values))})"


def _seconds(seconds: float) -> str:
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}" if seconds * factor < 1000 else f"{seconds * factor:.0f} {unit}"
    return f"{seconds * 1e6:.3g} µs"
