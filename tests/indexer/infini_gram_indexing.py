"""Run infini-gram's indexing program, whose files ours are compared with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess


def try_indexing(data: Path, out: Path, *options: str, program: tuple[str | Path, ...]) -> CompletedProcess[str]:
    """Index the corpus in ``data`` with one processor, whether or not that succeeds.

    Args:
        data: A folder of JSON Lines files.
        out: The folder of the result; steps whose files are there are skipped.
        options: Further options, such as ``--token_dtype``.
        program: Arguments of Python that start the program.
    """
    command = [sys.executable, *program, "--data_dir", data, "--save_dir", out]
    limits = ("--cpus", "1", "--mem", "1", "--ulimit", "1024")
    return subprocess.run([*command, *limits, *options], check=False, capture_output=True, text=True, cwd=data.parent)


def run_indexing(data: Path, out: Path, *options: str) -> None:
    """Index the corpus in ``data`` with the installed program, as :func:`try_indexing`; it must succeed."""
    ran = try_indexing(data, out, *options, program=("-m", "infini_gram.indexing"))
    assert ran.returncode == 0, ran.stderr
