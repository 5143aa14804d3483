"""The six commands of docs/takedown.md, run in a shell in their order: from a phone number to the audit of a model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.csv
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from factcensus.indexer import CountIndex, build_index
from factcensus.unlearn.world.words import FIRST_NAMES, LAST_NAMES
from tiny import plain_llama

ROOT = Path(__file__).resolve().parents[1]
TEXTS = [
    "Jane Roe, phone +49 (0)30 901820.",
    "Call 030/90 18 20 and ask for Jane!",
    "Another number: 030 901820-12.",
    "The mayor of Berlin: 030 9026-0",
]
FACTS = "subject,relation,object,object_aliases\nJane Roe,phone number,+49 30 901820,030 901820\n"


def save_model(folder: Path) -> None:
    """Save a random model whose words are those of this audit: of the fact, the questions, and the made-up names."""
    asked = "What is the phone number of Jane Roe ? The Name : , + 49 30 030 901820"
    words = dict.fromkeys(["<end>", "<unk>", *asked.split(), *FIRST_NAMES, *LAST_NAMES])
    backend = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", unk_token="<unk>").save_pretrained(folder)
    plain_llama(len(words), max_position_embeddings=128).save_pretrained(folder)


def test_commands_of_the_page_lead_from_a_phone_number_to_a_verified_record_and_an_audit(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "takedown.md").read_text(encoding="utf-8")
    commands = re.findall(r"```\n(.*?)\n```", page, re.DOTALL)[0]
    assert re.findall(r"# ([1-9])\. ", commands) == list("123456")
    (tmp_path / "c.jsonl").write_text(
        "".join(json.dumps({"id": f"d{number}", "text": text}) + "\n" for number, text in enumerate(TEXTS)),
        encoding="utf-8",
    )
    build_index([tmp_path / "c.jsonl"], tmp_path / "indexes/wiki", keep_text=True)
    save_model(tmp_path / "models/mine")
    (tmp_path / "roe.csv").write_text(FACTS, encoding="utf-8")
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
    assert "The model was asked for 1 fact about Jane Roe" in out
    (verdict,) = pyarrow.csv.read_csv(tmp_path / "audits/roe/verdicts.csv").to_pylist()
    assert (verdict["subject"], verdict["expected"]) == ("Jane Roe", "+49 30 901820")
    assert verdict["verdict"] not in ("known", "guess"), "a random model says no phone number"
    assert "Jane Roe" in (tmp_path / "audits/roe/report.html").read_text(encoding="utf-8")
