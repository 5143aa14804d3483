"""The commands of docs/takedown.md, run in a shell: from a phone number to a verified record."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from factcensus.indexer import CountIndex, build_index

from .corpora import records, write_corpus

PAGE = Path(__file__).resolve().parents[2] / "docs" / "takedown.md"
TEXTS = [
    "Jane Roe, phone +49 (0)30 901820.",
    "Call 030/90 18 20 and ask for Jane!",
    "Another number: 030 901820-12.",
    "The mayor of Berlin: 030 9026-0",
]


def test_commands_of_the_page_lead_from_a_phone_number_to_a_verified_record(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    block = re.findall(r"```\n(.*?)\n```", page, re.DOTALL)[0]
    commands, audit = block.rsplit("\n", 1)
    assert audit.startswith("factcensus eval audit "), "which needs a model, and has its own tests"
    corpus = write_corpus(tmp_path / "c.jsonl", records(TEXTS))
    build_index([corpus], tmp_path / "indexes/wiki", keep_text=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", commands],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert "documents 1 to 2 of 2 in wiki" in out
    assert "2 documents would be deleted, 2 left" in out
    assert "2 documents deleted, 2 left" in out
    assert "roe.json is verified: 2 documents are no longer counted; probes: 1" in out
    assert "still in the files" not in out
    record = json.loads((tmp_path / "roe.json").read_bytes())
    assert [each["id"] for each in record["documents"]] == ["d0", "d1"]
    assert "Jane" not in (tmp_path / "roe.json").read_text(encoding="utf-8")
    with CountIndex.open(tmp_path / "indexes/wiki") as index:
        kept = index.shards[0].kept
        assert kept is not None
        assert [text.decode() for text in kept.texts(range(index.shards[0].documents))] == TEXTS[2:]
