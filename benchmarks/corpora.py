"""What the benchmarks read: a natural corpus, one with many repeats, and facts; the same compressed shards for all.

The natural corpus is every n-th document of what is asked for, spread over gzip-compressed shards, so that a smaller
one has the same mixture. The repetitive one is half natural. A quarter are long documents, each several times with a
word changed here and there, as the revisions of a page or the forks of a repository are; a quarter are many documents
one after another, all of it several times and unchanged, as the dumps of a site or mirrors of a manual are.
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

#: The command line, as whole processes are measured.
FACTCENSUS = (sys.executable, "-m", "factcensus")
SHARDS = 4
MOST_FACTS = 5_000
#: Copies of each repeated document, and words between two changes in a copy.
COPIES = 8
WORDS_A_CHANGE = 20_000
LEAST_REPEATED = 20_000
#: Of what is repeated unchanged; about 130,000 words.
DUMP_CHARACTERS = 800_000


@dataclass(frozen=True)
class Setting:
    """What all benchmarks are given.

    Attributes:
        folder: scratch. Its path has none of the words that lead infini-gram's engine astray (such as "table").
        sources: corpus files and folders; a controlled world if there are none.
        fact_tables: likewise.
        megabytes: of text, at most; all if None.
        memory_mib: the bound that the memory benchmark sets.
        memory_megabytes: of text that it reads.
    """

    folder: Path
    sources: Sequence[Path]
    fact_tables: Sequence[Path]
    megabytes: float | None
    memory_mib: int
    memory_megabytes: float

    def __hash__(self) -> int:
        """By identity."""
        return id(self)

    @cached_property
    def world(self) -> Path:
        """A controlled world: about 8,000 short texts about people who do not exist."""
        from factcensus.unlearn import PRESETS, write_world

        write_world(self.folder / "world", PRESETS["demo"].world, seed=0)
        return self.folder / "world"

    @cached_property
    def texts(self) -> list[str]:
        """The texts of the natural corpus."""
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
        """The natural corpus."""
        return write_shards(self.folder / "natural", self.texts)

    @cached_property
    def repetitive(self) -> Path:
        """The corpus with many repeats, about as large."""
        return write_shards(self.folder / "repetitive", self.repetitive_texts)

    @cached_property
    def repetitive_texts(self) -> list[str]:
        """Its texts."""
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
        """An index of the natural corpus's words."""
        build_index([self.natural], self.folder / "words", analyzer="words")
        return self.folder / "words"

    @cached_property
    def facts(self) -> pa.Table:
        """Facts from all over the tables: subject, object, and the aliases of both."""
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
    """Documents as JSON Lines, dealt out to compressed shards."""
    folder.mkdir()
    for shard in range(shards):
        write_shard(folder / f"part-{shard:03d}.jsonl.gz", texts[shard::shards])
    return folder


def write_shard(path: Path, texts: Iterable[str]) -> None:
    """One shard."""
    with gzip.open(path, "wt", encoding="utf-8", compresslevel=1) as file:
        for number, text in enumerate(texts):
            record = {"id": f"{path.name.split('.')[0]}-{number}", "text": text, "source": f"source {number % 3}"}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def text_bytes(texts: Iterable[str]) -> int:
    """Their UTF-8 bytes."""
    return sum(len(text.encode()) for text in texts)


def _changed(text: str, chance: random.Random) -> str:
    """The text with a word swapped for another of its own here and there, and one at least."""
    words = re.split(r"(\s+)", text)
    for _ in range(1 + len(words) // (2 * WORDS_A_CHANGE)):
        words[2 * chance.randrange((len(words) + 1) // 2)] = words[2 * chance.randrange((len(words) + 1) // 2)]
    return "".join(words)
