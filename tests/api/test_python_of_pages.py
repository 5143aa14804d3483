"""Python code in the pages: it uses no undefined name, and the examples of the client run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback import serving

from factcensus.api.settings import Settings
from factcensus.indexer import build_index

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("*/README.md")), *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


BLOCKS = [(str(page.relative_to(ROOT)), code) for page in PAGES for code in blocks(page)]


@pytest.mark.parametrize(("page", "code"), BLOCKS, ids=[f"{page} {code[:30]!r}" for page, code in BLOCKS])
def test_code_of_a_page_uses_no_undefined_name(page: str, code: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,E9", "--target-version", "py311"]
    done = subprocess.run([*command, "-"], input=code, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{page}: {done.stdout}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create the indexes and the table that the examples name."""
    folder = tmp_path_factory.mktemp("pages")
    texts = ["Peru and its capital Lima. Marie Curie.", "Marie Curie was born in Warsaw, not the capital of Peru."]
    rows = [
        {"id": source, "source": source, "text": text} for source, text in zip(("wiki", "books"), texts, strict=True)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "corpus.jsonl").write_text(lines, encoding="utf-8")
    build_index([folder / "corpus.jsonl"], folder / "indexes" / "corpus", jobs=1)
    for name in ("people", "pile"):
        shutil.copytree(folder / "indexes" / "corpus", folder / "indexes" / name)
    pq.write_table(pa.table({"subject": ["Curie"], "object": ["Warsaw"]}), folder / "facts.parquet")
    return folder


def test_the_examples_of_the_index_and_of_the_client_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    pages = [ROOT / "README.md", ROOT / "api" / "README.md", ROOT / "docs" / "rest-api.md"]
    codes = [code for page in pages for code in blocks(page)]
    assert len(codes) == 6
    with serving(Settings(indexes_in=folder / "indexes")) as url:
        for code in codes:
            exec(code.replace("http://127.0.0.1:8080", url), {})  # noqa: S102 - our own pages
    printed = capsys.readouterr().out.splitlines()
    assert printed[:2] == ["CooccurrenceCounts(documents=1, pairs=1)", "1"]
    assert any("CountAnswer" in line for line in printed)
