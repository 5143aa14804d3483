"""Compiles what building an index and counting in it need, so that a first count does not wait for it.

``python -m factcensus.indexer.warm_up`` fills Numba's cache (``NUMBA_CACHE_DIR``); images are built with it. An index
whose suffix array has entries of four bytes (a shard of 16 MiB of token ids and more) takes code of other types, which
is compiled when it is first asked.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from factcensus.indexer import CountIndex, Entity, build_index, facts_from_rows


def warm_up() -> None:
    """Build a tiny index and ask it every kind of question."""
    with TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.jsonl"
        corpus.write_text('{"text": "one two one three", "source": "a"}\n' * 3, encoding="utf-8")
        build_index([corpus], Path(folder) / "index", jobs=1)
        with CountIndex.open(Path(folder) / "index") as index:
            one, two = Entity("one", ("three",)), Entity("two")
            for by in (None, "source"):
                index.count("one two", by=by)
                index.cooccurrence(one, two, window=1, by=by)
            index.count_facts(facts_from_rows([{"subject": "one", "object": "two"}] * 2), windows=[1])
            index.find_documents(subject=one, object=two, window=1)
            index.find_documents(text="one two")


if __name__ == "__main__":
    warm_up()
