"""Counting fact tables in one pass over a corpus, without an index: text per second and core, by size of the table.

Run as a script for one measurement in a process of its own, which is how two versions of the program are compared::

    python -m benchmarks.scan FACTS SOURCE...

The facts pair the titles of random articles of Wikipedia with one another, so the names are as common as real ones.
"""

from __future__ import annotations

import gzip
import random
import sys
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


def measure(data: Path, number: int, sources: Sequence[str | Path]) -> tuple[float, float]:
    """Scan sources for this many facts, in one process; return seconds of the processor, and those of an empty scan."""
    names = titles(sorted((data / "corpus" / "simplewiki").rglob("*.json.gz")), number)
    facts = random_facts(names, number)
    first = time.process_time()
    scan_facts(sources, facts, jobs=1)
    return time.process_time() - first, first


if __name__ == "__main__":
    seconds, _ = measure(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
    print(f"{seconds:.3f} CPU s")
