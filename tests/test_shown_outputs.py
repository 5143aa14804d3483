"""The outputs in docs/real-text.md and docs/unlearning-tutorial.md are what their commands print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
#: Lines that depend on the machine: memory and time of a plan, and notices.
VARIES = re.compile(r"^(memory |seconds assume|factcensus: )| +[0-9.]+e\+[0-9]+ +[0-9.,]+$")


def shown(page: str) -> list[tuple[str, list[str]]]:
    """Return the commands of a page, each with the lines that it shows as their output."""
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(\$ .*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    commands = [each.partition("\n") for block in blocks for each in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, constant(output)) for command, _, output in commands]


def constant(output: str) -> list[str]:
    return [line for line in output.splitlines() if not VARIES.search(line)]


def printed(command: str, folder: Path) -> list[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "ATEN_CPU_CAPABILITY": "avx2"}
    done = subprocess.run(command.split(), cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return constant(done.stdout)


@pytest.mark.full
def test_the_page_about_a_real_corpus_shows_what_its_commands_print(real_data: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").symlink_to(real_data / "corpus")
    for table in (real_data / "facts").iterdir():
        (tmp_path / table.name).symlink_to(table)
    commands = shown("real-text.md")
    assert len(commands) == 9
    for command, lines in commands:
        assert printed(command, tmp_path) == lines, command


@pytest.mark.full
def test_the_tutorial_shows_what_its_commands_print(tmp_path: Path) -> None:
    (configuration,) = re.findall(
        r"^```toml\n(.*?)^```$", (DOCS / "unlearning-tutorial.md").read_text(), re.DOTALL | re.M
    )
    (tmp_path / "world.toml").write_text(configuration, encoding="utf-8")
    commands = shown("unlearning-tutorial.md")
    assert len(commands) == 8
    for command, lines in commands:
        found = printed(command, tmp_path)
        assert found == lines or (lines[-1] == "..." and found[: len(lines) - 1] == lines[:-1]), command
