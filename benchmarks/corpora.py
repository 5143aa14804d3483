"""Input of the benchmarks: a natural corpus, one with many repeats, and facts; all use the same compressed shards.

The natural corpus is every n-th document of the sources, spread over gzip-compressed shards, so that smaller samples
have the same mixture. Half of the repetitive corpus is natural. A quarter consists of long documents, each repeated
with a few words changed, like revisions of a page or forks of a repository. A quarter consists of runs of documents
repeated without changes, like site dumps or mirrors of a manual.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from factcensus.indexer import build_index, read_facts
from factcensus.indexer.analyzers import get_analyzer
from factcensus.indexer.corpus import find_source_files, read_documents

#: The command line, for benchmarks of whole processes.
FACTCENSUS = (sys.executable, "-m", "factcensus")
SHARDS = 4
MOST_FACTS = 5_000
#: Copies of each repeated document, and number of words between two changes in a copy.
COPIES = 8
WORDS_A_CHANGE = 20_000
LEAST_REPEATED = 20_000
#: Size of the passages repeated without changes; about 130,000 words.
DUMP_CHARACTERS = 800_000


@dataclass(frozen=True)
class Setting:
    """The input of all benchmarks.

    Attributes:
        folder: Scratch folder. Its path has none of the words that confuse infini-gram's engine (such as "table").
        sources: Corpus files and folders; if empty, a controlled world.
        fact_tables: Fact tables; if empty, those of the controlled world.
        megabytes: Maximum amount of text; all of it if None.
        memory_mib: The limit that the memory benchmark sets.
        memory_megabytes: Amount of text for the memory benchmark.
    """

    folder: Path
    sources: Sequence[Path]
    fact_tables: Sequence[Path]
    megabytes: float | None
    memory_mib: int
    memory_megabytes: float

    def __hash__(self) -> int:
        """Hash by identity."""
        return id(self)

    @cached_property
    def world(self) -> Path:
        """Write a controlled world: about 8,000 short texts about invented people."""
        from factcensus.unlearn import PRESETS, write_world

        write_world(self.folder / "world", PRESETS["demo"].world, seed=0)
        return self.folder / "world"

    @cached_property
    def texts(self) -> list[str]:
        """Return the texts of the natural corpus."""
        files = find_source_files(self.sources or [self.world / "corpus"])
        texts = [document.text for file in files for document in read_documents(file)]
        if self.megabytes is not None:
            share = self.megabytes * 1e6 / max(1, sum(map(len, texts)))
            texts = (
                [text for n, text in enumerate(texts) if int(n * share) < int((n + 1) * share)] if share < 1 else texts
            )
        return [text.decode() for text in texts]

    @cached_property
    def natural(self) -> Path:
        """Write the natural corpus."""
        return write_shards(self.folder / "natural", self.texts)

    @cached_property
    def repetitive(self) -> Path:
        """Write the corpus with many repeats, of about the same size."""
        return write_shards(self.folder / "repetitive", self.repetitive_texts)

    @cached_property
    def repetitive_texts(self) -> list[str]:
        """Return the texts of the repetitive corpus."""
        chance = random.Random(0)
        texts = self.texts[::2]
        wanted = sum(map(len, texts))
        others = self.texts[1::2]
        parts = [text for text in others if len(text) >= LEAST_REPEATED] or ["\n".join(others)]
        made = 0
        repeated: list[str] = []
        while made < wanted / 2:
            text = chance.choice(parts)
            repeated += [_changed(text, chance) for _ in range(COPIES)]
            made += COPIES * len(text)
        at = 0
        while made < wanted:
            whole = ""
            while len(whole) < min(DUMP_CHARACTERS, (wanted - made) / COPIES):
                whole += others[at % len(others)] + "\n"
                at += 1
            repeated += [whole] * COPIES
            made += COPIES * len(whole)
        mixed = texts + repeated
        chance.shuffle(mixed)
        return mixed

    @cached_property
    def index(self) -> Path:
        """Build a word index of the natural corpus."""
        build_index([self.natural], self.folder / "words", analyzer="words")
        return self.folder / "words"

    @cached_property
    def facts(self) -> pa.Table:
        """Sample facts from the tables: subject, object, and the aliases of both."""
        tables = [read_facts(path) for path in self.fact_tables or [self.world / "facts.jsonl"]]
        kind = pa.list_(pa.string())
        columns: dict[str, list[object]] = {}
        for name in ("subject", "object", "subject_aliases", "object_aliases"):
            columns[name] = [
                value
                for table in tables
                for value in (table[name].to_pylist() if name in table.column_names else [[]] * table.num_rows)
            ]
        words = get_analyzer("words")
        kept = [
            row
            for row in range(len(columns["subject"]))
            if words.tokens(str(columns["subject"][row])) and words.tokens(str(columns["object"][row]))
        ]
        step = max(1.0, len(kept) / MOST_FACTS)
        kept = [kept[int(i * step)] for i in range(min(MOST_FACTS, len(kept)))]
        return pa.table(
            {
                name: pa.array([values[row] for row in kept], kind if name.endswith("aliases") else pa.string())
                for name, values in columns.items()
            }
        )


def write_shards(folder: Path, texts: Sequence[str], shards: int = SHARDS) -> Path:
    """Write documents as JSON Lines, distributed over compressed shards."""
    folder.mkdir()
    for shard in range(shards):
        write_shard(folder / f"part-{shard:03d}.jsonl.gz", texts[shard::shards])
    return folder


def write_shard(path: Path, texts: Iterable[str]) -> None:
    """Write one shard."""
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        for number, text in enumerate(texts):
            record = {"id": f"{path.name.split('.')[0]}-{number}", "text": text, "source": f"source {number % 3}"}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def text_bytes(texts: Iterable[str]) -> int:
    """Return the number of UTF-8 bytes."""
    return sum(len(text.encode()) for text in texts)


def _changed(text: str, chance: random.Random) -> str:
    """Return the text with some words swapped for others of the same text, at least one."""
    words = re.split(r"(\s+)", text)
    for _ in range(1 + len(words) // (2 * WORDS_A_CHANGE)):
        words[2 * chance.randrange((len(words) + 1) // 2)] = words[2 * chance.randrange((len(words) + 1) // 2)]
    return "".join(words)
