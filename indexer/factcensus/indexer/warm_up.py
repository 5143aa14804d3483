"""Compiles what building an index and counting in it need, so that a first count does not wait for it.

``python -m factcensus.indexer.warm_up`` fills Numba's cache (``NUMBA_CACHE_DIR``); images are built with it. An index
whose suffix array has entries of four bytes (a shard of 16 MiB of token ids and more) takes code of other types, which
is compiled when it is first asked.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from factcensus.indexer import CountIndex, Entity, Limit, build_index, facts_from_rows

#: Documents: enough that a word occurs 1024 times, which counts look up, and that token ids take two bytes.
DOCUMENTS = 600


def warm_up() -> None:
    """Build a small index that has every file an index can have, and ask it every kind of question."""
    with TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.jsonl"
        lines = [f'{{"text": "one two one three w{n} v{n % 50}", "source": "a"}}\n' for n in range(DOCUMENTS)]
        corpus.write_text("".join([*lines, lines[-1]]), encoding="utf-8")
        build_index([corpus], Path(folder) / "index", jobs=1)
        with CountIndex.open(Path(folder) / "index") as index:
            ask_everything(index, "one", "two", alias="three", by="source")


def ask_everything(
    index: CountIndex, one: str, two: str, *, alias: str, by: str | None = None, limit: Limit | None = None
) -> None:
    """Ask an index every kind of question about two of its words, and an alias of the first.

    Raises:
        DeadlineError: the limit was reached.
    """
    subject, object_ = Entity(one, (alias,)), Entity(two)
    for column in dict.fromkeys((None, by)):
        index.count(f"{one} {two}", by=column, limit=limit)
        index.cooccurrence(subject, object_, window=1, by=column, limit=limit)
    index.count_facts(facts_from_rows([{"subject": one, "object": two}] * 2), windows=[1], limit=limit)
    index.find_documents(subject=subject, object=object_, window=1, deadline=limit)
    index.find_documents(text=f"{one} {two}", deadline=limit)


if __name__ == "__main__":
    warm_up()
