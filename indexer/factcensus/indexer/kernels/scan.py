"""The compiled fact scanner: the token ids of documents to the counts of entities and facts, in one pass.

All surface forms stand in one trie. From every position the pass walks down as far as the text goes along; most
tokens begin no form and are dismissed by one look-up. A document's mentions are then put together by entity, and only
facts both of whose entities are among them are touched.

For 5,000 facts (12,150 forms) in 58 MB of Wikipedia, the walk alone takes a CPU second for 360 MB of text under
``words``. Aho-Corasick by ahocorasick_rs finds the same at 55 MB/s, after as long again to put the analysed text
together from the ids; only where nearly every token begins a form, under ``bytes``, it is ahead (51 MB/s, not 29).
Binary search among a node's children instead of the hash table took 1.2 to 1.4 times as long, and 2.3 times
for 250,000 forms.
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

#: A window that no document exceeds.
WHOLE_DOCUMENT = 1 << 60
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)


# Tuples of arrays, which compiled functions take as they are.


class Trie(NamedTuple):
    """Token sequences, and the entities that each is a form of.

    Attributes:
        root: int32 (tokens,): the node of each token as the first of a form, 0 where it begins none. A token id
            beyond the end stands in no form.
        keys: int64 (slots,): ``node << 32 | token``; a hash table with linear probing, ``slots`` a power of two.
        children: int32 (slots,): the node that this token leads to from that one; 0 where the slot is empty.
        owner_starts: int64 (nodes + 1,).
        owners: int32: the entities that have the sequence down to node n as a form are
            ``owners[owner_starts[n]:owner_starts[n + 1]]``.
        longest: tokens of the longest form.
    """

    root: npt.NDArray[np.int32]
    keys: npt.NDArray[np.int64]
    children: npt.NDArray[np.int32]
    owner_starts: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int32]
    longest: int


class FactsByEntity(NamedTuple):
    """The facts, each with that of its two entities that has fewer of them.

    Attributes:
        starts: int64 (entities + 1,).
        facts: int64 (facts,): the rows of the facts that are with entity e are ``facts[starts[e]:starts[e + 1]]``.
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
        """Nothing counted yet."""
        shape = (facts, windows, 2)
        return cls(np.zeros(entities, np.int64), np.zeros(entities, np.int64), np.zeros(shape, np.int64))


def build_trie(entities: Sequence[Sequence[TokenIds]], token_count: int) -> Trie:
    """The trie of the forms of all entities.

    Args:
        entities: the distinct forms of each entity, none of them empty; an entity's number is its place.
        token_count: one more than the largest token id that a form may have.
    """
    nodes: dict[tuple[int, int], int] = {}  # (node, token) to node, numbered from 1 on; 0 is the root
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
    """The facts by entity: a country that is the object of 1,000 facts does not have all of them looked at each time.

    Args:
        subjects: int64 (facts,): the entity of each fact's subject.
        objects: int64 (facts,): that of its object.
        entity_count: all entities.
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
        document_starts: int64 (documents + 1,): where each begins in ``ids``, and where the last ends.
        trie: the forms of the entities.
        facts: the facts by entity.
        windows: int64 (windows,): most tokens strictly between two mentions, WHOLE_DOCUMENT for any number.
        counts: what is added to.
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
def _find_mentions(
    ids: Array, begin: int, end: int, trie: Trie, free: Array, path: Array, found: Array
) -> tuple[Array, int]:
    """The mentions in one document: leftmost-longest, those of one entity not overlapping.

    Args:
        ids: see above.
        begin: where the document begins in ``ids``.
        end: where it ends.
        trie: see above.
        free: int64 (entities,): the position behind each entity's last mention.
        path: int64 (trie.longest, 2), scratch.
        found: int64 (rows, 3), scratch.

    Returns:
        ``found``, or a larger array in its place, and the number of mentions: a row each with the entity, the first
        position and the one behind the last, in order of the first.
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
        while forms > 0:  # the longest first, so that no shorter one takes its place
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
    """Add the mentions of one document, and the pairs of those facts whose entities are both among them.

    Args:
        found: int64 (mentions, 3), see above.
        here: int64 (entities,), scratch: mentions in the document; all 0 before and after.
        stops: int64 (entities,), scratch: where an entity's mentions end when they are put in order of the entities.
        facts: see above.
        windows: see above.
        counts: see above.
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
    """The node that a key leads to; 0 for none."""
    slot = _first_slot(key, keys.size)
    while children[slot] != 0 and keys[slot] != key:
        slot = (slot + 1) & (keys.size - 1)
    return np.int64(children[slot])


@compiled()
def _fill(keys: Array, children: Array, new_keys: Array) -> None:
    """Enter distinct keys in the order of the nodes they lead to, from 1 on."""
    for i in range(new_keys.size):
        slot = _first_slot(new_keys[i], keys.size)
        while children[slot] != 0:
            slot = (slot + 1) & (keys.size - 1)
        keys[slot] = new_keys[i]
        children[slot] = i + 1


@compiled(inline="always")
def _first_slot(key: Any, slots: int) -> Any:
    return np.int64((np.uint64(key) * _PRIME >> _SHIFT) & np.uint64(slots - 1))
