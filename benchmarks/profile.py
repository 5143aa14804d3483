"""Where the time goes: the stages of a build, the parts of one count, and those of a fact table; CPU, one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pyarrow as pa

from benchmarks.corpora import Setting
from benchmarks.counting import SINGLES, flat_ngrams, random_ngrams
from benchmarks.measure import Report, cost_of, median_of
from factcensus.indexer import CountIndex, build_index, verify_index
from factcensus.indexer.counting.deadline import Deadline
from factcensus.indexer.counting.scope import EVERY_DOCUMENT, column_of
from factcensus.indexer.kernels.forms import forms_of_texts
from factcensus.indexer.kernels.ngrams import count_range, count_ranges
from factcensus.indexer.storage.manifest import Layout
from factcensus.indexer.tables.facts import check_facts


def main(setting: Setting, report: Report) -> None:
    """Build an index, then count in it."""
    report.title("Where the time goes")
    for layout in get_args(Layout):
        _build(setting, report, layout)
    with CountIndex.open(setting.index) as index:
        _one_count(index, report)
        _facts(index, setting, report)


def _build(setting: Setting, report: Report, layout: Layout) -> None:
    spent: dict[str, float] = {}
    corpus = setting.natural  # is written when it is first asked for, before the clock starts
    last = time.process_time()

    def progress(stage: str, _done: int, _total: int, _unit: str) -> None:
        nonlocal last
        now = time.process_time()
        name = stage.rstrip("0123456789 ")
        spent[name] = spent.get(name, 0.0) + now - last
        last = now

    out = setting.folder / f"profiled-{layout}"
    build_index([corpus], out, layout=layout, jobs=1, device="cpu", progress=progress)
    spent["verify"] = cost_of(lambda: verify_index(out)).cpu_s
    total = sum(spent.values())
    report.heading(f"a build with one job, verified, {layout}")
    report.table(
        ["stage", "CPU", "share"],
        [[stage, f"{seconds:.2f} s", f"{seconds / total:.0%}"] for stage, seconds in spent.items()],
    )


def _one_count(index: CountIndex, report: Report) -> None:
    ngrams = random_ngrams(index)
    texts = [index.text(ngram) for ngram in ngrams[:SINGLES]]
    ids = [index.token_ids(text) or () for text in texts]
    shard, deadline = index.shards[0], Deadline()
    (counted, *_), column = index.counted(), column_of(EVERY_DOCUMENT)
    ranges = [shard.find(each) for each in ids]
    flat = flat_ngrams(ngrams)
    found = shard.find_all(*flat)
    counts = np.zeros((len(ngrams), 2), np.int64)

    def documents() -> None:
        for low, high in ranges:
            count_range(shard.suffix_rows, shard.selection(counted, column), low, high, deadline.flag)

    _parts(
        report,
        "one count from a string, in the first shard",
        {
            "all of it": lambda: [index.count(text) for text in texts],
            "analyse it, look up its words": lambda: [index.token_ids(text) for text in texts],
            "find its range": lambda: [shard.find(each) for each in ids],
            "count the documents of the range": documents,
        },
        len(texts),
    )
    _parts(
        report,
        "a batch of counts, per count",
        {
            "all of it": lambda: index.count_ngrams(ngrams),
            "find the ranges": lambda: shard.find_all(*flat),
            "count the documents of the ranges": lambda: count_ranges(
                shard.suffix_rows, shard.selection(counted, column), found, deadline.flag, counts
            ),
        },
        len(ngrams),
    )


def _facts(index: CountIndex, setting: Setting, report: Report) -> None:
    facts = setting.facts.select(["subject", "object"])
    names = pa.array(dict.fromkeys(facts["subject"].to_pylist() + facts["object"].to_pylist()), pa.string())
    forms = index.text_forms(names)
    each = np.arange(len(names) + 1)
    flat = forms_of_texts(forms, each[:-1], each)
    _parts(
        report,
        "a table of facts, per fact; the rest is counting in the ranges",
        {
            "all of it": lambda: index.count_facts(facts),
            "check the table": lambda: check_facts(facts),
            "analyse the names, look up their words": lambda: index.text_forms(names),
            "lay out the terms": lambda: forms_of_texts(forms, each[:-1], each),
            "find the ranges": lambda: [shard.find_all(flat.tokens, flat.starts) for shard in index.shards],
        },
        facts.num_rows,
    )


def _parts(report: Report, what: str, parts: dict[str, Callable[[], Any]], per: int) -> None:
    seconds = {}
    for name, run in parts.items():
        run()
        seconds[name] = median_of([cost_of(run) for _ in range(report.rounds)])
    report.heading(what)
    total = seconds["all of it"]
    rows = [[name, f"{1e6 * each / per:.2f} µs", f"{each / total:.0%}"] for name, each in seconds.items()]
    report.table(["", "CPU", "share"], rows)
