"""Both layouts of an index: size, time of a build, and time of counts, from alternating runs."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

from benchmarks.corpora import FACTCENSUS, Setting, text_bytes
from benchmarks.measure import Report, cost_of, run_process, spread
from factcensus.indexer import CountIndex

LAYOUTS = ("suffix-array", "compact")
WINDOW = 10
NGRAMS = 10_000
#: Published sizes of other indexes, in bytes per byte of text. Infini-gram (Liu et al. 2024, arXiv 2401.17377) takes 7
#: bytes per token, of 3.3 bytes; infini-gram-mini is Xu et al. (2025, arXiv 2506.12229).
PUBLISHED = {"infini-gram (published)": 2.1, "infini-gram-mini (published)": 0.44}


def main(setting: Setting, report: Report) -> None:
    """Build and ask both layouts, alternately."""
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
    indexes = {layout: CountIndex.open(place / layout) for layout in LAYOUTS}
    tables: dict[str, list[float]] = {layout: [] for layout in LAYOUTS}
    for round_ in range(report.rounds + 1):
        for layout, index in indexes.items():
            cost = cost_of(lambda index=index: index.count_facts(setting.facts, windows=[WINDOW]))  # type: ignore[misc]
            if round_:
                tables[layout].append(1000 * cost.cpu_s)
    counts = {layout: sorted(_single_counts(index)) for layout, index in indexes.items()}
    size = text_bytes(setting.texts)
    rows = [
        [
            layout,
            f"{_bytes_in(place / layout) / size:.3f}",
            f"{spread(builds[layout])} s",
            f"{spread(tables[layout])} ms",
            f"{counts[layout][NGRAMS // 2]:.0f} µs",
            f"{counts[layout][NGRAMS * 99 // 100]:.0f} µs",
        ]
        for layout in LAYOUTS
    ]
    rows += [[name, f"{ratio:.3f}", *[""] * 4] for name, ratio in PUBLISHED.items()]
    header = [
        "layout",
        "bytes per byte of text",
        "build (CPU)",
        f"{setting.facts.num_rows:,} facts, window {WINDOW} (CPU)",
        "one n-gram, median",
        "99th percentile",
    ]
    report.table(header, rows)
    for index in indexes.values():
        index.close()
    shutil.rmtree(place)


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _single_counts(index: CountIndex) -> list[float]:
    """Return the CPU microseconds of counts of n-grams of 1 to 6 words of the corpus, one by one."""
    chance = random.Random(3)
    taken: list[float] = []
    while len(taken) < NGRAMS:
        shard = chance.choice(index.shards)
        begin = chance.randrange(max(1, shard.size - 6))
        ids = shard.tokens(begin, begin + chance.randint(1, 6)).tolist()
        if 256**shard.token_bytes - 1 not in ids:
            text = index.text(ids)
            started = time.process_time()
            index.count(text)
            taken.append(1e6 * (time.process_time() - started))
    return taken
