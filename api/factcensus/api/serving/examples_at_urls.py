"""Names and pairs of an index at a URL, for examples. The candidates are few and counted together, in few rounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice, pairwise

from factcensus.api.serving.sampled import Sample, capitals, is_name, sampled_at_url
from factcensus.indexer import CountIndex, Deadline
from factcensus.indexer.remote.index import RemoteIndex

#: Maximum number of names and of pairs that are counted.
_NAMES, _PAIRS = 96, 12
#: A more frequent name is left out, because all its occurrences would be read to count its documents.
_MOST_OCCURRENCES = 20_000
#: A name in more than this share of all documents, and in more than a few, is left out.
_EVERYWHERE, _FEW = 0.1, 100
#: Number of words that are not used as names, because the first words of a corpus are mostly frequent ones. At most a
#: quarter of all words is left out.
_FIRST_WORDS = 1000
#: Names taken from the words of one document, and the minimum number of letters of a word.
_OF_DOCUMENT, _LETTERS = 3, 4


def names_at_url(index: RemoteIndex, deadline: Deadline) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    """Return names that occur in an index with their numbers of documents, and the same for pairs of names.

    Raises:
        DeadlineError: The deadline was reached.
        RequestLimitError: More requests are needed than one query may use.
    """
    named = [list(_names(index, sample)) for sample in sampled_at_url(index)]
    deadline.check()
    names = dict.fromkeys(name for of_document in _in_turn(named) for name in of_document)
    ids_of = {name: ids for name in names if index.analyzer.tokens(name) and (ids := index.token_ids(name))}
    known = dict(islice(ids_of.items(), _NAMES))
    sizes = dict(zip(known, index.occurrences_of(list(known.values()), deadline), strict=True))
    few = [name for name, size in sizes.items() if 0 < size <= _MOST_OCCURRENCES]
    numbers = index.count_many(few, deadline=deadline)[:, 1].tolist() if few else []
    counts = {name: n for name, n in zip(few, numbers, strict=True) if 0 < n <= most_documents(index)}
    pairs = list(dict.fromkeys(pair for names in named for pair in _pairs(names, counts)))[:_PAIRS]
    facts = [{"subject": subject, "object": object_} for subject, object_ in pairs]
    together = index.count_facts(facts, deadline=deadline)["cooccurrence_documents"].to_pylist() if facts else []
    return counts, {pair: number for pair, number in zip(pairs, together, strict=True) if number}


def most_documents(index: CountIndex) -> float:
    """Return the number of documents above which a name is too frequent for an example."""
    return max(_FEW, _EVERYWHERE * sum(shard.documents for shard in index.shards))


def _in_turn(named: Sequence[Sequence[str]]) -> Iterator[list[str]]:
    """Yield the first names of all documents, then the second ones, and so on."""
    for place in range(max(map(len, named), default=0)):
        yield [names[place] for names in named if place < len(names)]


def _pairs(names: Sequence[str], counts: dict[str, int]) -> Iterator[tuple[str, str]]:
    """Yield two pairs of counted names of a document that have no word in common."""
    known = [name for name in names if name in counts][:_OF_DOCUMENT]
    apart = [
        pair for pair in combinations(known, 2) if not {*pair[0].casefold().split()} & {*pair[1].casefold().split()}
    ]
    yield from apart[:2]


def _names(index: RemoteIndex, sample: Sample) -> Iterator[str]:
    """Yield the title of a document if it is a name, and then names in its text."""
    if sample.title and is_name(sample.title):
        yield sample.title
    if sample.text is not None or not index.analyzer.has_vocabulary:
        yield from capitals(index.text(sample.ids) if sample.text is None else sample.text)[:_OF_DOCUMENT]
        return
    first = min(_FIRST_WORDS, (index.lexicon.types or 0) // 4)
    words = dict(zip(sample.ids, index.words(sample.ids), strict=True))
    rare = {i for i, word in words.items() if i >= first and word.isalpha() and len(word) >= _LETTERS}
    together = [index.text(pair) for pair in pairwise(sample.ids) if rare.issuperset(pair)]
    yield from list(dict.fromkeys(together))[:_OF_DOCUMENT]
    yield from [words[i] for i in dict.fromkeys(sample.ids) if i in rare][:_OF_DOCUMENT]
