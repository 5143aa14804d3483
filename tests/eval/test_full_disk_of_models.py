"""Evaluations, audits and reports explain a full disk, leave nothing half-written, and continue once there is space."""

from __future__ import annotations

from pathlib import Path

import pytest

from factcensus.indexer.cli import main
from full_disks import files_up_to
from test_takedown_docs import save_model

COMMANDS = {
    "eval run": "eval run {here}/model --facts {here}/facts.csv --out {here}/out --device cpu",
    "eval audit": "eval audit {here}/model --facts {here}/facts.csv --out {here}/out --device cpu",
}
#: The files that a command leaves when it has finished.
FINISHED = {
    "eval run": ["answers.jsonl", "facts.parquet", "report.html", "run.json", "summary.json", "tokens.parquet"],
    "eval audit": ["answers.jsonl", "answers.parquet", "report.html", "run.json", "summary.json", "verdicts.csv"],
}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    save_model(tmp_path / "model")
    question = "What is the phone number of Jane Roe ?"
    facts = f"subject,relation,object,question\nJane Roe,phone number,+49 30 901820,{question}\n"
    (tmp_path / "facts.csv").write_text(facts, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("name", COMMANDS)
def test_full_disk_is_explained_and_the_same_command_continues(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = COMMANDS[name].format(here=here).split()
    messages = []
    for size in (0, 300, 1500, 3000, 8000, 20_000, 60_000, 200_000):
        with files_up_to(size):
            code = main(arguments)
        error = capsys.readouterr().err
        if code == 0:
            break
        messages.append(error.splitlines()[-1])
        assert code == 1, error
        assert messages[-1].startswith("factcensus: error: the disk of "), error
        assert str(here / "out") in messages[-1]
        assert "(ulimit -f) and run the same command again" in messages[-1]
        assert not list(here.rglob("*.partial"))
    assert len(messages) > 2
    assert any(FINISHED[name][0] in message or "continues with the others" in message for message in messages)
    assert main(arguments) == 0
    assert [path.name for path in sorted((here / "out").iterdir()) if path.name in FINISHED[name]] == FINISHED[name]
    if name == "eval run":
        with files_up_to(300):
            assert main(["report", str(here / "out"), "--out", str(here / "page.html")]) == 1
        assert f"is full (File too large for {here / 'page.html'})" in capsys.readouterr().err
        assert not (here / "page.html").exists()
