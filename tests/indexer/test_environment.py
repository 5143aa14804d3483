"""Environment variables with the prefix FACTCENSUS_: all variables in use are known, and others are refused."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from factcensus.indexer import environment
from factcensus.indexer.cli import main
from factcensus.indexer.cli.root import build_root
from factcensus.indexer.errors import UnknownNameError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def _all_parts() -> None:
    build_root()


def test_every_variable_in_the_source_is_known() -> None:
    # Tests use wrong variables on purpose.
    command = ["git", "grep", "-hoE", "FACTCENSUS_[A-Z_]*[A-Z]\\b", "--", ".", ":!tests"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip("not a git checkout")
    named = {name for name in found.stdout.split() if name != "FACTCENSUS_COMPLETE"}  # click's, with an underscore
    assert named - set(environment.known_variables()) == set()


def test_every_variable_of_the_service_is_known() -> None:
    page = (ROOT / "api" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(FACTCENSUS_\w+)`", page, re.MULTILINE)) <= set(environment.known_variables())


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("FACTCENSUS_KEYFILE", "did you mean 'FACTCENSUS_KEYS_FILE'?"),
        ("FACTCENSUS_PROT", "did you mean 'FACTCENSUS_PORT'?"),
        ("FACTCENSUS_DEBUGGING", "did you mean 'FACTCENSUS_DEBUG'?"),
        ("FACTCENSUS_zzz", "known: FACTCENSUS_ADMIN_KEYS, "),
    ],
)
def test_unknown_variable_error_suggests_the_most_similar_one(
    name: str, hint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(UnknownNameError, match=name):
        environment.check_environment(["PATH", name])
    monkeypatch.setenv(name, "1")
    assert main(["index", "list", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"factcensus: error: unknown environment variable {name!r}; ")
    assert hint in err
    assert main(["--help"]) == 0


def test_known_and_foreign_variables_pass() -> None:
    environment.check_environment(
        ["PATH", "factcensus_debug", "FACTCENSUS_DEBUG", "FACTCENSUS_API_KEY", "_FACTCENSUS_X"]
    )
