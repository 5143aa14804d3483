"""lm-eval on a local task, without network; skipped if the extra is not installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from factcensus.eval.asking.benchmarks import BenchmarkSettings, of_benchmarks, rows_of
from factcensus.eval.errors import EvaluationInputError
from tiny import plain_llama

ITEMS = [
    {"question": "where was ada born", "choices": ["rome", "oslo"], "answer": 0},
    {"question": "where was bo born", "choices": ["oslo", "rome", "it"], "answer": 1},
    {"question": "where was cy born", "choices": ["it", "is", "oslo"], "answer": 2},
]


@pytest.fixture
def model() -> PreTrainedModel:
    """Use one architecture; these tests are about calling lm-eval."""
    made: PreTrainedModel = plain_llama(16, initializer_range=0.5).train()
    return made


@pytest.fixture
def task_folder(tmp_path: Path) -> Path:
    """Write a multiple-choice task over a JSON Lines file."""
    data = tmp_path / "items.jsonl"
    data.write_text("".join(json.dumps(item) + "\n" for item in ITEMS))
    task = {
        "task": "tiny_cities",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(tmp_path / "cache")},
        "output_type": "multiple_choice",
        "test_split": "test",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}],
        "metadata": {"version": 1},
    }
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "tiny_cities.yaml").write_text(json.dumps(task))  # JSON is YAML
    return tmp_path / "tasks"


def by_hand(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> float:
    """Compute the accuracy from the log-probability of each choice after the question."""
    right = 0
    for item in ITEMS:
        scores = []
        for choice in item["choices"]:  # type: ignore[attr-defined]
            prompt = tokenizer(item["question"], add_special_tokens=False)["input_ids"]
            whole = tokenizer(f"{item['question']} {choice}", add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                log_p = model.eval()(torch.tensor([whole])).logits[0].log_softmax(-1)
            scores.append(sum(float(log_p[place - 1, whole[place]]) for place in range(len(prompt), len(whole))))
        right += max(range(len(scores)), key=scores.__getitem__) == item["answer"]
    return right / len(ITEMS)


@pytest.mark.filterwarnings("ignore")  # warnings of lm-eval and its dependencies
def test_lm_eval_runs_a_loaded_model_on_a_local_task(
    task_folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lm_eval")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    expected = by_hand(model, tokenizer)
    model.train()
    settings = BenchmarkSettings(("tiny_cities",), task_folder, shots=0, batch_size=2)
    rows = of_benchmarks(model, tokenizer, settings, template="plain", seed=3)
    [accuracy] = [row for row in rows if row["measure"] == "tiny_cities/acc"]
    assert accuracy["value"] == pytest.approx(expected)
    assert accuracy["n"] == 3
    assert accuracy["of"] == "lm-eval"
    assert model.training
    fewer = BenchmarkSettings(("tiny_cities",), task_folder, limit=1)
    [only] = [
        r for r in of_benchmarks(model, tokenizer, fewer, template="plain", seed=3) if r["measure"].endswith("acc")
    ]
    assert only["n"] == 1, "the limit reaches lm-eval"


@pytest.mark.filterwarnings("ignore")
def test_unknown_task_is_named(
    task_folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = pytest.importorskip("lm_eval.tasks")
    manager = tasks.TaskManager  # reading the thousands of task files of lm-eval takes a minute
    monkeypatch.setattr(tasks, "TaskManager", lambda **given: manager(**{**given, "include_defaults": False}))
    with pytest.raises(EvaluationInputError, match=r"task 'riddles' \(also not in"):
        of_benchmarks(model, tokenizer, BenchmarkSettings(("riddles",), task_folder), template="plain", seed=0)
    missing = BenchmarkSettings(("riddles",), task_folder / "none")
    with pytest.raises(EvaluationInputError, match=r"task folder .* does not exist"):
        of_benchmarks(model, tokenizer, missing, template="plain", seed=0)


def test_error_without_the_extra_has_the_install_command(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(EvaluationInputError, match=r"pip install 'factcensus\[lm-eval\]'"):
        of_benchmarks(model, tokenizer, BenchmarkSettings(("x",)), template="plain", seed=0)


def test_every_number_of_a_result_becomes_a_row_with_its_interval() -> None:
    results = {
        "results": {
            "t": {
                "alias": "t",
                "acc,none": 0.5,
                "acc_stderr,none": 0.1,
                "exact_match,strict": 0.25,
                "exact_match_stderr,strict": "N/A",
                "sample_len": 4,
            }
        },
        "n-samples": {"t": {"original": 9, "effective": 4}},
    }
    assert rows_of(results) == [
        {
            "measure": "t/acc",
            "of": "lm-eval",
            "form": None,
            "value": 0.5,
            "low": pytest.approx(0.304),
            "high": pytest.approx(0.696),
            "n": 4,
        },
        {
            "measure": "t/exact_match (strict)",
            "of": "lm-eval",
            "form": None,
            "value": 0.25,
            "low": None,
            "high": None,
            "n": 4,
        },
    ]
