"""docs/runs.md names every column and every field that a run folder has."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from planted import planted_facts
from test_evaluator import evaluate, facts
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from factcensus.eval.asking import utility
from factcensus.eval.asking.token_record import TokenScores
from factcensus.eval.attacks.run import FACTS_SCHEMA, STRATA_SCHEMA
from factcensus.eval.summary import summarise

RUNS = (Path(__file__).resolve().parents[2] / "docs" / "runs.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`([a-z_0-9.]+)`", RUNS))


def test_every_column_is_described(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    table = facts()
    rows, tokens = evaluate(model, tokenizer, table)
    assert set(rows.column_names) - set(table.column_names) <= NAMED
    assert set(tokens.column_names) <= NAMED
    assert {field.name for field in dataclasses.fields(TokenScores)} <= set(tokens.column_names)
    assert {*FACTS_SCHEMA.names, *STRATA_SCHEMA.names, *utility.SCHEMA.names} <= NAMED


def test_every_field_of_the_summary_is_described() -> None:
    summary = summarise(planted_facts(people=14, oracle=True), seconds=1.0)
    method = summary["methods"][0]
    parts = {
        "whole": summary,
        "method": method,
        "slope": method["slope_per_decade"]["cloze"],
        "misalignment": method["misalignment"],
        "stratum": method["forgotten_by_stratum"]["cloze"][0],
    }
    assert {name: set(part) - NAMED for name, part in parts.items()} == {name: set() for name in parts}
