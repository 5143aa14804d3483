"""Real text and real facts: every number of the counts table equals the oracle.

The text comes from real shards and is rewritten to several files in mixed formats. The facts are countries and
capitals, PopQA and books, with all their aliases.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard

from factcensus.indexer import (
    CountIndex,
    Scope,
    add_to_index,
    build_index,
    delete_documents,
    read_facts,
    verify_index,
)
from factcensus.indexer.answers import TextCounts

from . import reference
from .corpora import Record, write_corpus
from .inverted import Inverted

WINDOWS = (0, 10, 50)


def lines(path: Path) -> Iterator[Record]:
    """Yield the documents of one real shard, read without our readers."""
    if path.suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches(batch_size=50):
            yield from batch.to_pylist()
    elif path.suffix == ".zst":
        with path.open("rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as reader:
            for line in io.TextIOWrapper(reader, encoding="utf-8", newline="\n"):
                yield json.loads(line)
    else:
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
            for line in file:
                yield json.loads(line)


#: shard, documents to skip between two samples, number of documents, output file
Sample = tuple[str, int, int, str]
SAMPLE: list[Sample] = [
    ("corpus/simplewiki/v0/documents/simplewiki-0000.json.gz", 0, 1_500, "wiki/a.json.gz"),
    ("corpus/simplewiki/v0/documents/simplewiki-0002.json.gz", 20, 700, "wiki/b.jsonl"),
    ("corpus/factbook/v0/documents/factbook-0000.json.gz", 4, 50, "book.jsonl.zst"),
    ("corpus/parquet/enwiki2020-0000.parquet", 40, 30, "wiki/c.parquet"),
    ("corpus/pile/pile-00.jsonl.zst", 20, 1_200, "pile.json.zst"),
    ("corpus/c4-sample/v0/documents/c4-sample-0000.json.gz", 3, 200, "web.json"),
]
#: About 80 million characters from every kind of text; the oracle needs half a second for a million.
FULL: list[Sample] = [
    ("corpus/simplewiki/v0/documents/simplewiki-0000.json.gz", 0, 4_000, "wiki/a.json.gz"),
    ("corpus/simplewiki/v0/documents/simplewiki-0001.json.gz", 2, 9_000, "wiki/d.jsonl"),
    ("corpus/simplewiki/v0/documents/simplewiki-0002.json.gz", 2, 12_000, "wiki/b.jsonl.zst"),
    ("corpus/enwiki2015/v0/documents/enwiki2015-0000.json.gz", 3, 350, "wiki/e.json"),
    ("corpus/factbook/v0/documents/factbook-0000.json.gz", 0, 261, "book.jsonl.zst"),
    ("corpus/parquet/enwiki2020-0000.parquet", 4, 250, "wiki/c.parquet"),
    ("corpus/pile/pile-00.jsonl.zst", 9, 3_000, "pile.json.zst"),
    ("corpus/c4-sample/v0/documents/c4-sample-0000.json.gz", 0, 846, "web.jsonl.gz"),
]


def source_of(document: Record) -> str | None:
    return document.get("source") or (document.get("meta") or {}).get("pile_set_name")


@dataclass(frozen=True)
class RealCorpus:
    """A sample of the real shards, with its index and the oracle."""

    folder: Path
    sources: list[Path]
    documents: list[Record]

    def oracle(self, analyzer: str, documents: int | None = None) -> Inverted:
        analyse = reference.ANALYZERS[analyzer]
        taken = self.documents[:documents]
        return Inverted([reference.Document(analyse(document["text"]), source_of(document)) for document in taken])


def sample(real_data: Path, folder: Path, what: list[Sample]) -> RealCorpus:
    """Write the sample to a folder and two separate files."""
    documents: list[Record] = []
    for shard, left_out, how_many, name in what:
        taken = list(islice(lines(real_data / shard), 0, how_many * (left_out + 1), left_out + 1))
        assert len(taken) > how_many // 2
        write_corpus(folder / "corpus" / name, taken)
        documents += taken
    return RealCorpus(folder, sorted((folder / "corpus").iterdir()), documents)


@pytest.fixture(scope="module")
def corpus(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RealCorpus:
    return sample(real_data, tmp_path_factory.mktemp("real"), SAMPLE)


def fact_rows(real_data: Path, name: str, how_many: int | None) -> list[dict[str, Any]]:
    """Return the rows of a fact table, read without our reader; lists of aliases are JSON cells."""
    with (real_data / "facts" / name).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if how_many is not None:
        random.Random(11).shuffle(rows)
        rows = rows[:how_many]
    return rows


def write_facts(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def forms_of(row: dict[str, Any], role: str, analyzer: str) -> list[Any]:
    names = [row[role], *json.loads(row[f"{role}_aliases"] or "[]")]
    return [reference.ANALYZERS[analyzer](name) for name in names]


def check_facts(
    real_data: Path, folder: Path, index: CountIndex, oracle: Inverted, how_many: dict[str, int | None], analyzer: str
) -> int:
    """Compare every number of every fact with tokens in its names; return how many numbers were compared."""
    compared = 0
    for name, limit in how_many.items():
        rows = [
            row
            for row in fact_rows(real_data, name, limit)
            if forms_of(row, "subject", analyzer)[0] and forms_of(row, "object", analyzer)[0]
        ]
        facts = read_facts(write_facts(folder / name, rows))
        table = index.count_facts(facts, windows=WINDOWS)
        wrong = []
        together = 0
        for row, ours in zip(rows, table.to_pylist(), strict=True):
            expected = oracle.fact(forms_of(row, "subject", analyzer), forms_of(row, "object", analyzer), WINDOWS)
            found = {column: ours[column] for column in expected}
            if found != expected:
                wrong.append((row["subject"], row["object"], found, expected))
            compared += len(expected)
            together += expected["cooccurrence_documents"] > 0
        assert wrong == [], f"{len(wrong)} of {len(rows)} facts of {name}; the first: {wrong[0]}"
        assert together > 0, f"no fact of {name} is in the sample: nothing was tested"
    return compared


@pytest.mark.parametrize(("analyzer", "shard_tokens"), [("words", 300_000), ("words-cased", None)])
def test_every_count_of_real_facts_in_real_text_equals_the_oracle(
    analyzer: str, shard_tokens: int | None, real_data: Path, corpus: RealCorpus, tmp_path: Path
) -> None:
    build_index(corpus.sources, tmp_path / "ix", analyzer=analyzer, shard_tokens=shard_tokens, jobs=2)
    oracle = corpus.oracle(analyzer)
    how_many = {"country_capitals_aliases.csv": None, "popqa.csv": 500, "book_authors.csv": 200}
    with CountIndex.open(tmp_path / "ix") as index:
        assert index.info().documents == len(corpus.documents)
        assert index.info().tokens == sum(len(document.tokens) for document in oracle.documents)
        assert check_facts(real_data, tmp_path, index, oracle, how_many, analyzer) > 10_000
        check_sources(index, oracle, "Paris", analyzer)
        check_ngrams(index, oracle, 150)
    verify_index(tmp_path / "ix")


def check_sources(index: CountIndex, oracle: Inverted, text: str, analyzer: str) -> None:
    """Compare documents and tokens of each source, and the counts of a text by source."""
    parts = index.count(text, by="source").groups
    sources = {document.source for document in oracle.documents}
    assert len(sources) > 4
    for source in sources:
        assert source is not None
        documents = reference.of_source(oracle.documents, source)
        tokens = sum(len(document.tokens) for document in documents)
        assert index.info().sources[source].as_json() == {"documents": len(documents), "tokens": tokens}
        expected = reference.count(documents, reference.ANALYZERS[analyzer](text))
        assert parts.get(source, TextCounts(0, 0)).as_json() == expected


def check_ngrams(index: CountIndex, oracle: Inverted, how_many: int) -> None:
    """Check that passages of 1 to 8 tokens from the text have the right counts."""
    chance = random.Random(2)
    full = [n for n, document in enumerate(oracle.documents) if document.tokens]
    for _ in range(how_many):
        tokens = oracle.documents[chance.choice(full)].tokens
        start = chance.randrange(len(tokens))
        ngram = list(tokens[start : start + chance.randrange(1, 9)])
        answer = index.count(" ".join(map(str, ngram)))
        if answer.tokens == ngram:  # analysing twice changes some rare characters
            places = oracle.occurrences(ngram)
            assert answer.occurrences == len(places)
            assert answer.documents == len({document for document, _ in places})


def test_fast_oracle_equals_the_slow_one(real_data: Path, corpus: RealCorpus) -> None:
    oracle = corpus.oracle("words", documents=200)
    for row in fact_rows(real_data, "country_capitals_aliases.csv", 25):
        forms = forms_of(row, "subject", "words"), forms_of(row, "object", "words")
        first = {form[0] for role in forms for form in role if form}
        relevant = [document for document in oracle.documents if not first.isdisjoint(document.tokens)]
        assert oracle.fact(*forms, WINDOWS) == reference.fact(relevant, *forms, WINDOWS)


@pytest.mark.full
@pytest.mark.parametrize("analyzer", ["words", "words-cased"])
def test_every_count_of_all_facts_in_much_real_text_equals_the_oracle(
    analyzer: str, real_data: Path, tmp_path: Path
) -> None:
    """Half of the text is added later, so the vocabulary grows and the shards differ."""
    corpus = sample(real_data, tmp_path, FULL)
    half = len(corpus.sources) // 2
    build_index(corpus.sources[:half], tmp_path / "ix", analyzer=analyzer, jobs=2)
    add_to_index(tmp_path / "ix", corpus.sources[half:], shard_tokens=1_000_000, jobs=2)
    oracle = corpus.oracle(analyzer)
    how_many: dict[str, int | None] = {
        "country_capitals_aliases.csv": None,
        "country_capitals.csv": None,
        "popqa.csv": None,
        "book_authors.csv": 1_500,
        "entityquestions.csv": 1_000,
        "lre_relations.csv": 1_000,
    }
    with CountIndex.open(tmp_path / "ix") as index:
        assert check_facts(real_data, tmp_path, index, oracle, how_many, analyzer) > 50_000
        check_sources(index, oracle, "Paris", analyzer)
        check_ngrams(index, oracle, 1_000)
    verify_index(tmp_path / "ix")


def ngrams_of(index: CountIndex, number: int, seed: int, least: int = 1) -> list[list[int]]:
    """Return n-grams of up to 8 tokens at random places, half of them with another token at the end."""
    chance = np.random.default_rng(seed)
    (shard,) = index.shards
    tokens = shard.tokens(0, shard.size)
    separator = 256**shard.token_bytes - 1
    begins, lengths = chance.integers(0, shard.size - 8, number), chance.integers(least, 9, number)
    others = tokens[chance.integers(0, shard.size, number)]
    found = []
    for begin, length, other, kept in zip(begins, lengths, others, chance.random(number) < 0.5, strict=True):
        ngram = tokens[begin : begin + length].tolist()
        if not kept:
            ngram[-1] = int(other)
        if separator not in ngram:
            found.append(ngram)
    return found


@pytest.mark.full
def test_a_million_ngrams_of_real_text_have_the_same_counts_in_both_layouts(real_data: Path, tmp_path: Path) -> None:
    corpus = sample(real_data, tmp_path, FULL)
    for layout in ("suffix-array", "compact"):
        build_index(corpus.sources, tmp_path / layout, jobs=2, layout=layout)
        delete_documents(tmp_path / layout, where="record % 50 = 7")
    # Counts of frequent tokens are stored for the first two scopes only.
    scopes = ((Scope(), 1), (Scope(duplicates=False), 1), (Scope(documents=(500, 5_000)), 3))
    compared = 0
    with CountIndex.open(tmp_path / "suffix-array") as one, CountIndex.open(tmp_path / "compact") as other:
        while compared < 1_000_000:
            scope, least = scopes[compared // 100_000 % 3]
            ngrams = ngrams_of(one, 100_000, compared, least)
            np.testing.assert_array_equal(
                other.count_ngrams(ngrams, scope=scope), one.count_ngrams(ngrams, scope=scope)
            )
            compared += len(ngrams)
