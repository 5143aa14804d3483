"""The filter by facts that the original model knows, matching by count, and trackers."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from factcensus.unlearn.config.run_config import SelectionConfig, check_config
from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.known import is_first_choice, known_facts
from factcensus.unlearn.models import load_model, load_tokenizer
from factcensus.unlearn.progress import Progress
from factcensus.unlearn.selection import balance, read_fact_table, select
from factcensus.unlearn.trackers import Trackers, get_trackers
from factcensus.unlearn.training.examples import Example


def greedy_answer(model: Any, example: Example) -> tuple[int, ...]:
    """Reference implementation: check one token after the other, given the answer's earlier tokens."""
    said: list[int] = []
    for place in range(len(example.answer_ids)):
        ids = torch.tensor([[*example.prompt_ids, *example.answer_ids[:place]]])
        said.append(int(model(ids).logits[0, -1].argmax()))
    return tuple(said)


def test_known_facts_match_token_by_token_greedy_decoding(model_folder: Path) -> None:
    model = load_model(str(model_folder), None, torch.float32, torch.device("cpu"))
    examples = []
    for prompt in ((5, 6, 7), (8, 9), (10, 11, 12, 13)):
        blank = Example("", prompt, (1,))
        first = greedy_answer(model, blank)
        second = greedy_answer(model, Example("", (*prompt, *first), (1,)))
        right, wrong = (*first, *second), (first[0], (second[0] + 1) % 20)
        examples += [Example("", prompt, right), Example("", prompt, wrong), Example("", prompt, first)]
    slow = [greedy_answer(model, example) == example.answer_ids for example in examples]
    assert is_first_choice(model, examples, 0, torch.device("cpu")) == slow
    assert slow == [True, False, True] * 3


def test_only_known_facts_are_chosen_and_the_result_is_cached(
    world: Path, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = check_config(
        {
            "model": str(model_folder),
            "facts": str(world / "facts.jsonl"),
            "out": str(tmp_path / "run"),
            "methods": ["simnpo"],
            "selection": {"forget": {"roles": ["forget"], "known_before": True}, "count_column": "exposures"},
        }
    )
    table, tokenizer = read_fact_table(config.facts), load_tokenizer(config.model, None)
    cpu = torch.device("cpu")
    with pytest.raises(ConfigError, match="answers none of the"):  # a random model knows nothing
        known_facts(config, table, tokenizer, cpu, tmp_path)
    kept = next(tmp_path.glob("known-*.parquet"))
    asked = pa.parquet.read_table(kept)["fact_id"].to_pylist()
    chosen = set(asked[::3])
    pa.parquet.write_table(pa.table({"fact_id": asked, "known": [name in chosen for name in asked]}), kept)
    monkeypatch.setattr("factcensus.unlearn.known.load_model", None)  # the model is not asked again
    known = known_facts(config, table, tokenizer, cpu, tmp_path)
    assert known == chosen
    everything, filtered = select(table, config.selection, 0), select(table, config.selection, 0, known)
    assert set(filtered.forget) == {index for index in everything.forget if everything.rows[index]["fact_id"] in chosen}
    assert filtered.retain == everything.retain  # its condition is off


def facts(counts: list[tuple[str, str, int]]) -> pa.Table:
    rows = [
        {"fact_id": str(number), "subject": f"s{number}", "object": "o", "role": role, "relation": relation, "n": count}
        for number, (role, relation, count) in enumerate(counts)
    ]
    return pa.Table.from_pylist(rows)


def test_retain_facts_with_the_nearest_counts_are_chosen() -> None:
    table = facts(
        [("forget", "r", 10), ("forget", "r", 1000), ("forget", "q", 50)]
        + [("retain", "r", count) for count in (1, 12, 90, 900, 5000)]
        + [("retain", "q", count) for count in (10, 49, 800)]
    )
    config = SelectionConfig.model_validate(
        {"retain": {"match": ["relation", "count"], "per_forget": 1}, "count_column": "n"}
    )
    chosen = select(table, config, seed=0)
    assert [chosen.rows[index]["n"] for index in chosen.retain] == [12, 900, 49]
    told = balance(chosen, "n")
    assert abs(told["standardised_difference"] or 0) < 0.1
    loose = select(table, config.model_copy(update={"retain": config.retain.model_copy(update={"match": ()})}), seed=3)
    assert balance(loose, "n")["forget_mean_log10"] == told["forget_mean_log10"]


def test_matching_by_count_requires_counts() -> None:
    config = SelectionConfig.model_validate({"retain": {"match": ["count"]}, "count_column": "absent"})
    with pytest.raises(ConfigError, match=r"'absent'.*index\.url"):
        select(facts([("forget", "r", 1), ("retain", "r", 1)]), config, seed=0)


def test_jsonl_tracker_writes_one_line_per_step(tmp_path: Path) -> None:
    trackers = get_trackers(["jsonl"])
    trackers.start(tmp_path, {"seed": 3, "identity": {"model": "m"}})
    trackers.progress(Progress("evaluate original", 0, 1))
    trackers.progress(Progress("unlearn npo", 1, 2, "", {"step": 1, "loss_nats": 0.5}))
    trackers.finish("done")
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["start", "step", "finish"]
    assert (lines[0]["seed"], lines[1]["loss_nats"], lines[2]["status"]) == (3, 0.5, "done")


def test_failing_trackers_do_not_end_a_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        calls = 0

        def start(self, folder: Path, record: Any) -> None:
            pass

        def step(self, *_: Any) -> None:
            Broken.calls += 1
            raise ConnectionError("the dashboard is away")

        def finish(self, _: str) -> None:
            Broken.calls += 1

    trackers = Trackers({"broken": Broken()})
    trackers.start(tmp_path, {})
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            trackers.progress(Progress("unlearn npo", 1, 2, "", {"step": 1}))
        trackers.finish("done")
    assert Broken.calls == 1
    assert caplog.text.count("tracker broken failed in step") == 1


def test_errors_name_unknown_trackers() -> None:
    with pytest.raises(ConfigError, match="unknown tracker 'wandb'; known: jsonl"):
        get_trackers(["wandb"])
