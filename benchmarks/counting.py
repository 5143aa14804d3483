"""Counting: one n-gram, a batch of n-grams, and a fact table, each compared with other programs.

Every program gets its input in advance: infini-gram's engine the same index folder, the Aho-Corasick scan the analysed
text in memory, and tantivy an index of that text with positions, one document per document. We get queries as strings,
the peers get them analysed: as token ids, or as words.

The peers count less than we do: the engine counts occurrences but no documents, and tantivy counts the documents of a
pair but nothing for its terms. Where they count the same, the numbers must be equal.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import ahocorasick_rs
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tantivy
from infini_gram.engine import InfiniGramEngine

from benchmarks.corpora import Setting
from benchmarks.measure import Report, median_of
from factcensus.indexer import CountIndex

SINGLES = 1_000
NGRAMS = 10_000
PAIRS = 500
WINDOW = 64
#: Limits of the engine, high enough to have no effect.
CLAUSE_LIMIT = 10**8
DISTANCE_LIMIT = 10**7
#: The counts of the terms, by column of our table.
COUNTED = ("subject_mentions", "object_mentions", "subject_documents", "object_documents")


def main(setting: Setting, report: Report) -> None:
    """Count n-grams, then facts."""
    report.title("Counting")
    with CountIndex.open(setting.index) as index:
        report.note(
            f"Index of {sum(shard.documents for shard in index.shards):,} documents, "
            f"{index.info().tokens / 1e6:.2f} M tokens."
        )
        engine = InfiniGramEngine(
            index_dir=str(index.folder), eos_token_id=0, vocab_size=2**32 - 1, version=4, token_dtype="u32"
        )
        _ngrams(index, engine, report)
        _facts(index, engine, setting.facts, report)


def _ngrams(index: CountIndex, engine: Any, report: Report) -> None:
    ngrams = random_ngrams(index)
    texts = [index.text(ngram) for ngram in ngrams]
    singles = list(zip(ngrams, texts, strict=True))[:SINGLES]
    for ngram, text in singles:
        assert index.count(text).occurrences == engine.count(input_ids=ngram)["count"], text
    report.compare(
        "one n-gram of one to five words",
        {
            "ours, from a string, with documents": lambda: [index.count(text) for _, text in singles],
            "infini-gram's engine, from ids": lambda: [engine.count(input_ids=ngram) for ngram, _ in singles],
        },
        per=SINGLES,
    )
    flat = flat_ngrams(ngrams)
    report.compare(
        f"{NGRAMS:,} of them in a batch",
        {
            "ours, from ids, with documents": lambda: index.count_ngrams(ngrams),
            "infini-gram's engine in a loop, from ids": lambda: [engine.count(input_ids=ngram) for ngram in ngrams],
            "ours, from ids, occurrences only": lambda: [shard.find_all(*flat) for shard in index.shards],
            "ours, from strings, with documents": lambda: index.count_many(texts),
        },
    )


def _facts(index: CountIndex, engine: Any, facts: pa.Table, report: Report) -> None:
    plain = facts.select(["subject", "object"])
    pairs = [
        tuple(index.analyzer.tokens(text) for text in pair)
        for pair in zip(plain["subject"].to_pylist(), plain["object"].to_pylist(), strict=True)
    ]
    scan = _Scan(index, pairs)
    phrases = Phrases(scan.documents, pairs)
    both = [
        (row, ids)
        for row, pair in enumerate(pairs)
        if all(ids := [index.token_ids(" ".join(words)) for words in pair]) and None not in ids
    ]
    queries = [[[list(subject or ())], [list(object or ())]] for _, (subject, object) in both]

    def and_of_engine() -> list[Any]:
        limits = {"max_clause_freq": CLAUSE_LIMIT, "max_diff_tokens": DISTANCE_LIMIT}
        return [engine.count_cnf(cnf=query, **limits) for query in queries]

    ours = index.count_facts(plain)
    *terms, together_scan = (values.tolist() for values in scan.run())
    for name, theirs in zip(COUNTED, terms, strict=True):
        # "Pago Pago Pago" is one mention of Pago Pago for us and two matches for the peer.
        itself = [_can_overlap_itself(pair["object" in name]) for pair in pairs]
        for count, matches, can in zip(ours[name].to_pylist(), theirs, itself, strict=True):
            assert count == matches or (can and count < matches), f"the scan finds different {name}"
    together = ours["cooccurrence_documents"].to_pylist()
    together_phrases = phrases.run()
    assert together_scan == together_phrases, "tantivy and the scan find different documents with both"
    # "New York" in "New York City" is not a separate mention for us, but it is one for the peers.
    overlap = [_can_overlap(*pair) for pair in pairs]
    for count, theirs, can in zip(together, together_scan, overlap, strict=True):
        assert count <= theirs if can else count == theirs, "the peers find different documents with both"
    report.note(
        f"{len(pairs):,} facts: {sum(count > 0 for count in together):,} have a document with both, {sum(together):,} "
        "such documents in total. The scan counts the same mentions and documents of all terms. Scan and tantivy find "
        f"the same documents with both, except for {sum(overlap):,} facts whose terms can overlap (such as New York "
        "and New York City). There we require separate mentions and count fewer in "
        f"{sum(map(int.__lt__, together, together_scan)):,}."
    )
    report.compare(
        f"{len(pairs):,} facts: documents with both, mentions and documents of each",
        {
            "ours": lambda: index.count_facts(plain),
            "Aho-Corasick, one scan of the analysed text": scan.run,
            "tantivy, AND of phrases": phrases.run,
            f"infini-gram's engine, AND, the {len(queries):,} with both terms": and_of_engine,
        },
    )
    below = sum(answer["count"] < together[row] for (row, _), answer in zip(both, and_of_engine(), strict=True))
    report.note(
        f"The engine's AND counts occurrences near one another. For {below:,} of {len(queries):,} facts its count is "
        f"below the number of documents with both, which is impossible. It reports all counts as exact: "
        f"{not any(answer['approx'] for answer in and_of_engine())}."
    )
    rows = plain.to_pylist()
    some = [
        (rows[row]["subject"], rows[row]["object"], query)
        for (row, _), query in zip(both[:PAIRS], queries[:PAIRS], strict=True)
    ]
    report.compare(
        "one pair of entities, with the counts of both",
        {
            "ours, from strings": lambda: [index.cooccurrence(subject, object) for subject, object, _ in some],
            "infini-gram's engine, AND, from ids, without the counts of both": lambda: [
                engine.count_cnf(cnf=query, max_clause_freq=CLAUSE_LIMIT, max_diff_tokens=DISTANCE_LIMIT)
                for _, _, query in some
            ],
        },
        per=len(some),
    )
    with_window = report.compare(
        "the same facts with windows and aliases",
        {
            "ours, as before": lambda: index.count_facts(plain),
            f"with a window of {WINDOW}": lambda: index.count_facts(plain, windows=[WINDOW]),
            "with aliases": lambda: index.count_facts(facts),
            f"with aliases and a window of {WINDOW}": lambda: index.count_facts(facts, windows=[WINDOW]),
        },
    )
    before, window, *_ = with_window.values()
    report.note(
        f"A window adds {median_of(window) / median_of(before) - 1:.2f} times the cost of counting documents (CPU), "
        f"{median_of(window, 'wall_s') / median_of(before, 'wall_s') - 1:.2f} (wall)."
    )


def _can_overlap(one: Sequence[str], other: Sequence[str]) -> bool:
    """Return whether mentions of both terms can share a position in a text."""
    return any(
        all(word == other[i - shift] for i, word in enumerate(one) if 0 <= i - shift < len(other))
        for shift in range(1 - len(other), len(one))
    )


def _can_overlap_itself(term: Sequence[str]) -> bool:
    """Return whether a mention can begin within another one of the same term."""
    return any(term[shift:] == term[:-shift] for shift in range(1, len(term)))


def random_ngrams(index: CountIndex) -> list[list[int]]:
    """Return n-grams of one to five tokens from random positions of the corpus."""
    chance = random.Random(0)
    found: list[list[int]] = []
    while len(found) < NGRAMS:
        shard = chance.choice(index.shards)
        begin, end = shard.document_span(chance.randrange(shard.documents))
        if end > begin:
            at = chance.randrange(begin, end)
            found.append(shard.tokens(at, min(end, at + chance.randrange(1, 6))).tolist())
    return found


def flat_ngrams(ngrams: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Return the concatenated ids, and the boundaries of the n-grams among them."""
    return np.concatenate([np.array(each, np.uint32) for each in ngrams]), np.cumsum([0, *map(len, ngrams)])


class _Scan:
    """A scan over the words of all documents, each word between spaces."""

    def __init__(self, index: CountIndex, pairs: Sequence[Any]) -> None:
        types = max(shard.types for shard in index.shards)
        words = index.words(range(types))
        self.documents = [
            " ".join(map(words.__getitem__, shard.tokens(*shard.document_span(document)).tolist()))
            for shard in index.shards
            for document in range(shard.documents)
        ]
        self._haystacks = [f" {document} " for document in self.documents]
        terms = list(dict.fromkeys(" ".join(words) for pair in pairs for words in pair))
        number = {term: n for n, term in enumerate(terms)}
        self._patterns = [f" {term} " for term in terms]
        self._pairs = np.array([[number[" ".join(words)] for words in pair] for pair in pairs], np.int64)

    def run(self) -> list[npt.NDArray[np.int64]]:
        """Return the columns ``COUNTED`` of all facts, and the documents with both terms."""
        automaton: Any = ahocorasick_rs.AhoCorasick(self._patterns)
        find = automaton.find_matches_as_indexes
        found: list[int] = []
        ends = []
        for haystack in self._haystacks:
            found += [term for term, _, _ in find(haystack, overlapping=True)]
            ends.append(len(found))
        terms = np.array(found, np.int64)
        document = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
        occurrences = np.bincount(terms, minlength=len(self._patterns))
        distinct = np.unique(terms * len(ends) + document)
        documents = np.bincount(distinct // len(ends), minlength=len(self._patterns))
        cuts = np.concatenate([[0], np.cumsum(documents)])
        rows = (distinct % len(ends)).tolist()
        sets: dict[int, set[int]] = {}
        together = []
        for pair in self._pairs.tolist():
            for term in pair:
                if term not in sets:
                    sets[term] = set(rows[cuts[term] : cuts[term + 1]])
            together.append(len(sets[pair[0]] & sets[pair[1]]))
        subjects, objects = self._pairs.T
        return [
            occurrences[subjects],
            occurrences[objects],
            documents[subjects],
            documents[objects],
            np.array(together),
        ]


class Phrases:
    """tantivy over the same words; finds for each fact the documents with both terms as phrases.

    Args:
        documents: The words of each document, separated by spaces.
        pairs: The words of both terms of each fact.
        folder: Where the index is written; in memory if None.
    """

    def __init__(self, documents: Iterable[str], pairs: Sequence[Any], folder: Path | None = None) -> None:
        builder = tantivy.SchemaBuilder()
        builder.add_text_field("words", tokenizer_name="whitespace", index_option="position")
        schema = builder.build()
        index = tantivy.Index(schema, path=None if folder is None else str(folder))
        writer = index.writer(heap_size=1 << 30, num_threads=1)
        for document in documents:
            writer.add_document(tantivy.Document(words=[document]))
        writer.commit()
        writer.wait_merging_threads()
        index.reload()
        self._searcher = index.searcher()
        self._schema, self._pairs = schema, pairs

    def of(self, pairs: Sequence[Any]) -> Phrases:
        """Return the same index with the pairs of other facts."""
        other = copy(self)
        other._pairs = pairs
        return other

    def _query(self, words: Sequence[str]) -> Any:
        if len(words) == 1:
            return tantivy.Query.term_query(self._schema, "words", words[0], index_option="basic")
        return tantivy.Query.phrase_query(self._schema, "words", list(words))

    def run(self) -> list[int]:
        """Return the number of documents with both terms, for all facts."""
        both = [
            tantivy.Query.boolean_query([(tantivy.Occur.Must, self._query(words)) for words in pair])
            for pair in self._pairs
        ]
        return [self._searcher.search(query, limit=1, count=True).count for query in both]
