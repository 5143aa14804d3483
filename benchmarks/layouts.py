"""Both layouts of an index, and tantivy: size, time of a build, and time of counts, from alternating runs."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from benchmarks.corpora import FACTCENSUS, Setting, text_bytes
from benchmarks.counting import Phrases
from benchmarks.measure import Report, run_process, spread
from factcensus.indexer import CountIndex, read_facts
from factcensus.indexer.analyzers import get_analyzer

LAYOUTS = ("compact", "suffix-array")
WINDOW = 10
NGRAMS = 10_000
#: Published sizes of other indexes, in bytes per byte of text. Infini-gram (Liu et al. 2024, arXiv 2401.17377) takes 7
#: bytes per token, of 3.3 bytes; infini-gram-mini is Xu et al. (2025, arXiv 2506.12229).
PUBLISHED = {"infini-gram (published)": 2.1, "infini-gram-mini (published)": 0.44}
#: Number of most frequent words from which frequent phrases are made.
FREQUENT_WORDS = 64


def main(setting: Setting, report: Report) -> None:
    """Build and ask both layouts and tantivy, alternately."""
    report.title("Layouts")
    place = setting.folder / "layouts"
    place.mkdir()
    builds: dict[str, list[float]] = {layout: [] for layout in LAYOUTS}
    for round_ in range(min(3, report.rounds) + 1):
        for layout in LAYOUTS:
            shutil.rmtree(place / layout, ignore_errors=True)
            command = [*FACTCENSUS, "index", "build", setting.natural, "--out", place / layout, "--layout", layout]
            cost = run_process([*command, "--jobs", "1"])
            if round_:
                builds[layout].append(cost.cpu_s)
    (place / "tantivy").mkdir()
    tables = {path.stem: read_facts(path) for path in setting.fact_tables} or {"facts": setting.facts}
    words = get_analyzer("words")
    phrases = Phrases((" ".join(words.tokens(text)) for text in setting.texts), [], place / "tantivy")
    _compare_sizes(report, place, text_bytes(setting.texts), builds)
    indexes = {layout: CountIndex.open(place / layout) for layout in LAYOUTS}
    for name, facts in tables.items():
        runs = {
            layout: lambda index=index, facts=facts: index.count_facts(facts, windows=[WINDOW])  # type: ignore[misc]
            for layout, index in indexes.items()
        }
        runs["tantivy, AND of phrases without aliases, no other counts"] = phrases.of(_words_of(facts)).run
        report.compare(f"{name}: {facts.num_rows:,} facts, window {WINDOW}", runs)
    _compare_single_counts(report, indexes)
    for index in indexes.values():
        index.close()
    shutil.rmtree(place)


def _compare_sizes(report: Report, place: Path, size: int, builds: dict[str, list[float]]) -> None:
    sizes = {name: _bytes_in(place / name) / size for name in (*LAYOUTS, "tantivy")} | PUBLISHED
    rows = [
        [
            name,
            f"{ratio:.3f}",
            f"{sizes['compact'] / ratio:.2f}",
            f"{spread(builds[name])} s" if name in builds else "",
            spread([our / their for our, their in zip(builds["compact"], builds[name], strict=True)])
            if name == "suffix-array"
            else "",
        ]
        for name, ratio in sizes.items()
    ]
    report.heading("Size and time of a build")
    report.table(["", "bytes per byte of text", "compact ÷ this", "build (CPU)", "time of compact ÷ this"], rows)


def _compare_single_counts(report: Report, indexes: dict[str, CountIndex]) -> None:
    rows = []
    for what, of_layout in (
        ("n-grams of 1 to 6 words of the corpus", _random_texts),
        (f"phrases of the {FREQUENT_WORDS} most frequent words", _frequent_texts),
    ):
        texts = of_layout(indexes["compact"])
        taken = {layout: sorted(_single_counts(index, texts)) for layout, index in indexes.items()}
        for share, name in ((50, "median"), (99, "99th percentile"), (100, "most")):
            picked = [taken[layout][min(len(texts) - 1, len(texts) * share // 100)] for layout in LAYOUTS]
            rows.append([f"{what}, {name}", *(f"{each:.0f} µs" for each in picked), f"{picked[0] / picked[1]:.1f}"])
    report.heading("One count (CPU)")
    report.table(["", *LAYOUTS, "compact ÷ suffix-array"], rows)


def _words_of(facts: pa.Table) -> list[tuple[list[str], list[str]]]:
    words = get_analyzer("words")
    pairs = zip(facts["subject"].to_pylist(), facts["object"].to_pylist(), strict=True)
    found = [(words.tokens(subject), words.tokens(object_)) for subject, object_ in pairs]
    return [(subject, object_) for subject, object_ in found if subject and object_]


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _random_texts(index: CountIndex) -> list[str]:
    chance = random.Random(3)
    texts: list[str] = []
    while len(texts) < NGRAMS:
        shard = chance.choice(index.shards)
        begin = chance.randrange(max(1, shard.size - 6))
        ids = shard.tokens(begin, begin + chance.randint(1, 6)).tolist()
        if 256**shard.token_bytes - 1 not in ids:
            texts.append(index.text(ids))
    return texts


def _frequent_texts(index: CountIndex) -> list[str]:
    """Return phrases of frequent words that occur at random places, often or never."""
    chance = random.Random(4)
    shard = index.shards[0]
    tokens = shard.tokens(0, min(shard.size, 1 << 18)).tolist()
    separator = 256**shard.token_bytes - 1
    counts = {token: 0 for token in tokens if token != separator}
    for token in tokens:
        if token != separator:
            counts[token] += 1
    words = index.words(sorted(counts, key=lambda token: -counts[token])[:FREQUENT_WORDS])
    return [" ".join(chance.choices(words, k=chance.randint(2, 6))) for _ in range(NGRAMS // 10)]


def _single_counts(index: CountIndex, texts: Sequence[str]) -> list[float]:
    """Return the CPU microseconds of the counts of some texts, one by one."""
    for text in texts[:100]:
        index.count(text)
    taken: list[float] = []
    for text in texts:
        started = time.process_time()
        index.count(text)
        taken.append(1e6 * (time.process_time() - started))
    return taken
