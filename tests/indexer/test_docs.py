"""The examples in docs/counts.md, docs/index-format.md and indexer/README.md are right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .corpora import fact_table, index_folder, index_of, records, write_corpus

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_worked_example_of_the_counts_page_is_right() -> None:
    page = (DOCS / "counts.md").read_text(encoding="utf-8")
    example = page[page.index("For the subject *France*") :]
    documents = re.findall(r"```\n(.*?)\n```", example, re.DOTALL)[0].splitlines()
    stated = {name: int(number) for name, number in re.findall(r"^\| `(\w+)` \| (\d+) \|", example, re.MULTILINE)}
    assert len(documents) == 3
    assert len(stated) == 8
    with index_of(documents) as index:
        (row,) = index.count_facts(fact_table([(["France"], ["Paris"])]), windows=[3]).to_pylist()
    assert {name: row[name] for name in stated} == stated


def test_worked_miniature_of_the_format_page_is_right() -> None:
    page = (DOCS / "index-format.md").read_text(encoding="utf-8")
    miniature = re.findall(r"```\n(tokenized.*?)\n```", page, re.DOTALL)[0]
    stated = {
        name: bytes.fromhex(content) for name, content in re.findall(r"^(\S+) +([0-9a-f ]+)$", miniature, re.MULTILINE)
    }
    with index_folder(["b a", "b", "b a"]) as folder:
        written = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert written.keys() == stated.keys() | {"manifest.json", "documents.0.parquet", "sample.0"}
    assert {name: written[name] for name in stated} == stated


def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (DOCS.parent / "indexer" / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)\n```", page, re.DOTALL)
    write_corpus(tmp_path / "corpus" / "c.jsonl", records(["Paris is the capital of France.", "Lutetia in France"]))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - our own page
    assert capsys.readouterr().out.splitlines() == ["1", "2"]
    assert names["strata"]["stratum"].to_pylist() == [1, 0]


def test_the_readme_names_every_module() -> None:
    page = (DOCS.parent / "indexer" / "README.md").read_text(encoding="utf-8")
    package = DOCS.parent / "indexer" / "factcensus" / "indexer"
    named = {name for name in re.findall(r"`([a-z_]+\.py)`", page) if (package / name).exists()}
    left_out = {"__init__.py", "errors.py", "records.py", "warm_up.py"}
    assert {path.name for path in package.glob("*.py")} - named <= left_out
