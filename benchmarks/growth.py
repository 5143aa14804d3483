"""Growth: the time of a build and of a fact table on 1, 2, 4 and 8 eighths of the corpus, and the cost per token."""

from __future__ import annotations

import shutil

from benchmarks.corpora import FACTCENSUS, Setting, text_bytes, write_shards
from benchmarks.measure import Report, cost_of, run_process, spread
from factcensus.indexer import CountIndex

PARTS = (1, 2, 4, 8)
WINDOW = 64


def main(setting: Setting, report: Report) -> None:
    """Build and count at each size, alternately."""
    report.title("Growth: 1, 2, 4 and 8 eighths of the corpus")
    place = setting.folder / "growth"
    place.mkdir()
    texts = {part: [text for n, text in enumerate(setting.texts) if n % PARTS[-1] < part] for part in PARTS}
    corpora = {part: write_shards(place / f"corpus-{part}", texts[part]) for part in PARTS}
    builds: dict[int, list[float]] = {part: [] for part in PARTS}
    for round_ in range(report.rounds + 1):
        for part in PARTS:
            out = place / f"ix-{part}"
            shutil.rmtree(out, ignore_errors=True)
            cost = run_process([*FACTCENSUS, "index", "build", corpora[part], "--out", out, "--jobs", "1"])
            if round_:
                builds[part].append(cost.cpu_s)
    indexes = {part: CountIndex.open(place / f"ix-{part}") for part in PARTS}
    tokens = {part: index.info().tokens for part, index in indexes.items()}
    facts = setting.facts
    counts: dict[int, list[float]] = {part: [] for part in PARTS}
    hits = {}
    for round_ in range(report.rounds + 1):
        for part, index in indexes.items():
            cost = cost_of(lambda index=index: index.count_facts(facts, windows=[WINDOW]))  # type: ignore[misc]
            if round_:
                counts[part].append(cost.cpu_s)
    for part, index in indexes.items():
        counted = index.count_facts(facts)
        hits[part] = sum(sum(counted[name].to_pylist()) for name in ("subject_mentions", "object_mentions"))
    rows = []
    for part in PARTS:
        rows.append(
            [
                f"{part} of {PARTS[-1]}",
                f"{text_bytes(texts[part]) / 1e6:.0f} MB",
                f"{tokens[part] / 1e6:.2f} M",
                f"{spread(builds[part])} s",
                f"{1e9 * sorted(builds[part])[len(builds[part]) // 2] / tokens[part]:.0f} ns",
                f"{spread([1000 * seconds for seconds in counts[part]])} ms",
                f"{1e9 * sorted(counts[part])[len(counts[part]) // 2] / max(1, hits[part]):.1f} ns",
            ]
        )
    header = [
        "part",
        "text",
        "tokens",
        "build (CPU)",
        "a token",
        f"{facts.num_rows:,} facts, window {WINDOW} (CPU)",
        "a mention",
    ]
    report.table(header, rows)
    for index in indexes.values():
        index.close()
    shutil.rmtree(place)
