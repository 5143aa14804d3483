"""Run the slow checks in stages, print the time of each, and stop at the first stage that fails.

    make check-full                        # all stages
    make check-full STAGES="tests bounds"  # some of them

The stages and their number of processes fit a machine with two cores and 24 GiB of memory. Tests that need the real
corpora, a C compiler, a mounted file system or the package registry are skipped without them, with the reason. So is
the stage ``stack`` without a container engine.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Memory of each test process, without mapped files. A test that needs more fails.
MEMORY_BYTES = 12 << 30
#: Tests of compiled functions.
KERNEL_TESTS = [
    f"tests/indexer/test_{name}.py"
    for name in ("compact", "counts", "facts", "language_model", "quick_pair", "scan", "suffix_array", "word_encoder")
]


@dataclass(frozen=True)
class Stage:
    """A part of the checks: a command that exits with status 0 if it passed."""

    name: str
    what: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    limited: bool = False


def stages(jobs: str) -> list[Stage]:
    """Return all stages in order; ``jobs`` is the number of test processes."""
    # Every run generates new random inputs.
    pytest = [sys.executable, "-m", "pytest", "-n", jobs, "-rs", "--hypothesis-profile=others"]
    bounds = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(ROOT / ".pytest_cache" / "bounds")}
    return [
        Stage("lint", "ruff, mypy, pyright and import-linter", ["make", "lint"]),
        # Tests of one group share what they build; every other test runs in the process that is free next.
        Stage("tests", "the slow tests", [*pytest, "--dist", "loadgroup", "-m", "full"], limited=True),
        Stage(
            "bounds",
            "the tests of compiled functions with checks of all bounds; compiles everything again",
            [*pytest, "--dist", "loadfile", *KERNEL_TESTS],
            bounds,
            limited=True,
        ),
        Stage("stack", "the containers of docker-compose.yml", [str(ROOT / ".ci" / "stack")]),
    ]


def limit_memory() -> None:
    """Limit the memory of this process, and of each process that it starts."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def run(chosen: Sequence[Stage], say: Callable[[str], None]) -> int:
    """Run stages until one fails; return its exit status, or 0."""
    times: list[str] = []
    status = 0
    for number, stage in enumerate(chosen, 1):
        say(f"stage {number} of {len(chosen)}, {stage.name}: {stage.what}")
        begin, cpu = time.monotonic(), cpu_seconds()
        status = subprocess.run(
            stage.command,
            cwd=ROOT,
            env=os.environ | stage.environment,
            preexec_fn=limit_memory if stage.limited else None,
            check=False,
        ).returncode
        minutes, cpu = (time.monotonic() - begin) / 60, (cpu_seconds() - cpu) / 60
        times.append(f"{stage.name:8} {minutes:6.1f} minutes, {cpu:6.1f} of CPU time")
        if status:
            left = ", ".join(each.name for each in chosen[number:]) or "none"
            times.append(f"FAILED in stage {stage.name} (exit status {status}); stages that did not run: {left}")
            times.append(f'run it again with: make check-full STAGES="{stage.name}"')
            break
    for line in times:
        say(line)
    if not status:
        say("all stages passed; the lines above name what was skipped")
    return status


def cpu_seconds() -> float:
    """Return the CPU time of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(names: Sequence[str]) -> int:
    """Run the named stages, or all."""
    every = stages(os.environ.get("TEST_JOBS", "2"))
    if unknown := set(names) - {stage.name for stage in every}:
        print(f"unknown stages: {', '.join(sorted(unknown))}; known: {', '.join(stage.name for stage in every)}")
        return 2
    return run(
        [stage for stage in every if not names or stage.name in names],
        lambda line: print(f"check-full: {line}", flush=True),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
