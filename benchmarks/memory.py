"""The memory limit ``--memory``: memory of all processes of a build, for a corpus several times larger than the limit.

Measured is the proportional set size (each shared page counted once) of the whole process tree, twenty times per
second. Pages of mapped files are reported separately: the kernel reclaims them when memory is scarce, so the limit
covers only the others.
"""

from __future__ import annotations

import os
import pty
import random
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import get_args

from benchmarks.corpora import FACTCENSUS, Setting, write_shard
from benchmarks.measure import Report
from factcensus.indexer.storage.manifest import Layout, Manifest

INTERVAL_S = 0.05
JOBS = 2
SHARDS = 8
#: Raw bytes have five tokens per word, so less text is enough.
BYTES_SHARE = 4
#: Sentences per document, and how often one of their words is replaced by a new one.
SENTENCES = 40
WORDS_A_NEW_ONE = 100


def main(setting: Setting, report: Report) -> None:
    """Build from words in both layouts, then from bytes."""
    report.title("Memory: limit and peak of a build")
    place = setting.folder / "memory"
    place.mkdir()
    bound = setting.memory_mib << 20
    for analyzer, layouts, megabytes in (
        ("words", get_args(Layout), setting.memory_megabytes),
        ("bytes", ("suffix-array",), setting.memory_megabytes / BYTES_SHARE),
    ):
        corpus = place / "corpus"
        size = _write_corpus(corpus, setting.texts, int(megabytes * 1e6))
        for layout in layouts:
            peaks = _build(corpus, place / "ix", analyzer, layout, setting.memory_mib)
            manifest = Manifest.read(place / "ix")
            largest = max(shard.tokens + shard.documents for shard in manifest.shards)
            own, mapped = max(own for own, _ in peaks.values()), max(map(sum, peaks.values()))
            report.heading(
                f"{analyzer}, {layout}, {size / 1e6:.0f} MB of text, {len(manifest.shards)} shards of up to "
                f"{largest:,} tokens"
            )
            rows = [
                [stage, _mib(one), _mib(one + other), f"{one / bound:.0%}"] for stage, (one, other) in peaks.items()
            ]
            report.table(["stage", "peak", "with mapped files", "of the bound"], rows)
            report.note(
                f"Peak {_mib(own)} of {_mib(bound)} ({own / bound:.0%}), {'kept' if own <= bound else 'BROKEN'}; with "
                f"pages of mapped files {_mib(mapped)}."
            )
            shutil.rmtree(place / "ix")
        shutil.rmtree(corpus)


def _write_corpus(folder: Path, texts: Sequence[str], size: int) -> int:
    """Write documents of sentences sampled from the corpus, with some new words; return their size in bytes."""
    chance = random.Random(0)
    sentences = [sentence for text in texts for sentence in re.split(r"(?<=[.!?])\s+", text) if sentence]
    folder.mkdir()
    total = 0

    def documents() -> Iterator[str]:
        nonlocal total
        made = 0
        while made < size / SHARDS:
            words = " ".join(chance.choices(sentences, k=SENTENCES)).split(" ")
            for at in range(chance.randrange(WORDS_A_NEW_ONE), len(words), WORDS_A_NEW_ONE):
                words[at] = f"{words[at]}{chance.randrange(1 << 24):x}"
            text = " ".join(words)
            made += len(text.encode())
            yield text
        total += made

    for shard in range(SHARDS):
        write_shard(folder / f"part-{shard:03d}.jsonl.gz", documents())
    return total


def _build(corpus: Path, out: Path, analyzer: str, layout: str, memory_mib: int) -> dict[str, tuple[int, int]]:
    """Return the peak of private memory, with the mapped pages at that time, in each stage of a build."""
    ours, theirs = pty.openpty()  # on a terminal, progress is shown continuously
    process = subprocess.Popen(
        [
            *FACTCENSUS,
            "index",
            "build",
            str(corpus),
            "--out",
            str(out),
            "--analyzer",
            analyzer,
            "--layout",
            layout,
            "--memory",
            f"{memory_mib}MiB",
            "--jobs",
            str(JOBS),
            "--device",
            "cpu",
        ],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    stage = ["start"]
    shown = bytearray()

    def read() -> None:
        with suppress(OSError):  # the terminal's other end is closed
            while data := os.read(ours, 4096):
                shown.extend(data)
                del shown[:-8192]
                if names := re.findall(rb"\x1b\[2K([a-z ]+[a-z])(?: \d+)? +\d", shown):
                    stage[0] = names[-1].decode()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    peaks: dict[str, tuple[int, int]] = {}
    try:
        while process.poll() is None:
            own, mapped = memory_of_tree(process.pid)
            before = peaks.get(stage[0], (0, 0))
            peaks[stage[0]] = max(before[0], own), max(before[1], mapped)
            time.sleep(INTERVAL_S)
    finally:
        process.terminate()
    reader.join()
    os.close(ours)
    if process.returncode:
        raise RuntimeError(f"the build failed ({process.returncode}): {shown.decode(errors='replace')[-2000:]}")
    return peaks


def memory_of_tree(root: int) -> tuple[int, int]:
    """Return the bytes of a process and its descendants: private memory, and pages of mapped files."""
    own = mapped = 0
    waiting = [root]
    while waiting:
        process = waiting.pop()
        with suppress(OSError, ValueError):  # the process has ended
            for thread in Path(f"/proc/{process}/task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())
            sizes = dict(
                line.split(":", 1) for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
            )
            kib = {name: int(value.split()[0]) for name, value in sizes.items()}
            own += kib["Pss_Anon"] + kib["Pss_Shmem"] << 10
            mapped += kib["Pss_File"] << 10
    return own, mapped


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.0f} MiB"
