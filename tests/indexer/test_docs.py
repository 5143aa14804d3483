"""The example in docs/counts.md is true."""

from __future__ import annotations

import re
from pathlib import Path

from .corpora import fact_table, index_of

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_worked_example_of_the_counts_page_is_what_the_index_says() -> None:
    page = (DOCS / "counts.md").read_text(encoding="utf-8")
    example = page[page.index("For the subject *France*") :]
    documents = re.findall(r"```\n(.*?)\n```", example, re.DOTALL)[0].splitlines()
    stated = {name: int(number) for name, number in re.findall(r"^\| `(\w+)` \| (\d+) \|", example, re.MULTILINE)}
    assert len(documents) == 3
    assert len(stated) == 8
    with index_of(documents) as index:
        (row,) = index.count_facts(fact_table([(["France"], ["Paris"])]), windows=[3]).to_pylist()
    assert {name: row[name] for name in stated} == stated
