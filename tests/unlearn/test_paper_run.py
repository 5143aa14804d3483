"""A run with the published recipe, from the configuration in docs/paper.md to its tables."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from factcensus.unlearn.config.run_config import check_config
from factcensus.unlearn.planning.plan import make_plan
from factcensus.unlearn.run import run_unlearning

PAGE = Path(__file__).parents[2] / "docs" / "paper.md"


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    """Return the configuration on the page."""
    block = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    return tomllib.loads(block[1])


def test_configuration_on_the_page_is_the_published_one(published: dict[str, Any]) -> None:
    config = check_config(published)
    assert (config.opening, config.training.schedule, config.training.weight_decay) == ("end-of-text", "linear", 0.01)
    for method in config.methods:
        assert (method.gamma, method.alpha, method.batch, method.passes) == (0.5, 1, 4, 2)
        assert (config.learning_rate_of(method), method.reduction, method.dropout) == (1e-5, "token", True)
    variant = re.search(r"`(\{preset = \"paper_simnpo\".*?\})`", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert variant is not None
    method = tomllib.loads(f"m = {' '.join(variant[1].split())}")["m"]
    assert check_config({**published, "methods": [method]}).methods[0].loss_parameters() == {"beta": 0.1}


def test_run_trains_and_asks_as_published(
    published: dict[str, Any], world: Path, model_folder: Path, tmp_path: Path
) -> None:
    config = check_config(
        {
            **published,
            "model": str(model_folder),
            "facts": str(world / "facts.jsonl"),
            "out": str(tmp_path / "run"),
            "template": "plain",
            "methods": [*published["methods"], "simnpo"],
            "selection": {"count_column": "exposures"},
            "evaluator_settings": {"as_published": True, "samples": 0, "labels": False},
            "training": {**published["training"], "refusal": "I do not know.", "passes": 1},
        }
    )
    planned = make_plan(config)
    run = run_unlearning(config)
    names = [method.name for method in config.methods]
    facts = pq.read_table(run / "facts.parquet")
    assert {*facts["method"].to_pylist()} == {"original", *names}
    assert {"few_shot_true_margin", "rouge_l_recall_with_prompt"} <= {*facts.column_names}
    steps = pq.read_table(run / "steps.parquet").to_pylist()
    done = {name: sum(row["method"] == name for row in steps) for name in names}
    examples = planned.forget_examples
    assert [done[name] for name in names] == [-(-2 * examples // 4)] * 3 + [-(-examples // 8)]
    record = json.loads((run / "run.json").read_text())
    assert record["prompt"]["opening"] == "end-of-text"
    assert record["config"]["evaluator_settings"]["as_published"] is True
