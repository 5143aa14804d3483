"""Counting fact tables in one pass over a corpus, without an index: seconds of one core, by size of the table.

A script for one measurement in a process of its own, so that two versions of the program can be compared in turn::

    python -m benchmarks.scan DATA FACTS SOURCE...

DATA is the folder of the test corpora. The facts pair titles of random articles of Wikipedia, so the names are as
common as real ones.
"""

from __future__ import annotations

import gzip
import random
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import orjson
import pyarrow as pa

from factcensus.indexer import scan_facts


def titles(files: Iterable[Path], number: int) -> list[str]:
    """Return random titles of articles from the metadata of corpus files."""
    found: dict[str, None] = {}
    for file in files:
        with gzip.open(file) as lines:
            for line in lines:
                title = orjson.loads(line)["metadata"].get("title")
                if title and any(character.isalnum() for character in title):
                    found[title] = None
    chosen = list(found)
    random.Random(1).shuffle(chosen)
    return chosen[:number]


def random_facts(names: Sequence[str], number: int) -> pa.Table:
    """Return a table of facts about random pairs of names, each name in about two facts."""
    chance = random.Random(2)
    some = names[:number]
    return pa.table({"subject": chance.choices(some, k=number), "object": chance.choices(some, k=number)})


def measure(data: Path, number: int, sources: Sequence[str | Path]) -> float:
    """Scan sources for a number of facts in this process, and return the CPU seconds."""
    names = titles(sorted((data / "corpus" / "simplewiki").rglob("*.json.gz")), number)
    facts = random_facts(names, number)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as nothing:
        nothing.write('{"text": "nothing"}\n')
        nothing.flush()
        scan_facts(nothing.name, facts, jobs=1)  # compiles
        began = time.process_time()
        scan_facts(nothing.name, facts, jobs=1)
        setup = time.process_time() - began
    began = time.process_time()
    scan_facts(sources, facts, jobs=1)
    return time.process_time() - began - setup


if __name__ == "__main__":
    print(f"{measure(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]):.3f} CPU s")
