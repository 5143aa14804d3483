"""The cost of scans and builds at internet scale: rates measured here, and a simulator for clusters.

Run as a script::

    python -m benchmarks.scale FACTS SOURCE...

It measures the stages of a distributed build and a scan on one core of this machine. Everything about larger corpora
and clusters is *simulated* from these rates: units of work are assigned to cores as the runners do, nodes die at
random, and their units run again. The simulation assumes that storage and network keep up, and that cores are like this
one.
"""

from __future__ import annotations

import heapq
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scan import measure as measure_scan
from factcensus.indexer.building.settings import BuildSettings
from factcensus.indexer.storage.manifest import Manifest
from factcensus.indexer.system.places import Place
from factcensus.indexer.work import WorkFolder
from factcensus.indexer.work.build.job import STAGES, Resources, build_with_work
from factcensus.indexer.work.build.objects import BuildFolder
from factcensus.indexer.work.runners import LocalRunner

SHARD_TOKENS = 250_000_000
#: Types grow like this power of the tokens; measured on English text of 1 to 51 million tokens.
GROWTH = 0.58
#: Assumed prices in dollars: a core-hour, and a gigabyte stored for a month.
CORE_HOUR, GB_MONTH = 0.04, 0.023
#: Cores per node; mean hours until a node dies (spot machines), and hours until another one replaces it.
NODE_CORES, LIFE_H, REPLACED_H = 16, 24.0, 0.05


@dataclass(frozen=True)
class Corpus:
    """A corpus: bytes of text, compressed bytes, files, and the standard deviation of the logarithm of their sizes."""

    name: str
    text_bytes: float
    stored_bytes: float
    files: int
    spread: float

    def sizes(self) -> list[float]:
        """Return made-up sizes of its files, in bytes of text."""
        chance = random.Random(self.name)
        sizes = [chance.lognormvariate(0, self.spread) for _ in range(self.files)]
        share = self.text_bytes / sum(sizes)
        return [share * size for size in sizes]


#: Sizes as published; the spread of the sizes of files is assumed.
CORPORA = (
    Corpus("Pile", 0.886e12, 0.3e12, 30, 0.05),
    Corpus("FineWeb", 66e12, 44e12, 25_000, 0.3),
    Corpus("Dolma", 12e12, 4.5e12, 5_000, 0.8),
)


@dataclass(frozen=True)
class Rates:
    """What was measured on one core."""

    scan_s_per_byte: float
    spool_s_per_byte: float
    merge_s_per_type: float
    shard_s_per_token: float
    bytes_per_token: float
    index_bytes_per_token: float
    types_at_one: float

    def tokens(self, corpus: Corpus) -> float:
        """Return the number of words of a corpus."""
        return corpus.text_bytes / self.bytes_per_token

    def types(self, tokens: float) -> float:
        """Return the number of types in a text of this many tokens."""
        return self.types_at_one * tokens**GROWTH


def measure(data: Path, sources: Sequence[str], facts: int) -> Rates:
    """Measure a scan for a table of random facts, and the stages of a build, on one core."""
    with tempfile.TemporaryDirectory(prefix="scale") as folder:
        settings = BuildSettings(shard_tokens=SHARD_TOKENS)
        resources = Resources(lambda jobs: LocalRunner(jobs))
        seconds = {}
        for _ in range(2):  # the first round compiles
            seconds.clear()
            out, work = (Place.of(tempfile.mkdtemp(dir=folder)) for _ in range(2))
            for stage in STAGES:
                begun = time.process_time()
                build_with_work(sources, out, work, settings, resources, stages=(stage,))
                seconds[stage] = time.process_time() - begun
        manifest = Manifest.read(out.path)
        words = sum(total.words for total in BuildFolder(WorkFolder(work)).totals(len(manifest.contents)))
        empty = Path(folder) / "empty.jsonl"
        empty.write_text('{"text": ""}\n')
        # The patterns of the facts are prepared once per process, so they do not count here.
        scanned = measure_scan(data, facts, sources)[0] - measure_scan(data, facts, [empty])[0]
    size = sum(file.bytes for file in manifest.files.values())
    return Rates(
        scanned / manifest.text_bytes,
        seconds["spool"] / manifest.text_bytes,
        (seconds["merge"] + seconds["root"]) / (words + manifest.vocabulary_size),
        seconds["shards"] / manifest.tokens,
        manifest.text_bytes / manifest.tokens,
        size / manifest.tokens,
        manifest.vocabulary_size / manifest.tokens**GROWTH,
    )


@dataclass(frozen=True)
class Simulated:
    """A simulated stage: hours from its beginning to its end, core-hours of work, and units that were lost."""

    hours: float
    core_hours: float
    lost: int = 0

    def __add__(self, other: Simulated) -> Simulated:
        return Simulated(self.hours + other.hours, self.core_hours + other.core_hours, self.lost + other.lost)

    def efficiency(self, cores: int) -> float:
        """Return the share of the cores' time that was work which had to be done."""
        return self.core_hours / (cores * self.hours)


def simulate(units_s: Sequence[float], cores: int, *, dying: bool, seed: int = 1) -> Simulated:
    """Assign units to cores, the largest first; with ``dying``, nodes die and their units run again.

    Args:
        units_s: The seconds of each unit on one core.
        cores: The number of cores.
        dying: Whether nodes die, after :data:`LIFE_H` hours on average.
        seed: For the times at which nodes die.
    """
    chance = random.Random(seed)
    nodes = max(1, cores // NODE_CORES)
    dies = [chance.expovariate(1 / LIFE_H) if dying else float("inf") for _ in range(nodes)]
    waiting = [-unit / 3600 for unit in units_s]
    heapq.heapify(waiting)
    free = [(0.0, core % nodes) for core in range(cores)]
    heapq.heapify(free)
    end, lost = 0.0, 0
    while waiting:
        hours = -heapq.heappop(waiting)
        start, node = heapq.heappop(free)
        while dies[node] <= start:  # the node that died is replaced
            start = max(start, dies[node] + REPLACED_H)
            dies[node] += REPLACED_H + chance.expovariate(1 / LIFE_H)
        if start + hours > dies[node]:
            lost += 1
            heapq.heappush(waiting, -hours)
            heapq.heappush(free, (dies[node], node))
            continue
        end = max(end, start + hours)
        heapq.heappush(free, (start + hours, node))
    return Simulated(end, sum(units_s) / 3600, lost)


def scan(corpus: Corpus, rates: Rates, cores: int, *, dying: bool = False) -> Simulated:
    """Simulate a scan."""
    return simulate([size * rates.scan_s_per_byte for size in corpus.sizes()], cores, dying=dying)


def build(corpus: Corpus, rates: Rates, cores: int, *, dying: bool = False) -> Simulated:
    """Simulate the stages of a build one after another; the words of all groups are merged on one core."""
    sizes, tokens = corpus.sizes(), rates.tokens(corpus)
    of_files = [rates.types(size / rates.bytes_per_token) for size in sizes]
    groups = [sum(of_files[n : n + 16]) for n in range(0, len(sizes), 16)]
    grouped = [rates.types(sum(sizes[n : n + 16]) / rates.bytes_per_token) for n in range(0, len(sizes), 16)]
    stages = [
        [size * rates.spool_s_per_byte for size in sizes],
        [types * rates.merge_s_per_type for types in groups],
        [sum(grouped) * rates.merge_s_per_type],
        [SHARD_TOKENS * rates.shard_s_per_token] * max(1, round(tokens / SHARD_TOKENS)),
    ]
    return sum((simulate(stage, cores, dying=dying) for stage in stages), Simulated(0, 0))


def tables(rates: Rates) -> list[str]:
    """Return the tables of docs/scale.md."""
    rows = [
        "| corpus | step | core-hours | 64 cores | 1,000 cores | 1,000 cores, nodes fail | dollars |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for corpus in CORPORA:
        for name, run in (("scan", scan), ("build", build)):
            cells = [_cell(run(corpus, rates, cores), cores) for cores in (64, 1000)]
            dying = run(corpus, rates, 1000, dying=True)
            work = dying.core_hours
            rows.append(
                f"| {corpus.name} | {name} | {work:,.0f} | {' | '.join(cells)} | {_time(dying.hours)}, "
                f"{dying.lost} units lost | {work * CORE_HOUR:,.0f} |"
            )
    rows += [
        "",
        "| corpus | words | types | index | shards | work folder | network, scan and build | index stored a month | "
        "memory of `root` | memory to serve |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for corpus in CORPORA:
        tokens = rates.tokens(corpus)
        types, index = rates.types(tokens), tokens * rates.index_bytes_per_token
        shards = max(1, round(tokens / SHARD_TOKENS))
        documents = tokens / 500
        work = tokens * 4 + documents * 90
        rows.append(
            f"| {corpus.name} | {tokens / 1e9:,.0f} G | {types / 1e6:,.0f} M | {index / 1e12:.1f} TB | {shards:,} | "
            f"{work / 1e12:.1f} TB | {corpus.stored_bytes / 1e12:.1f} TB, "
            f"{(corpus.stored_bytes + 2 * work + index) / 1e12:.1f} TB | ${index / 1e9 * GB_MONTH:,.0f} | "
            f"{types * 88 / 1e9:,.0f} GB | {max(documents, shards * (4 << 20)) / 1e9:.0f} GB |"
        )
    return rows


def _cell(done: Simulated, cores: int) -> str:
    return f"{_time(done.hours)} ({100 * done.efficiency(cores):.0f}%)"


def _time(hours: float) -> str:
    return f"{hours * 60:,.0f} min" if hours < 3 else f"{hours:,.1f} h"


def main(data: Path, sources: Sequence[str], facts: int = 100_000) -> None:
    """Measure, simulate, and print all of it."""
    rates = measure(data, sources, facts)
    print(
        f"measured on one core: scan of {facts:,} facts {1e-6 / rates.scan_s_per_byte:.0f} MB of text per second; "
        f"spool {1e-6 / rates.spool_s_per_byte:.0f} MB/s; merge {1e9 * rates.merge_s_per_type:,.0f} ns per type; "
        f"shards {1e9 * rates.shard_s_per_token:.0f} ns per token; {rates.bytes_per_token:.2f} bytes of text and "
        f"{rates.index_bytes_per_token:.2f} bytes of index per token; {rates.types_at_one:.1f} * tokens^{GROWTH} types"
    )
    print("\nsimulated, not run:\n")
    print("\n".join(tables(rates)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
