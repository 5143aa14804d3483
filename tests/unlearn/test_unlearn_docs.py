"""The commands of docs/unlearning.md run, and the pages on unlearning name every configuration key."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from test_architectures import byte_level, model_config

from factcensus.eval.evaluator import StandardEvaluator
from factcensus.indexer.cli import main
from factcensus.unlearn.config.chat_config import ChatConfig
from factcensus.unlearn.config.files import load_config
from factcensus.unlearn.config.run_config import (
    ForgetConfig,
    IndexConfig,
    RetainConfig,
    RunConfig,
    SelectionConfig,
    TrainingConfig,
)
from factcensus.unlearn.models import quiet_transformers

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "unlearning.md").read_text(encoding="utf-8")
TUTORIAL = (DOCS / "unlearning-tutorial.md").read_text(encoding="utf-8")
CONFIGURATION = (DOCS / "unlearning-configuration.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = PAGE) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line]


def test_commands_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.chdir(tmp_path)
    (tmp_path / "facts.csv").write_text(blocks("csv")[0])
    (tmp_path / "run.toml").write_text(next(block for block in blocks("toml") if "my-model" in block))
    (tmp_path / "sweep.yaml").write_text(blocks("yaml")[0])
    pairs = [("Peru", "Lima", 1), ("Japan", "Tokyo", 2), ("France", "Paris", 3), ("Kenya", "Nairobi", 4)]
    texts = [f"{object} lies in {subject}." for subject, object, times in pairs for _ in range(times)]
    (tmp_path / "corpus.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    tokenizer = byte_level()
    with quiet_transformers():
        AutoModelForCausalLM.from_config(model_config("gpt2", len(tokenizer))).save_pretrained("my-model")
        tokenizer.save_pretrained("my-model")
    run = 0
    for line in commands():
        words = shlex.split(line)
        assert words[0] == "factcensus"
        if words[1] == "report":  # tested in tests/eval
            continue
        extra = ["--set", "evaluator=none"] if words[1] == "unlearn" else []
        assert main([*words[1:], *extra]) == 0, (line, capsys.readouterr().err)
        run += 1
    assert run == 8
    record = json.loads((tmp_path / "runs" / "first" / "run.json").read_text())
    assert (record["status"], record["sets"]["forget"], record["sets"]["retain"]) == ("done", 3, 3)
    assert record["index"]["name"] == "corpus"
    assert pq.read_table(tmp_path / "runs" / "grid" / "cells.parquet")["status"].to_pylist() == ["done"] * 4


def test_configuration_of_the_tutorial_is_valid(tmp_path: Path) -> None:
    (block,) = blocks("toml", TUTORIAL)
    (tmp_path / "world.toml").write_text(block)
    config = load_config(tmp_path / "world.toml")
    assert [method.name for method in config.methods] == ["simnpo", "never_seen", "never_seen_strata"]


def test_every_configuration_key_is_documented() -> None:
    named = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`]*)`", CONFIGURATION))))
    for section in (RunConfig, TrainingConfig, IndexConfig, SelectionConfig, ForgetConfig, RetainConfig, ChatConfig):
        missing = set(section.model_fields) - named - {"selection", "training", "index", "forget", "retain"}
        assert not missing, section.__name__
    assert {field.name for field in fields(StandardEvaluator)} <= named


def test_documented_defaults_are_those_of_the_configuration() -> None:
    config = {"model": "m", "facts": "f.csv", "out": "o", "methods": ["idk"]}
    values = flat(RunConfig.model_validate(config).resolved())
    meanings = {"none": (None, [], {}), "all": (None,), "chosen by transformers": (None,), "torch's default": (None,)}
    compared = 0
    for keys, default in re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|", CONFIGURATION, flags=re.MULTILINE):
        names, stated = re.findall(r"`([a-z_.]+)`", keys), default.split(", ")
        for name, text in zip(names, stated, strict=True) if len(names) == len(stated) else []:
            if name in values and " of the " not in text:
                written = text.strip("`")
                number_or_flag = json.loads(written) if re.fullmatch(r"true|false|[0-9.e-]+|\{\}", written) else written
                assert values[name] in meanings.get(text, (number_or_flag, [written])), name
                compared += 1
    assert compared > 40


def flat(settings: dict[str, Any], section: str = "") -> dict[str, Any]:
    """Return nested settings by their names with dots."""
    found = {}
    for name, value in settings.items():
        found |= flat(value, f"{section}{name}.") if isinstance(value, dict) and value else {f"{section}{name}": value}
    return found
