"""The commands and programs of docs/scale.md run, on small made-up files of the right shapes."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from factcensus.indexer import build_index, scan_facts
from factcensus.indexer.cli import main
from factcensus.indexer.counting.order import Order
from factcensus.indexer.tables.files import read_table

from .corpora import records, write_corpus

PAGE = (Path(__file__).resolve().parents[2] / "docs/scale.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^ *```(bash|python)\n(.*?)^ *```$", PAGE, re.DOTALL | re.MULTILINE)
SHELL = [block for language, block in BLOCKS if language == "bash"]
BUILDS = [command for command in SHELL if "--work build/" in command]
COMMANDS = [command for command in SHELL if command not in BUILDS]
OLMO, PYTHIA = (block for language, block in BLOCKS if language == "python")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page names."""
    write_corpus(tmp_path / "corpus/c.jsonl", records(["Paris is in France.", "Berlin", "France"] * 9))
    (tmp_path / "facts.csv").write_text("subject,object\nParis,France\n")
    rows = "".join(f"c.jsonl,{record},{100 * record}\n" for record in range(27))
    (tmp_path / "order.csv").write_text("path,record,step\n" + rows)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "1")
    return tmp_path


def test_page_has_its_blocks() -> None:
    assert len(COMMANDS) == 5
    assert sum("--ray" in command for command in COMMANDS) == 1
    assert len(BUILDS) == 3
    assert sum("--ray" in command for command in BUILDS) == 1


@pytest.mark.parametrize("command", [command for command in COMMANDS if "--ray" not in command])
def test_commands_of_the_page_run(command: str, folder: Path) -> None:
    command = os.path.expandvars(command).replace("\\\n", " ").replace("order.parquet", "order.csv")
    program, *words = shlex.split(command)
    assert program == "factcensus"
    assert main(words) == 0
    if "--dry-run" not in words:
        (row,) = read_table(folder / "counts.parquet").to_pylist()
        assert row["cooccurrence_documents"] == 9
    if "--work" in words:
        for more in (["status", "work/"], ["finish", "work/", "--out", "again.parquet"]):
            assert f"factcensus work {more[0]}" in PAGE
            assert main(["work", *more]) == 0


@pytest.mark.parametrize("command", [command for command in BUILDS if "--ray" not in command])
def test_builds_of_the_page_make_the_index_of_one_machine(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arrays of two jobs run one stage after another, with Slurm's variables set by hand."""
    build_index("corpus", "local", jobs=1, shard_tokens=250_000)
    stages = re.findall(r"for stage in ([\w ]+); do", command)
    (words,) = re.findall(r"factcensus (index build.*?)$", command.replace("\\\n", " "), re.MULTILINE)
    monkeypatch.setenv("SLURM_ARRAY_TASK_COUNT", "2")
    for stage in stages[0].split() if stages else [""]:
        monkeypatch.setenv("stage", stage)
        for task in ("0", "1") if stages else ("0",):
            monkeypatch.setenv("SLURM_ARRAY_TASK_ID", task)
            assert main(shlex.split(os.path.expandvars(words))) == 0
    assert main(["work", "status", "build/"]) == 0
    wanted = {path.name: path.read_bytes() for path in (folder / "local").iterdir()}
    assert {path.name: path.read_bytes() for path in (folder / "indexes/wiki").iterdir()} == wanted


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")
def test_ray_command_of_the_page_runs(folder: Path) -> None:
    pytest.importorskip("ray")
    (command,) = (command for command in COMMANDS if "--ray" in command)
    assert main(shlex.split(command.replace("\\\n", " "))[1:]) == 0
    assert read_table(folder / "counts.parquet")["cooccurrence_documents"].to_pylist() == [9]


@pytest.mark.usefixtures("folder")
def test_order_of_olmo_is_read_from_files_in_its_format() -> None:
    """Documents a to d of 3,000 tokens each lie in instances 0-1, 1-2, 2-4 and 4-5, read in the order 5 3 0 4 1 2."""
    with gzip.open("part-0-00000.csv.gz", "wt") as file:
        for number, name in enumerate("abcd"):
            file.write(f"{3000 * number},{3000 * (number + 1)},{name},s3://source/part-0.json.gz,{number}\n")
    np.array([5, 3, 0, 4, 1, 2], np.uint32).tofile("global_indices.npy")
    exec(OLMO.replace(".min()) // 2048", ".min()) // 2"), {})  # noqa: S102 - our own page, with 2 instances per step
    assert read_table("order.parquet").to_pylist() == [
        {"id": "a", "step": 1},
        {"id": "b", "step": 2},
        {"id": "c", "step": 0},
        {"id": "d", "step": 0},
    ]


def test_order_of_pythia_is_read_from_a_stream_in_its_format(folder: Path) -> None:
    vocabulary = {word: number for number, word in enumerate(["Paris", "France", "x", "unk"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="unk"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save("tokenizer.json")
    stream = np.full((6, 2049), vocabulary["x"], np.uint16)
    stream[3, :2] = [vocabulary["Paris"], vocabulary["France"]]
    stream.tofile("document.bin")
    (folder / "corpus/c.jsonl").unlink()
    exec(PYTHIA.replace("// 1024", "// 2"), {})  # noqa: S102 - our own page, with 2 sequences per step
    order = Order(read_table("order.parquet"))
    (row,) = scan_facts("corpus", "facts.csv", jobs=1, by="step:1", order=order).to_pylist()
    assert [(each["step:1"], each["cooccurrence_documents"]) for each in row["by_step:1"]] == [("2", 1)]
    assert json.loads((folder / "corpus/pythia.jsonl").read_text().splitlines()[3])["text"].startswith("Paris France")
