"""The suffix array alone, compared with infini-gram's builder: one process, one thread, the same two-byte tokens.

The tokens are the word ids of the corpus folded into 60,000, because the peer's builder cannot handle four bytes (it
needs 2^32 buckets). Both read the tokens from a file and write the table to a file; the tables must be equal. The peer
makes one part, which it still has to merge.
"""

from __future__ import annotations

import sys
from pathlib import Path

import infini_gram
import numpy as np

from benchmarks.corpora import Setting
from benchmarks.measure import Cost, Report, cost_of, median_of, run_process
from benchmarks.sort_tokens import FOLDED, SEPARATOR
from factcensus.indexer import build_index
from factcensus.indexer.storage.layout import entry_bytes

#: Overlap of parts in bytes, as set by the peer's indexer.
HACK = 100_000
PATIENCE = 60
LEAST_PATIENCE_S = 60.0


def main(setting: Setting, report: Report) -> None:
    """Sort natural text, then text with many repeats."""
    report.title("Suffix array alone, two-byte tokens")
    place = setting.folder / "array"
    place.mkdir()
    build_index([setting.repetitive], place / "repetitive", analyzer="words")
    few = place / "few.u16"
    np.full(2, SEPARATOR, "<u2").tofile(few)
    for kind, index in (("natural", setting.index), ("repetitive", place / "repetitive")):
        tokens = place / f"{kind}.u16"
        size = _fold(index / "tokenized.0", tokens)
        ours, theirs = place / "ours.out", place / "theirs.out"
        cost_of(lambda: _ours(few, ours))  # noqa: B023
        baseline = _ours(few, ours)
        limit = max(LEAST_PATIENCE_S, PATIENCE * _ours(tokens, ours).wall_s)
        peer = "infini-gram's builder"
        costs = report.compare(
            f"{kind} text, {size / 1e6:.2f} M tokens",
            {
                "ours": lambda: _ours(tokens, ours),  # noqa: B023
                peer: lambda: _theirs(tokens, place, theirs, limit),  # noqa: B023
            },
            warm=False,
        )
        peak = (max(cost.peak_bytes for cost in costs["ours"]) - baseline.peak_bytes) / size
        seconds = median_of(costs["ours"]) - baseline.cpu_s
        told = (
            f"Beyond the cost of starting ({baseline.peak_bytes >> 20} MiB, {baseline.cpu_s:.2f} s), ours takes "
            f"{peak:.1f} B of memory per token and {seconds:.2f} s: {size / 1e6 / seconds:.2f} M "
            "tokens per CPU second"
        )
        if any(cost.stopped for cost in costs[peer]):
            report.note(f"{told}. The peer was stopped after {limit:.0f} s.")
            continue
        theirs_s, theirs_peak = median_of(costs[peer]), max(cost.peak_bytes for cost in costs[peer])
        report.note(
            f"{told}, {theirs_s / seconds:.1f} times the peer's {size / 1e6 / theirs_s:.2f} M. The peer's takes "
            f"{theirs_peak / size:.1f} B per token."
        )
        assert ours.read_bytes() == theirs.read_bytes(), "the tables differ"
        report.note("Both tables are the same bytes.")


def _fold(tokenized: Path, out: Path) -> int:
    ids = np.fromfile(tokenized, "<u4")
    np.where(ids == 0xFFFFFFFF, SEPARATOR, ids % FOLDED).astype("<u2").tofile(out)
    return len(ids)


def _ours(tokens: Path, out: Path) -> Cost:
    return run_process([sys.executable, "-m", "benchmarks.sort_tokens", tokens, out])


def _theirs(tokens: Path, place: Path, out: Path, limit_s: float) -> Cost:
    size = tokens.stat().st_size
    common = ["--data-file", tokens, "--ratio", str(entry_bytes(size)), "--token-width", "2"]
    parts, merged = place / "parts", place / "merged"
    total = Cost(0, 0)
    for folder in (parts, merged):
        folder.mkdir(exist_ok=True)
        for file in folder.iterdir():
            file.unlink()
    program = Path(infini_gram.__file__).parent / "rust_indexing"
    for step in (
        ["make-part", "--parts-dir", parts, "--start-byte", "0", "--end-byte", str(size)],
        ["merge", "--parts-dir", parts, "--merged-dir", merged, "--num-threads", "1", "--hacksize", str(HACK)],
        ["concat", "--merged-dir", merged, "--merged-file", out, "--num-threads", "1"],
    ):
        if not total.stopped:
            total += run_process([program, *step, *common], limit_s=max(1.0, limit_s - total.wall_s))
    return total
