"""Examples for the first page: frequent and rare names and pairs that occur in an index.

They are taken from evenly spaced documents, so they are the same in every process and at every visit.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from typing import Protocol, runtime_checkable

import numpy as np

from factcensus.api.serving.examples_at_urls import most_documents, names_at_url
from factcensus.api.serving.sampled import capitals, is_name, sampled
from factcensus.indexer import CountIndex, Deadline
from factcensus.indexer.answers import Example
from factcensus.indexer.remote.index import RemoteIndex

#: Examples per index.
EXAMPLES = 5
#: Maximum number of names and of pairs that are counted.
_NAMES, _PAIRS = 240, 40
#: Two words are a name if they are together in this share of the documents with the rarer one, and neither is in more
#: than the second share of all documents.
_TOGETHER, _COMMON = 0.3, 0.02


@runtime_checkable
class InParts(Protocol):
    """An index whose parts have their own examples, because its documents are elsewhere."""

    def offered_examples(self, deadline: Deadline) -> Sequence[Example]:
        """Return examples of some parts, with the numbers of documents there."""
        ...


_found: weakref.WeakKeyDictionary[CountIndex, tuple[Example, ...]] = weakref.WeakKeyDictionary()


def examples_of(index: CountIndex, deadline: Deadline) -> tuple[Example, ...]:
    """Return five names and pairs from frequent to rare; fewer for a tiny corpus.

    They are found once for each generation of an index.

    Raises:
        DeadlineError: The deadline was reached.
    """
    known = _found.get(index)
    if known is None:
        known = _found[index] = tuple(_chosen(index, deadline))
    return known


def _chosen(index: CountIndex, deadline: Deadline) -> list[Example]:
    if isinstance(index, InParts):
        return _of_parts(index, index, deadline)
    if not index.shards:
        return []
    if isinstance(index, RemoteIndex):
        found, together = names_at_url(index, deadline)
        few = _spread([Example(*pair, documents) for pair, documents in together.items()], 3)
        return [*_spread([Example(name, None, number) for name, number in found.items()], EXAMPLES - len(few)), *few]
    named = [names for names in _names_by_document(index, deadline) if names]
    names = list(dict.fromkeys(name for of_document in named for name in of_document))[:_NAMES]
    counts = {name: Example(name, None, index.count(name, deadline=deadline).documents) for name in names}
    counts = {name: each for name, each in counts.items() if each.documents <= most_documents(index)}
    pairs = _spread(list(_pairs(index, named, counts, deadline)), 3)
    return [*_spread(list(counts.values()), EXAMPLES - len(pairs)), *pairs]


def _of_parts(index: CountIndex, parts: InParts, deadline: Deadline) -> list[Example]:
    """Return examples of some parts of an index, counted in the whole index."""
    offered = {(each.subject, each.object) for each in parts.offered_examples(deadline)}
    pairs = [pair for pair in sorted(offered, key=str) if pair[1] is not None]
    names = sorted({pair[0] for pair in offered if pair[1] is None})
    facts = [{"subject": subject, "object": object_} for subject, object_ in pairs]
    together = index.count_facts(facts, deadline=deadline)["cooccurrence_documents"].to_pylist() if facts else []
    few = _spread([Example(*pair, number) for pair, number in zip(pairs, together, strict=True)], 3)
    single = [Example(name, None, index.count(name, deadline=deadline).documents) for name in names]
    return [*_spread(single, EXAMPLES - len(few)), *few]


def _pairs(
    index: CountIndex, sampled: Sequence[Sequence[str]], counts: dict[str, Example], deadline: Deadline
) -> Iterator[Example]:
    """Count pairs of names in the same document, two pairs per document."""
    seen = set[tuple[str, str]]()
    for names in sampled:
        known = [name for name in names if name in counts]
        for one, other in list(combinations(known[:3], 2))[:2]:
            shared = {*one.casefold().split()} & {*other.casefold().split()}
            if shared or (one, other) in seen or (other, one) in seen or len(seen) == _PAIRS:
                continue
            seen.add((one, other))
            documents = index.cooccurrence(one, other, deadline=deadline).cooccurrence.documents
            if documents:
                yield Example(one, other, documents)


def _spread(examples: Sequence[Example], number: int) -> list[Example]:
    """Return examples from frequent to rare, evenly spaced among the distinct numbers of documents."""
    order = sorted(examples, key=lambda each: (-each.documents, each.subject, each.object or ""))
    order = [each for each in order if each.documents]
    apart = list({each.documents: each for each in reversed(order)}.values())[::-1]
    if len(apart) < number:
        apart = sorted([*apart, *[each for each in order if each not in apart][: number - len(apart)]], key=order.index)
    places = np.linspace(0, len(apart) - 1, min(number, len(apart)))
    return [apart[round(place)] for place in places.tolist()]


def _names_by_document(index: CountIndex, deadline: Deadline) -> list[list[str]]:
    """Return the names of each sampled document: its title, then names in its text."""
    samples = list(sampled(index))
    if index.analyzer.has_vocabulary and any(sample.text is None for sample in samples):
        found = _collocations(index, [sample.ids for sample in samples], deadline)
    else:
        found = [capitals(index.text(sample.ids) if sample.text is None else sample.text) for sample in samples]
    titles = [[sample.title] if sample.title and is_name(sample.title) else [] for sample in samples]
    return [[*title, *names] for title, names in zip(titles, found, strict=True)]


def _collocations(index: CountIndex, streams: Sequence[Sequence[int]], deadline: Deadline) -> list[list[str]]:
    """Return pairs of words in each stream that mostly occur together, as names do; single words if there are none."""
    total = sum(shard.documents for shard in index.shards)
    ids = sorted({token_id for stream in streams for token_id in stream})
    counts = index.count_ngrams([(token_id,) for token_id in ids], deadline=deadline)[:, 1].tolist()
    documents: dict[int, int] = dict(zip(ids, counts, strict=True))
    words = dict(zip(ids, index.words(ids), strict=True))
    rare = {i for i in ids if words[i].isalpha() and len(words[i]) > 2 and documents[i] <= max(3, _COMMON * total)}
    paired = [[pair for pair in pairwise(stream) if rare.issuperset(pair)] for stream in streams]
    every = sorted({pair for pairs in paired for pair in pairs})
    together: dict[tuple[int, int], int] = dict(
        zip(every, index.count_ngrams(every, deadline=deadline)[:, 1].tolist(), strict=True)
    )
    least = 1 if total < 1000 else 2

    def is_name(pair: tuple[int, int]) -> bool:
        return together[pair] >= max(least, _TOGETHER * min(documents[i] for i in pair))

    named = [list(dict.fromkeys(index.text(pair) for pair in pairs if is_name(pair))) for pairs in paired]
    if any(named):
        return named
    return [list(dict.fromkeys(words[i] for i in stream if i in rare)) for stream in streams]
