"""Everything that users do with an index, on small data, to find the compiled functions and types that it needs.

``python -m tests.indexer.kernel_workload`` writes ``variants.json`` again, after a compiled function has changed.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from factcensus.api.infini_gram.cnf import count_cnf
from factcensus.indexer import (
    CountIndex,
    Deadline,
    Entity,
    Scope,
    add_to_index,
    build_index,
    compact_index,
    delete_documents,
    scan_facts,
    verify_index,
)
from factcensus.indexer.building.convert import convert_index
from factcensus.indexer.infini_gram.language_model import NgramModel
from factcensus.indexer.kernels import ahead, native
from factcensus.indexer.warm_up import ask_everything

from .corpora import write_corpus
from .test_distributed_build import tokenizer_of

WORDS = [f"w{number}" for number in range(300)] + [
    "Paris",
    "France",
    "Rome",
    "日",
    "本",
    "ー",
    "naïve",
    "Papeete\u0304",
]
FACTS = pa.table(
    {
        "subject": ["Paris", "w1", "Rome", "w7 w3", "日本"],
        "object": ["France", "w2", "Italy", "w5", "w1"],
        "subject_aliases": [["w9", "w9 w1"], [], ["w3"], None, None],
    }
)
#: More words than one call looks up without a sample of the vocabulary.
MANY_FACTS = pa.table({"subject": [f"w{number}" for number in range(1500)], "object": ["w1"] * 1500})
SCOPES = [Scope(), Scope(duplicates=False), Scope(documents=(3, 200)), Scope(where="n = 1")]
#: More tokens of four bytes than a suffix array with entries of three bytes can hold.
WIDE_TOKENS = 4_300_000


def run(root: Path) -> None:
    """Do everything once in a folder."""
    random.seed(1)
    weights = [1 / (place + 1) for place in range(len(WORDS))]

    def text(size: int) -> str:
        return " ".join(random.choices(WORDS, weights=weights, k=size))

    sizes = random.choices([5, 40, 400, 3000], k=400)
    documents = [{"id": f"d{i}", "text": text(size), "source": "ab"[i % 2], "n": i % 3} for i, size in enumerate(sizes)]
    documents += [{**each, "id": f"r{each['id']}"} for each in documents[:20]]
    corpus = write_corpus(root / "corpus.jsonl", documents)
    pq.write_table(pa.Table.from_pylist(documents), root / "corpus.parquet")
    more = write_corpus(root / "more.jsonl", [{"id": f"x{i}", "text": text(50), "n": 1} for i in range(50)])
    tokenizer = f"hf:{tokenizer_of(root, WORDS)}"
    for number, analyzer in enumerate(("words", "words-cased", "bytes", tokenizer)):
        for shard_tokens in (None, 20_000):
            folder = root / f"{number}-{shard_tokens}"
            build_index([corpus], folder, analyzer=analyzer, jobs=1, shard_tokens=shard_tokens)
            use(folder, more)
        scan_facts([root / "corpus.parquet", corpus], FACTS, analyzer=analyzer, windows=[0, 9], jobs=1)
        scan_facts([more], FACTS.drop_columns(["subject_aliases"]), analyzer=analyzer, jobs=1)
    for analyzer, shard_tokens in (("words", None), ("words", 20_000), (tokenizer, 20_000)):
        folder = root / f"compact-{analyzer[:2]}-{shard_tokens}"
        build_index([corpus], folder, analyzer=analyzer, layout="compact", jobs=1, shard_tokens=shard_tokens)
        use(folder, more)
        convert_index(folder, "suffix-array", folder.with_name(f"{folder.name}-converted"), jobs=1)
    some = " ".join(WORDS) + " " + "w1 " * (WIDE_TOKENS // 40)
    wide = [{"id": f"wide{i}", "text": some + text(WIDE_TOKENS)} for i in range(2)]
    corpora = [write_corpus(root / f"wide{i}.jsonl", [wide[i], *documents]) for i in range(2)]
    for number, (analyzer, size) in enumerate((("words", 1), ("bytes", 1), (tokenizer, 2))):
        folder = root / f"wide-{number}"
        build_index(corpora[:size], folder, analyzer=analyzer, jobs=1)
        ask(folder)
        verify_index(folder)


def use(folder: Path, more: Path) -> None:
    """Ask, verify and change an index."""
    ask(folder)
    verify_index(folder)
    verify_index(folder, full=True)
    add_to_index(folder, [more], jobs=1)
    delete_documents(folder, ids=["d3", "d7"])
    ask(folder)
    compact_index(folder)


def ask(folder: Path) -> None:
    """Ask an index every kind of question."""
    with CountIndex.open(folder) as index:
        ask_everything(index, "w1", "w2", alias="w3", by="n")
        for scope in SCOPES:
            for words in ("w1", "w1 w2", "Paris", "zz"):
                index.count(words, scope=scope)
                index.count(words, by="n", scope=scope)
            index.count_many(["w1", "w2 w1"], scope=scope)
            for window in (None, 0, 10):
                index.cooccurrence("Paris", "France", window=window, scope=scope)
                index.cooccurrence(Entity("w1", ("w4",)), "w2", window=window, by="n", scope=scope)
            for facts in (FACTS, FACTS.drop_columns(["subject_aliases"])):
                for threads in (1, 2):
                    index.count_facts(facts, windows=[0, 5], scope=scope, threads=threads)
                index.count_facts(facts, by="n", scope=scope)
            index.find_documents(text="w1", scope=scope)
            index.find_documents(subject="w0 w0", object="w2", scope=scope)
            index.find_documents(subject="w1", object="w2", window=3, scope=scope, by="n")
        index.count_facts(MANY_FACTS)
        index.trace("w1 w2 Paris w3 w1 w1 w7 w5", least_tokens=1)
        rare, frequent, other = ([index.token_ids(word)] for word in ("Rome", "w0", "w1 w2"))
        for clauses in ([frequent, other], [rare, frequent, other]):  # a rare clause has the text around it searched
            count_cnf(index, clauses, 1, Deadline(), most=1)
        if index.info().layout == "compact":
            with NgramModel.open(index) as model:
                model.infgram_prob("zz w1 w2")
                model.infgram_ntd("zz")
                model.ntd("w1 w2")


def main() -> None:
    """Write ``variants.json`` to the package."""
    native.seen = {}
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder))
    found = {name: dict(sorted(variants.items())) for name, variants in sorted(native.seen.items())}
    ahead.VARIANTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{sum(map(len, found.values()))} variants of {len(found)} functions", file=sys.stderr)


if __name__ == "__main__":
    main()
