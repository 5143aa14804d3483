"""The examples in docs/counts.md, docs/index-format.md and indexer/README.md are right, and links in all pages work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .corpora import fact_table, index_folder, index_of, records, write_corpus

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [page for pattern in ("*.md", "*/README.md", "docs/*.md") for page in sorted(DOCS.parent.glob(pattern))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS.parent)))
def test_links_lead_to_existing_files_and_headings(page: Path) -> None:
    """Anchors are made from headings as code hosts do it; ``tests/test_packaging.py`` checks those of the site."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}, target


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
