"""Before training, texts that a model cannot read are refused, and suspicious facts give warnings."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from test_architectures import CHAT, FACTS, byte_level

from factcensus.indexer.cli import main
from factcensus.unlearn.limits import Limits, limits_of
from factcensus.unlearn.material_warnings import normalised
from factcensus.unlearn.models import quiet_transformers
from factcensus.unlearn.training.examples import Example
from tiny import tiny_model

LONG = "What is the capital of " + "the very, very " * 12 + "old Peru?"


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random GPT-2 with 64 positions."""
    folder = tmp_path_factory.mktemp("models") / "gpt2"
    with quiet_transformers():
        tiny_model("gpt2", len(byte_level())).save_pretrained(folder)
    byte_level().save_pretrained(folder)
    return folder


def written(tmp_path: Path, model: Path, facts: list[dict[str, Any]], **changes: Any) -> str:
    """Write a configuration file for these facts."""
    (tmp_path / "facts.jsonl").write_text("".join(json.dumps(fact) + "\n" for fact in facts))
    settings = {
        "model": str(model),
        "facts": str(tmp_path / "facts.jsonl"),
        "out": str(tmp_path / "run"),
        "methods": ["grad_diff"],
        "training": {"passes": 0.5},
        **changes,
    }
    (tmp_path / "config.json").write_text(json.dumps(settings))
    return str(tmp_path / "config.json")


def changed(number: int, **values: Any) -> list[dict[str, Any]]:
    """Return the facts with one of them changed."""
    return [
        fact | {"fact_id": f"f{place}", "answer": fact["object"]} | (values if place == number else {})
        for place, fact in enumerate(FACTS)
    ]


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    "values",
    [{"question": LONG}, {"answer": "Lima " * 70}, {"cloze": LONG, "paraphrases": []}],
    ids=["question", "answer", "asked in evaluation only"],
)
@pytest.mark.parametrize("number", [0, 2], ids=["forget", "retain"])
def test_texts_longer_than_the_positions_are_refused(
    gpt2: Path, tmp_path: Path, values: dict[str, Any], number: int, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["unlearn", command, written(tmp_path, gpt2, changed(number, **values))]) == 2
    message = capsys.readouterr().err
    assert "the model has 64 positions" in message
    assert f"f{number}" in message or f"row {number + 1}" in message
    assert not (tmp_path / "run" / "run.json").exists()


def test_refusals_and_never_seen_prompts_are_checked_as_well(
    gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = {"training": {"refusal": "I do not know. " * 20}, "methods": ["idk"], "evaluator": "none"}
    assert main(["unlearn", "plan", written(tmp_path, gpt2, changed(9), **refusal)]) == 2
    assert "64 positions" in capsys.readouterr().err


def test_prompts_that_just_fit_are_trained_and_evaluated(gpt2: Path, tmp_path: Path) -> None:
    """The continuation ends at the last position."""
    tokenizer, question = byte_level(), "What is the capital of Peru?"
    while len(tokenizer(f"so {question} Lima")["input_ids"]) <= 64:
        question = f"so {question}"
    facts = changed(0, question=question)
    assert main(["unlearn", "run", written(tmp_path, gpt2, facts)]) == 0


def test_a_model_without_positions_has_no_limit() -> None:
    from transformers import BloomConfig

    limits = limits_of(BloomConfig(vocab_size=10))
    assert limits == Limits(None, 10)
    assert limits.problem(Example("f", (1,) * 10_000, (2,))) is None
    assert "10 rows" in str(limits.problem(Example("f", (1,), (10,))))


def warnings_of(tmp_path: Path, model: Path, facts: list[dict[str, Any]], **changes: Any) -> list[str]:
    from factcensus.unlearn.config.files import load_config
    from factcensus.unlearn.planning.plan import make_plan

    return make_plan(load_config(Path(written(tmp_path, model, facts, **changes)), [])).warnings


def test_valid_facts_give_no_warning(gpt2: Path, tmp_path: Path) -> None:
    assert warnings_of(tmp_path, gpt2, changed(9)) == []


@pytest.mark.parametrize(
    ("number", "values", "message"),
    [
        (2, {"question": "what is  the CAPITAL of Ｐeru", "answer": "lima."}, "'f0' and 'f2'"),
        (
            1,
            {"question": "What is the capital of Peru ?", "answer": "LIMA"},
            "more than once with the same answer.*'f0', 'f1'",
        ),
        (0, {"answer": "Lima\nCallao"}, "line break inside and can never match"),
        (3, {"answer": "…!"}, "'f3' has no letter or digit"),
        (0, {"answer": " Lima"}, "'f0' has white space at an end"),
    ],
)
def test_suspicious_facts_give_a_warning(
    gpt2: Path, tmp_path: Path, number: int, values: dict[str, Any], message: str
) -> None:
    [warning] = warnings_of(tmp_path, gpt2, changed(number, **values))
    assert re.search(message, warning), warning


def test_doubled_beginning_of_text_gives_a_warning(tmp_path: Path, gpt2: Path) -> None:
    from tokenizers import processors

    folder = Path(shutil.copytree(gpt2, tmp_path / "model"))
    tokenizer = byte_level().__class__(
        tokenizer_object=byte_level().backend_tokenizer.from_str(byte_level().backend_tokenizer.to_str()),
        eos_token="<|endoftext|>",
        bos_token="<|endoftext|>",
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    tokenizer.save_pretrained(folder)
    [warning] = warnings_of(tmp_path, folder, changed(9), template="<|endoftext|>{prompt} {answer}")
    assert "'<|endoftext|>' twice" in warning
    assert warnings_of(tmp_path, folder, changed(9)) == []


def test_warnings_are_printed_recorded_and_reported(
    gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, gpt2, changed(0, answer="Lima\nCallao"))
    assert main(["unlearn", "plan", path]) == 0
    assert "warning     the answer of 'f0' has a line break inside" in capsys.readouterr().out
    assert main(["unlearn", "run", path]) == 0
    assert "the answer of 'f0' has a line break inside" in caplog.text
    [warning] = json.loads((tmp_path / "run" / "run.json").read_text())["warnings"]
    assert "line break" in warning
    assert "line break inside" in (tmp_path / "run" / "report.html").read_text()


def test_normalisation_ignores_spelling_variants() -> None:
    assert normalised("Where was  “Ada” born?") == normalised("where was ada Born")
    assert normalised("ﬁne Ｌima") == "fine lima"
    assert normalised("C++") != normalised("C")
    assert normalised("?!") == "?!"


def test_gradient_ascent_needs_no_retain_set(gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = [fact | {"role": "forget"} for fact in FACTS]
    assert main(["unlearn", "run", written(tmp_path, gpt2, facts, methods=["grad_ascent"])]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["sets"]["retain"] == 0
    assert main(["unlearn", "plan", written(tmp_path, gpt2, facts, methods=["grad_ascent", "npo"])]) == 2
    assert "selection.retain" in capsys.readouterr().err


def test_chat_prompts_are_measured_with_their_template(
    gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(gpt2, tmp_path / "model"))
    (folder / "chat_template.jinja").write_text("word " * 60 + CHAT)
    assert main(["unlearn", "plan", written(tmp_path, folder, changed(9), template="chat")]) == 2
    assert "64 positions" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", "{}"),
        ("config.json", {"vocab_size": "x"}),
        ("config.json", {"quantization_config": "x"}),
    ],
    ids=["tokenizer", "number", "quantisation"],
)
def test_malformed_checkpoint_files_are_refused(
    gpt2: Path, tmp_path: Path, name: str, content: str | dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(gpt2, model)
    text = content if isinstance(content, str) else json.dumps(json.loads((model / name).read_text()) | content)
    (model / name).write_text(text)
    assert main(["unlearn", "plan", written(tmp_path, model, FACTS)]) == 2
    assert "a configuration or tokenizer file is malformed" in capsys.readouterr().err
