"""Counting: one n-gram, a batch of them, and a fact table, beside infini-gram's engine on the same index folder.

The engine counts occurrences of token n-grams and, for AND, occurrences of one term near another; we count documents.
The last table therefore also shows on how many facts its answer cannot be a document count.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from infini_gram.engine import InfiniGramEngine

from factcensus.indexer import CountIndex, build_index, read_facts
from factcensus.indexer.facts import entities_of

NGRAMS = 10_000


def main(corpus: Path | None, facts_path: Path | None, rounds: int) -> None:
    """Build an index of the corpus (or of a controlled world), then count."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        if corpus is None or facts_path is None:
            from factcensus.unlearn import PRESETS, write_world

            write_world(Path(folder) / "world", PRESETS["demo"].world, seed=0)
            corpus, facts_path = Path(folder) / "world" / "corpus", Path(folder) / "world" / "facts.jsonl"
        started = time.perf_counter()
        manifest = build_index([corpus], Path(folder) / "ix")
        seconds = time.perf_counter() - started
        size = sum(file.bytes for file in manifest.files.values())
        print(
            f"index of {manifest.text_bytes / 1e6:.1f} MB of text, {manifest.tokens / 1e6:.2f} M tokens: built in "
            f"{seconds:.1f} s ({manifest.text_bytes / 1e6 / seconds:.1f} MB/s), "
            f"{size / manifest.text_bytes:.2f} bytes a byte of text\n"
        )
        with CountIndex.open(Path(folder) / "ix") as index:
            engine = InfiniGramEngine(
                index_dir=str(index.folder), eos_token_id=0, vocab_size=2**32 - 1, version=4, token_dtype="u32"
            )
            _counts(index, engine, rounds)
            _facts(index, engine, facts_path, rounds)


def _counts(index: CountIndex, engine: Any, rounds: int) -> None:
    ngrams = _ngrams(index)
    texts = [index.text(ngram) for ngram in ngrams[:1000]]
    for ngram, text in zip(ngrams, texts, strict=False):
        theirs = engine.count(input_ids=ngram)["count"]
        assert index.count(text)["occurrences"] == theirs, (text, theirs)
    _compare(
        f"{len(texts):,} counts from strings",
        "ours, with documents",
        lambda: [index.count(text) for text in texts],
        "its engine, from ids, occurrences only",
        lambda: [engine.count(input_ids=ngram) for ngram in ngrams[: len(texts)]],
        rounds,
    )
    _compare(
        f"{NGRAMS:,} ranges of the table, from ids",
        "ours, one shard after another",
        lambda: [[each.find(ngram) for each in index.shards] for ngram in ngrams],
        "its engine",
        lambda: [engine.find(input_ids=ngram) for ngram in ngrams],
        rounds,
    )


def _facts(index: CountIndex, engine: Any, path: Path, rounds: int) -> None:
    facts = read_facts(path)
    pairs = [
        (index.token_ids(subject.name), index.token_ids(object.name))
        for subject, object in zip(entities_of(facts, "subject"), entities_of(facts, "object"), strict=True)
    ]
    queries = [[[list(subject)], [list(object)]] for subject, object in pairs if subject and object]
    plain = facts.select([name for name in facts.column_names if not name.endswith("_aliases")])

    def theirs() -> list[Any]:
        return [engine.count_cnf(cnf=query, max_clause_freq=10**8, max_diff_tokens=10**7) for query in queries]

    _compare(
        f"{facts.num_rows:,} facts: documents with both, mentions and documents of each (theirs: {len(queries):,})",
        "ours",
        lambda: index.count_facts(plain),
        "its AND",
        theirs,
        rounds,
    )
    ours = index.count_facts(plain)["cooccurrence_documents"].to_pylist()
    exact = [count for count, (subject, object) in zip(ours, pairs, strict=True) if subject and object]
    below = sum(answer["count"] < count for answer, count in zip(theirs(), exact, strict=True))
    print(
        f"its AND is below the number of documents with both for {below:,} of {len(exact):,} facts, "
        "which no count of occurrences can be\n"
    )


def _ngrams(index: CountIndex) -> list[list[int]]:
    """Random n-grams of one to five tokens of the corpus."""
    chance = random.Random(0)
    found: list[list[int]] = []
    while len(found) < NGRAMS:
        shard = chance.choice(index.shards)
        begin, end = shard.document_span(chance.randrange(shard.documents))
        if end > begin:
            at = chance.randrange(begin, end)
            found.append(shard.tokens(at, min(end, at + chance.randrange(1, 6))).tolist())
    return found


def _compare(
    what: str, name: str, ours: Callable[[], Any], other_name: str, theirs: Callable[[], Any], rounds: int
) -> None:
    """Run both in turn, so that a machine that gets slower slows both, and print medians and the ratio by round."""
    times: list[tuple[float, float]] = []
    ours()
    theirs()
    for _ in range(rounds):
        times.append((_seconds(ours), _seconds(theirs)))
    print(what)
    for label, values in ((name, [a for a, _ in times]), (other_name, [b for _, b in times])):
        print(f"  {label:<42} {1000 * statistics.median(values):10.1f} ms  {_spread(values, 1000)}")
    ratios = [theirs_s / ours_s for ours_s, theirs_s in times]
    print(f"  {'ratio':<42} {statistics.median(ratios):10.1f} x   {_spread(ratios, 1)}\n")


def _seconds(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _spread(values: Sequence[float], factor: float) -> str:
    return f"({factor * min(values):.1f} to {factor * max(values):.1f})"
