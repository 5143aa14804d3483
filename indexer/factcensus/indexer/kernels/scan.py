"""The compiled fact scanner, which counts entities and facts in the token ids of documents in one pass.

All surface forms are in one trie. From every position, the scanner walks down the trie as far as the text matches. Most
tokens do not begin a form, which takes a single lookup. The mentions of a document are then grouped by entity, and only
facts with both entities in the document are processed.

With 5,000 facts (12,150 forms) and 58 MB of Wikipedia, the walk alone processes 360 MB of text per CPU second with
``words``. Aho-Corasick (ahocorasick_rs) processes 55 MB/s, and takes the same time again to build its input text from
the ids. It is only faster if nearly every token begins a form, as with ``bytes`` (51 instead of 29 MB/s). A binary
search among the children of a node, instead of the hash table, took 1.2 to 1.4 times as long, and 2.3 times for 250,000
forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.pairs import near_pairs

Array = npt.NDArray[Any]
TokenIds = tuple[int, ...]

#: A window larger than any document.
WHOLE_DOCUMENT = 1 << 60
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)


# Compiled functions accept tuples of arrays directly.


class Trie(NamedTuple):
    """A trie of token sequences, each with the entities that have it as a form.

    Attributes:
        root: int32 (tokens,): the node of each token as the first token of a form, 0 if no form begins with it. A token
            id beyond the end of the array is not in any form.
        keys: int64 (slots,): ``node << 32 | token``; a hash table with linear probing; ``slots`` is a power of two.
        children: int32 (slots,): the child of this node for this token; 0 if the slot is empty.
        owner_starts: int64 (nodes + 1,): the start of each node in ``owners``.
        owners: int32: ``owners[owner_starts[n]:owner_starts[n + 1]]`` are the entities that have the sequence of
            node n as a form.
        longest: Number of tokens of the longest form.
    """

    root: npt.NDArray[np.int32]
    keys: npt.NDArray[np.int64]
    children: npt.NDArray[np.int32]
    owner_starts: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int32]
    longest: int


class FactsByEntity(NamedTuple):
    """Facts listed by entity; each fact is listed under the entity with fewer facts.

    Attributes:
        starts: int64 (entities + 1,): the start of each entity in ``facts``.
        facts: int64 (facts,): ``facts[starts[e]:starts[e + 1]]`` are the rows of the facts listed under entity e.
        others: int64 (facts,): the other entity of each of ``facts``.
    """

    starts: npt.NDArray[np.int64]
    facts: npt.NDArray[np.int64]
    others: npt.NDArray[np.int64]


class Counts(NamedTuple):
    """Sums over documents.

    Attributes:
        mentions: int64 (entities,).
        documents: int64 (entities,).
        together: int64 (facts, windows, 2): documents and pairs.
    """

    mentions: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]
    together: npt.NDArray[np.int64]

    @classmethod
    def zeros(cls, entities: int, facts: int, windows: int) -> Counts:
        """Return counts of zero."""
        shape = (facts, windows, 2)
        return cls(np.zeros(entities, np.int64), np.zeros(entities, np.int64), np.zeros(shape, np.int64))


def build_trie(entities: Sequence[Sequence[TokenIds]], token_count: int) -> Trie:
    """Build the trie of the forms of all entities.

    Args:
        entities: The distinct, non-empty forms of each entity; the number of an entity is its index.
        token_count: One more than the largest token id in a form.
    """
    nodes: dict[tuple[int, int], int] = {}  # (node, token) to node, numbered from 1; 0 is the root
    owners: list[tuple[int, int]] = []
    for entity, forms in enumerate(entities):
        for form in forms:
            node = 0
            for token in form:
                node = nodes.setdefault((node, token), len(nodes) + 1)
            owners.append((node, entity))
    parents, tokens = np.array(list(nodes), np.int64).T
    first = parents == 0
    root = np.zeros(token_count, np.int32)
    root[tokens[first]] = np.flatnonzero(first) + 1
    slots = 1 << (2 * len(nodes)).bit_length()
    keys, children = np.zeros(slots, np.int64), np.zeros(slots, np.int32)
    _fill(keys, children, parents << 32 | tokens)
    last_nodes, owning = np.array(sorted(owners), np.int64).T
    return Trie(
        root=root,
        keys=keys,
        children=children,
        owner_starts=np.searchsorted(last_nodes, np.arange(len(nodes) + 2)).astype(np.int64),
        owners=owning.astype(np.int32),
        longest=max(len(form) for forms in entities for form in forms),
    )


def group_facts(subjects: npt.NDArray[np.int64], objects: npt.NDArray[np.int64], entity_count: int) -> FactsByEntity:
    """Group facts by the entity with fewer facts, so that a mention of a country need not check 1,000 facts each time.

    Args:
        subjects: int64 (facts,): the entity of the subject of each fact.
        objects: int64 (facts,): the entity of the object of each fact.
        entity_count: Number of entities.
    """
    fact_counts = np.bincount(np.concatenate([subjects, objects]), minlength=entity_count)
    by_subject = fact_counts[subjects] <= fact_counts[objects]
    entities = np.where(by_subject, subjects, objects)
    order = np.argsort(entities, kind="stable")
    return FactsByEntity(
        starts=np.searchsorted(entities[order], np.arange(entity_count + 1)).astype(np.int64),
        facts=order.astype(np.int64),
        others=np.where(by_subject, objects, subjects)[order],
    )


@compiled()
def count_documents(
    ids: Array, document_starts: Array, trie: Trie, facts: FactsByEntity, windows: Array, counts: Counts
) -> None:
    """Add the mentions of all entities in some documents, and the pairs of all facts, to ``counts``.

    Args:
        ids: uint32: the tokens of all documents.
        document_starts: int64 (documents + 1,): the start of each document in ``ids``, and the end of the last.
        trie: The forms of the entities.
        facts: The facts by entity.
        windows: int64 (windows,): maximum number of tokens strictly between two mentions; WHOLE_DOCUMENT for no limit.
        counts: The counts to add to.
    """
    entities = counts.mentions.size
    free = np.zeros(entities, np.int64)
    here = np.zeros(entities, np.int64)
    stops = np.zeros(entities, np.int64)
    path = np.empty((trie.longest, 2), np.int64)
    found = np.empty((1024, 3), np.int64)
    for document in range(document_starts.size - 1):
        found, count = _find_mentions(
            ids, document_starts[document], document_starts[document + 1], trie, free, path, found
        )
        if count > 0:
            _add_document(found[:count], here, stops, facts, windows, counts)


@compiled()
def _find_mentions(  # noqa: C901 - compiled: one loop that keeps its state in local variables
    ids: Array, begin: int, end: int, trie: Trie, free: Array, path: Array, found: Array
) -> tuple[Array, int]:
    """Find the leftmost-longest mentions in one document; mentions of the same entity do not overlap.

    Args:
        ids: See :func:`count_documents`.
        begin: The start of the document in ``ids``.
        end: The end of the document in ``ids``.
        trie: See :func:`count_documents`.
        free: int64 (entities,): the position after the last mention of each entity.
        path: int64 (trie.longest, 2), scratch.
        found: int64 (rows, 3), scratch.

    Returns:
        ``found``, or a larger array that replaces it, and the number of mentions. Each row has the entity, the first
        position and the position after the last; rows are sorted by first position.
    """
    root, keys, children, owner_starts, owners, _ = trie
    count = 0
    for start in range(begin, end):
        token = np.int64(ids[start])
        if token >= root.size:
            continue
        node = np.int64(root[token])
        stop = start
        forms = 0
        while node != 0:
            stop += 1
            if owner_starts[node] < owner_starts[node + 1]:
                path[forms, 0] = node
                path[forms, 1] = stop
                forms += 1
            if stop == end:
                break
            token = np.int64(ids[stop])
            if token >= root.size:
                break
            node = _child(keys, children, node << 32 | token)
        while forms > 0:  # try the longest first, so that a shorter one cannot win
            forms -= 1
            node = path[forms, 0]
            stop = path[forms, 1]
            for i in range(owner_starts[node], owner_starts[node + 1]):
                entity = owners[i]
                if free[entity] <= start:
                    free[entity] = stop
                    if count == found.shape[0]:
                        larger = np.empty((2 * count, 3), np.int64)
                        larger[:count] = found
                        found = larger
                    found[count, 0] = entity
                    found[count, 1] = start
                    found[count, 2] = stop
                    count += 1
    return found, count


@compiled()
def _add_document(
    found: Array, here: Array, stops: Array, facts: FactsByEntity, windows: Array, counts: Counts
) -> None:
    """Add the mentions of one document, and the pairs of all facts with both entities in it.

    Args:
        found: int64 (mentions, 3), see :func:`_find_mentions`.
        here: int64 (entities,), scratch: mentions in the document; all 0 before and after.
        stops: int64 (entities,), scratch: the end of the mentions of each entity, when they are grouped by entity.
        facts: See :func:`count_documents`.
        windows: See :func:`count_documents`.
        counts: See :func:`count_documents`.
    """
    mentions = found.shape[0]
    distinct = np.empty(mentions, np.int64)
    entities = 0
    for k in range(mentions):
        entity = found[k, 0]
        if here[entity] == 0:
            distinct[entities] = entity
            entities += 1
        here[entity] += 1
    place = 0
    for entity in distinct[:entities]:
        counts.mentions[entity] += here[entity]
        counts.documents[entity] += 1
        stops[entity] = place
        place += here[entity]
    starts = np.empty(mentions, np.int64)
    ends = np.empty(mentions, np.int64)
    for k in range(mentions):
        place = stops[found[k, 0]]
        starts[place] = found[k, 1]
        ends[place] = found[k, 2]
        stops[found[k, 0]] = place + 1
    for entity in distinct[:entities]:
        i_end = int(stops[entity])
        i = i_end - int(here[entity])
        for k in range(facts.starts[entity], facts.starts[entity + 1]):
            other = facts.others[k]
            if here[other] == 0:
                continue
            j_end = int(stops[other])
            j = j_end - int(here[other])
            together = counts.together[facts.facts[k]]
            for w in range(windows.size):
                pairs = near_pairs(starts, ends, i, i_end, starts, ends, j, j_end, windows[w])
                together[w, 0] += pairs > 0
                together[w, 1] += pairs
    for entity in distinct[:entities]:
        here[entity] = 0


@compiled()
def _child(keys: Array, children: Array, key: Any) -> Any:
    """Return the child for a key; 0 if there is none."""
    slot = _first_slot(key, keys.size)
    while children[slot] != 0 and keys[slot] != key:
        slot = (slot + 1) & (keys.size - 1)
    return np.int64(children[slot])


@compiled()
def _fill(keys: Array, children: Array, new_keys: Array) -> None:
    """Insert distinct keys; key i leads to node i + 1."""
    for i in range(new_keys.size):
        slot = _first_slot(new_keys[i], keys.size)
        while children[slot] != 0:
            slot = (slot + 1) & (keys.size - 1)
        keys[slot] = new_keys[i]
        children[slot] = i + 1


@compiled(inline="always")
def _first_slot(key: Any, slots: int) -> Any:
    return np.int64((np.uint64(key) * _PRIME >> _SHIFT) & np.uint64(slots - 1))
