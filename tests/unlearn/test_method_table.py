"""docs/methods.md and `unlearn list` match the registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factcensus.indexer.cli import main
from factcensus.unlearn.config.named import METHODS
from factcensus.unlearn.methods.table import keeping_a_copy, keeps, markdown, method_rows, preset_config
from factcensus.unlearn.planning.dry_step import StepCost, extra_bytes

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"


def test_page_matches_the_registry() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(), (
        "run `python -m factcensus.unlearn.methods.table docs/methods.md`"
    )


def test_every_method_has_a_formula_and_a_source() -> None:
    rows = {row["name"]: row for row in method_rows()}
    assert list(rows) == list(METHODS)
    assert all(row["formula"] and row["source"] for row in rows.values())
    assert rows["wga"]["formula"].startswith("gamma mean(-l with tokens weighted by p^a (1 - p)^b)")
    assert rows["sat_imp"]["defaults"]["token_confidence"] == 5.0
    assert rows["pdu"]["formula"].count("alpha(t)") == 1
    assert any("adapter" in need for need in rows["undial"]["needs"])
    assert rows["never_seen_strata_loss_rank"]["defaults"]["strata_control.by"] == "loss_rank"
    assert any("alternatives" in need for need in rows["dpo"]["needs"])
    assert rows["grad_ascent"]["needs"] == []


def test_list_prints_the_whole_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unlearn", "list"]) == 0
    printed = capsys.readouterr().out
    for row in method_rows():
        assert f"{row['name']}: {row['purpose']}" in printed
        assert row["formula"] in printed
    assert main(["unlearn", "list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["methods"]] == list(METHODS)


@pytest.mark.parametrize("preset", sorted(set(METHODS) - {"retrain"}))
def test_kept_memory_matches_the_plan(preset: str) -> None:
    """With 1000 weights and an LM head of 40, memory as large as the weights cannot be the head alone."""
    cost = StepCost(1000, 1000, 4000, 0, 1.0, width=4, vocabulary=10, simulated=True)
    on_device, on_cpu = extra_bytes(preset_config(preset), cost, tokens=3)
    assert (on_device + on_cpu >= 4000) == (preset in keeping_a_copy())
    if on_device + on_cpu:
        assert keeps(preset_config(preset))
    said = PAGE.read_text(encoding="utf-8")
    assert "second model in memory" not in said
    assert all(f"`{name}`" in said.partition("## Presets")[0] for name in keeping_a_copy())
