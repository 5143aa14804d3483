from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from planted import planted_facts
from test_runs import write_run
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from factcensus.indexer import write_table
from factcensus.indexer.cli import main


@pytest.mark.parametrize("command", [["demo"], ["eval", "run"], ["eval", "metrics"], ["report"]])
def test_every_command_has_help_with_a_worked_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    assert f"example:\n  factcensus {' '.join(command)} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["demo", "--preset", "huge"], "--preset must be one of smoke, demo, gpu, got 'huge'"),
        (["report", "--out", "x.html"], "missing RUN..."),
        (["eval", "run", "model", "--facts", "f.csv"], "missing --out DIR"),
        (
            ["eval", "run", "model", "--facts", "f.csv", "--out", "x", "--paraphrases", "-1"],
            "--paraphrases must be an integer of at least 0, got '-1'",
        ),
        (
            ["eval", "run", "model", "--facts", "f.csv", "--out", "x", "--batch-tokens", "0"],
            "--batch-tokens must be an integer of at least 1, got '0'",
        ),
        (
            ["eval", "run", "m", "--facts", "f.csv", "--out", "x", "--relearn-rate", "2"],
            "--relearn-rate must be a learning rate above 0 and below 1, got '2'",
        ),
        (
            ["eval", "run", "m", "--facts", "f.csv", "--out", "x", "--attacks", ","],
            "--attacks must be names separated by commas, got ','",
        ),
    ],
)
def test_wrong_usage_exits_with_2_and_one_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "nowhere", "--out", "x.html"], "no run folder at nowhere"),
        (["report", "runs", "--out", "x.html"], "runs is a folder of runs; give them, such as runs/first"),
        (["report", "runs/first", "--out", "x.html"], "no facts.parquet"),
        (["report", "empty", "--out", "x.html"], "empty is not a run folder"),
        (["report", "runs/first", "--out", "runs/first/run.json"], "the page is HTML; give a name that ends in .html"),
        (
            [
                "eval",
                "run",
                "m",
                "--facts",
                "facts.csv",
                "--out",
                "x",
                "--attacks",
                "quantise",
                "--relearn-rate",
                "0.1",
            ],
            "--relearn-rate has no effect without the attack relearn",
        ),
        (["eval", "run", "model", "--facts", "nowhere.csv", "--out", "x"], "nowhere.csv"),
        (["eval", "run", "no/such/model", "--facts", "facts.csv", "--out", "x"], "model 'no/such/model'"),
    ],
)
def test_wrong_input_exits_with_2_and_one_line(
    arguments: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "facts.csv").write_text("subject,object,question\nada,rome,where was ada born\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "run.json").write_text("{}")
    assert main(arguments) == 2
    assert (tmp_path / "runs" / "first" / "run.json").read_text() == "{}"
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("factcensus: error: ")
    assert said in error


def test_unaskable_facts_leave_no_run_folder(
    tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same command with a corrected table must not be refused because of files in the folder."""
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(str(tmp_path / "model"))
    facts, out = tmp_path / "facts.csv", tmp_path / "out"
    command = ["eval", "run", str(tmp_path / "model"), "--facts", str(facts), "--out", str(out), "--device", "cpu"]
    for table, said in (
        ("subject,object\nada,rome\n", "add a column 'question' or 'cloze'"),
        ("subject,object,cloze\nada,paris,ada was born in\n", "the answer 'paris' contains a word"),
    ):
        facts.write_text(table)
        assert main(command) == 2
        assert said in capsys.readouterr().err
        assert not out.exists()
    facts.write_text("subject,object,cloze\nada,rome,ada was born in\n")
    assert main(command) == 0


def test_demo_refuses_a_folder_of_another_preset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"preset": "gpu", "status": "running"}))
    assert main(["demo", "--preset", "smoke", "--out", str(tmp_path)]) == 2
    assert "demo of preset 'gpu'" in capsys.readouterr().err


def test_report_pools_runs_and_prints_its_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [write_run(tmp_path / f"seed {seed}", planted_facts(seed=seed, people=14)) for seed in (0, 1)]
    out = tmp_path / "new" / "report.html"
    assert main(["report", *map(str, folders), "--out", str(out), "--title", "Mine"]) == 0
    printed = capsys.readouterr().out
    assert f"report: {out.as_uri()}" in printed
    assert "Asked as a cloze" in printed
    assert "<h1>Mine</h1>" in out.read_text()
    assert main(["report", str(folders[0]), str(folders[0]), "--out", str(out)]) == 2
    copy = write_run(tmp_path / "again", planted_facts(seed=0, people=14))
    capsys.readouterr()
    assert main(["report", *map(str, folders), str(copy), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seeds"] == [0, 1]
    assert "These runs are not pooled:" in out.read_text()
    assert "both have method &#39;simnpo&#39; at seed 0. The sections below" in out.read_text()


def test_eval_run_asks_a_model_and_writes_a_run_folder(
    tmp_path: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(str(tmp_path / "model"))
    facts = pa.table(
        {"subject": ["ada", "bo"], "object": ["rome", "oslo"], "cloze": ["ada was born in", "bo was born in"]}
    )
    facts = facts.append_column("cooccurrence_documents", pa.array([3, 30]))
    write_table(facts, tmp_path / "facts.csv")
    out = tmp_path / "out"
    command = ["eval", "run", str(tmp_path / "model"), "--facts", str(tmp_path / "facts.csv"), "--out", str(out)]
    assert main([*command, "--device", "cpu", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["facts"] == 2
    assert {path.name for path in out.iterdir()} == {
        "run.json",
        "facts.parquet",
        "tokens.parquet",
        "utility.parquet",
        "answers.jsonl",
        "summary.json",
        "report.html",
        "cells",
        ".lock",
    }
    again = [*command[:-1], str(tmp_path / "oracle"), "--method", "retrained", "--device", "cpu"]
    assert main(again) == 0
    assert "pool it with the original model's run" in capsys.readouterr().out
    assert main([*again, "--json"]) == 0
    expected = {"run": str(tmp_path / "oracle"), "method": "retrained", "summary": None}
    assert json.loads(capsys.readouterr().out) == expected
    assert main(["report", str(out), str(tmp_path / "oracle"), "--out", str(tmp_path / "r.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["oracle"] == "retrained"
