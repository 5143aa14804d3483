"""Compile the code for building and querying an index in advance, so that the first count does not wait for it.

``python -m factcensus.indexer.warm_up`` fills Numba's cache (``NUMBA_CACHE_DIR``); container images run it when they
are built. Shards with 16 MiB of token ids or more have suffix-array entries of four bytes. They need code for other
types, which is compiled at the first query.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from factcensus.indexer.building.build import build_index
from factcensus.indexer.counting.deadline import Deadline
from factcensus.indexer.index import CountIndex
from factcensus.indexer.records import Entity
from factcensus.indexer.tables.facts import facts_from_rows

#: Number of documents: enough that a word occurs over 1024 times, so its counts are stored, and that token ids take
#: two bytes.
DOCUMENTS = 600


def warm_up() -> None:
    """Build a small index with every kind of file, and run every kind of query on it."""
    with TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.jsonl"
        lines = [f'{{"text": "one two one three w{n} v{n % 50}", "source": "a"}}\n' for n in range(DOCUMENTS)]
        corpus.write_text("".join([*lines, lines[-1]]), encoding="utf-8")
        build_index([corpus], Path(folder) / "index", jobs=1)
        with CountIndex.open(Path(folder) / "index") as index:
            ask_everything(index, "one", "two", alias="three", by="source")


def ask_everything(
    index: CountIndex, one: str, two: str, *, alias: str, by: str | None = None, deadline: Deadline | None = None
) -> None:
    """Run every kind of query with two words of an index, and an alias of the first.

    Raises:
        DeadlineError: The deadline was reached.
    """
    subject, object_ = Entity(one, (alias,)), Entity(two)
    for column in dict.fromkeys((None, by)):
        index.count(f"{one} {two}", by=column, deadline=deadline)
        for window in (None, 1):  # whole documents are counted by other code
            index.cooccurrence(subject, object_, window=window, by=column, deadline=deadline)
    index.count_facts(facts_from_rows([{"subject": one, "object": two}] * 2), windows=[1], deadline=deadline)
    index.find_documents(subject=subject, object=object_, window=1, deadline=deadline)
    index.find_documents(text=f"{one} {two}", deadline=deadline)
    index.trace(f"{one} {two}", least_tokens=1, deadline=deadline)
    if index.no_completions is None:
        index.complete(one, deadline=deadline)


if __name__ == "__main__":
    warm_up()
