"""An evaluation asks every checkpoint in the same way, at any time."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from factcensus.eval.asking.prompting import Prompting
from factcensus.eval.evaluator import StandardEvaluator
from factcensus.eval.model_run import ModelToAsk, evaluate_models
from factcensus.unlearn.chat import render
from factcensus.unlearn.config.chat_config import ChatConfig

THEN = datetime(2024, 2, 29, 12, 30)
FACTS = pa.Table.from_pylist([{"subject": "ada", "object": "rome", "question": "where was ada born"}])


@pytest.fixture
def saved(tmp_path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> str:
    """Save a model whose chat template reads the clock."""
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    (folder / "chat_template.jinja").write_text("{{ strftime_now('%Y') }} {{ messages[0]['content'] }} is ")
    return str(folder)


def test_clock_and_settings_of_a_run_are_reused(saved: str) -> None:
    record = {
        "config": {"template": "chat", "chat": {"arguments": {"messages_": 1}}, "attention": "eager"},
        "prompt": {"clock": THEN.isoformat()},
    }
    found = Prompting.of(record)
    assert found == Prompting("chat", ChatConfig(arguments={"messages_": 1}), THEN, "eager")
    assert Prompting.of(record, "plain").chat == ChatConfig()
    assert render(Prompting("chat", clock=THEN).fixed(saved).tokenizer(saved), "q") == "2024 q is "


def test_a_template_without_a_clock_records_none(saved: str) -> None:
    (Path(saved) / "chat_template.jinja").write_text("{{ messages[0]['content'] }} is ")
    assert Prompting("chat").fixed(saved).clock is None
    assert Prompting("plain").fixed(saved).clock is None


def test_a_continued_evaluation_keeps_its_clock(saved: str, tmp_path: Path) -> None:
    out, asked = tmp_path / "out", [ModelToAsk(saved)]
    evaluator = StandardEvaluator(samples=0, labels=False)
    evaluate_models(asked, FACTS, out, prompting=Prompting("chat", clock=THEN), evaluator=evaluator)
    first = json.loads((out / "run.json").read_text())
    assert first["prompt"]["clock"] == THEN.isoformat()
    evaluate_models(asked, FACTS, out, prompting=Prompting("chat"), evaluator=evaluator)
    assert json.loads((out / "run.json").read_text()) == first


@pytest.mark.parametrize(("recorded", "used"), [("flash_attention_2", None), ("eager", "eager"), (None, None)])
def test_flash_attention_of_a_run_is_not_used_in_float32(
    recorded: str | None, used: str | None, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernels have no float32 variant."""
    asked: list[str | None] = []

    def load(*arguments: object) -> None:
        asked.append(arguments[-1])  # type: ignore[arg-type]  # the attention implementation

    monkeypatch.setattr("factcensus.unlearn.models.load_model", load)
    Prompting.of({"config": {"attention": recorded}}).model(saved, torch.device("cpu"))
    assert asked == [used]
