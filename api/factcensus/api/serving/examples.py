"""Examples for the first page: frequent and rare names and pairs that occur in an index.

They are taken from documents at even distances, so they are the same in every process and at every visit.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from factcensus.indexer import CountIndex, Deadline
from factcensus.indexer.counting.passages import parsed
from factcensus.indexer.errors import InputError

#: Examples per index; documents read for them, and tokens read of each.
EXAMPLES, SAMPLED, TOKENS = 5, 48, 300
#: Maximum number of names and of pairs that are counted.
_NAMES, _PAIRS = 240, 40
#: Two words are a name if they are together in this share of the documents with the rarer one, and neither is in more
#: than the second share of all documents.
_TOGETHER, _COMMON = 0.3, 0.02
#: A run of words with capitals inside a sentence.
_CAPITALS = re.compile(r"(?<=[a-z,] )[A-Z][\w’'-]{2,}(?: [A-Z][\w’'-]{2,}){0,2}")
#: Maximum number of words of a title that is a name, and minimum number of letters of a word that is one.
_LONGEST, _LONG_WORD = 4, 5
#: A name in more than this share of all documents, and in more than a few, is left out.
_EVERYWHERE, _FEW = 0.1, 100


@dataclass(frozen=True, slots=True)
class Example:
    """A name, or a pair of names, with the number of documents that contain it; ``object`` is empty for a name."""

    subject: str
    object: str
    documents: int


_found: weakref.WeakKeyDictionary[CountIndex, tuple[Example, ...]] = weakref.WeakKeyDictionary()


def examples_of(index: CountIndex, deadline: Deadline) -> tuple[Example, ...]:
    """Return five names and pairs from frequent to rare; fewer for a tiny corpus.

    They are found once for each generation of an index. An index at a URL or in slices has none, because its documents
    cannot be read cheaply.

    Raises:
        DeadlineError: The deadline was reached.
    """
    known = _found.get(index)
    if known is None:
        known = _found[index] = tuple(_chosen(index, deadline))
    return known


def title_of(metadata: object) -> str | None:
    """Return the title in the metadata of a document, also in nested metadata as in Dolma (``metadata.title``)."""
    if not isinstance(metadata, dict):
        return None
    title = metadata.get("title")
    return title.strip() or None if isinstance(title, str) else title_of(metadata.get("metadata"))


def _chosen(index: CountIndex, deadline: Deadline) -> list[Example]:
    try:
        if index.usage() is not None or not index.shards:
            return []
    except InputError:  # the index is in slices
        return []
    named = [names for names in _names_by_document(index, deadline) if names]
    names = list(dict.fromkeys(name for of_document in named for name in of_document))[:_NAMES]
    counts = {name: Example(name, "", index.count(name, deadline=deadline).documents) for name in names}
    most = max(_FEW, _EVERYWHERE * sum(shard.documents for shard in index.shards))
    counts = {name: each for name, each in counts.items() if each.documents <= most}
    pairs = _spread(list(_pairs(index, named, counts, deadline)), 3)
    return [*_spread(list(counts.values()), EXAMPLES - len(pairs)), *pairs]


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
    order = sorted(examples, key=lambda each: (-each.documents, each.subject, each.object))
    order = [each for each in order if each.documents]
    apart = list({each.documents: each for each in reversed(order)}.values())[::-1]
    if len(apart) < number:
        apart = sorted([*apart, *[each for each in order if each not in apart][: number - len(apart)]], key=order.index)
    places = np.linspace(0, len(apart) - 1, min(number, len(apart)))
    return [apart[round(place)] for place in places.tolist()]


@dataclass(frozen=True, slots=True)
class _Sample:
    """The title of a document, if it has one; its first token ids; and the beginning of its text, if it is kept."""

    title: str | None
    ids: list[int]
    text: str | None


def _sampled(index: CountIndex) -> Iterator[_Sample]:
    """Yield evenly spaced counted documents."""
    shards = index.counted_shards()
    total = sum(shard.documents for shard, _ in shards)
    places = np.unique(np.linspace(0, max(0, total - 1), SAMPLED).astype(np.int64))
    first = 0
    for shard, counted in shards:
        chosen = places[(places >= first) & (places < first + shard.documents)] - first
        first += shard.documents
        chosen = chosen[counted[chosen]] if counted.size else chosen
        if not len(chosen):
            continue
        starts, ends = shard.document_spans(chosen)
        spans = list(zip((starts + 1).tolist(), np.minimum(ends, starts + 1 + TOKENS).tolist(), strict=True))
        kept = shard.kept
        texts = [None] * len(spans) if kept is None else [_begin(text) for text in kept.texts(chosen.tolist())]
        for row, ids, text in zip(shard.rows(chosen.tolist()), shard.token_parts(spans), texts, strict=True):
            yield _Sample(title_of(parsed(row.get("metadata"))), ids.tolist(), text)


def _begin(text: bytes) -> str:
    return text[: 8 * TOKENS].decode(errors="replace")


def _names_by_document(index: CountIndex, deadline: Deadline) -> list[list[str]]:
    """Return the names of each sampled document: its title, then names in its text."""
    samples = list(_sampled(index))
    if index.analyzer.has_vocabulary and any(sample.text is None for sample in samples):
        found = _collocations(index, [sample.ids for sample in samples], deadline)
    else:
        found = [_capitals(index.text(sample.ids) if sample.text is None else sample.text) for sample in samples]
    titles = [[sample.title] if sample.title and _is_name(sample.title) else [] for sample in samples]
    return [[*title, *names] for title, names in zip(titles, found, strict=True)]


def _capitals(text: str) -> list[str]:
    """Return the names of several words in a text; if there are none, its long words with a capital."""
    names = list(dict.fromkeys(_CAPITALS.findall(text)))
    return [name for name in names if " " in name] or [name for name in names if len(name) >= _LONG_WORD]


def _is_name(title: str) -> bool:
    return len(title.split()) <= _LONGEST and re.fullmatch(r"[\w’'. -]*[^\W\d_][\w’'. -]*", title) is not None


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
