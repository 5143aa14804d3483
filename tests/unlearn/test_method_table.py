"""docs/methods.md and `unlearn list` say what the registry says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factcensus.indexer.cli import main
from factcensus.unlearn.methods.named import METHODS
from factcensus.unlearn.methods.table import markdown, method_rows

PAGE = Path(__file__).parents[2] / "docs" / "methods.md"


def test_the_page_is_the_one_the_registry_gives() -> None:
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


def test_list_prints_what_the_table_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unlearn", "list"]) == 0
    printed = capsys.readouterr().out
    for row in method_rows():
        assert f"{row['name']}: {row['purpose']}" in printed
        assert row["formula"] in printed
    assert main(["unlearn", "list", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["methods"]] == list(METHODS)
