"""Every measured column has a card, and docs/metrics.md is generated from the cards."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from factcensus.eval.attacks.run import ATTACKS
from factcensus.eval.evaluator import _SAID
from factcensus.eval.metrics.cards import CARDS, Card, as_markdown, card
from factcensus.indexer.cli import main

DOCS = Path(__file__).resolve().parents[2] / "docs"
#: Columns that describe the question or the answer and are not metrics.
NO_METRIC = {"form", "variant", "prompt", "answer", "generation", "samples", "answer_tokens", "choices"}


def test_every_measured_column_and_every_attack_has_a_card() -> None:
    from test_metrics_record import measured, token

    columns = {*_SAID.names, *measured(token()), "zlib_ratio"} - NO_METRIC - {"fact_id", "form", "variant"}
    assert columns == {each.name for each in CARDS if " " not in each.name}
    assert set(ATTACKS) <= {each.name.partition(" ")[0] for each in CARDS}


def test_cards_have_no_empty_field() -> None:
    for each in CARDS:
        assert all(getattr(each, field.name).strip() for field in fields(Card)), each.name
    assert len({each.name for each in CARDS}) == len(CARDS)


def test_page_is_generated_from_the_cards() -> None:
    """To update the page, run `factcensus eval metrics --markdown > docs/metrics.md`."""
    assert (DOCS / "metrics.md").read_text(encoding="utf-8") == as_markdown()


def test_the_command_prints_cards(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "metrics", "truth_ratio", "relearn"]) == 0
    printed = capsys.readouterr().out
    assert "truth_ratio  [probability]" in printed
    assert "TOFU" in printed
    assert "relearn (attacks.parquet)" in printed
    assert main(["eval", "metrics", "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == [each.name for each in CARDS]
    assert main(["eval", "metrics", "--markdown"]) == 0
    assert capsys.readouterr().out == as_markdown()
    assert main(["eval", "metrics", "charm"]) == 2
    assert "unknown metric 'charm'; known: log_probability," in capsys.readouterr().err
    assert card("charm") is None
