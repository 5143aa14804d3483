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

from factcensus.indexer.arrays import Array, TokenIds
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.pairs import near_pairs

#: A window larger than any document.
WHOLE_DOCUMENT = 1 << 60
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_SHIFT, _BIT_SHIFT = np.uint64(32), np.uint64(61)
_NO_BIT = np.uint8(0)


# Compiled functions accept tuples of arrays directly.


class Trie(NamedTuple):
    """A trie of token sequences, each with the entities that have it as a form.

    Attributes:
        root: int32 (tokens,): the entry of each token as the first token of a form, 0 if no form begins with it. A
            token id beyond the end of the array is not in any form. An entry is twice a node, plus 1 if the sequence of
            the node is a form.
        slots: int64 (slots, 2): ``node << 32 | token``, and the entry of the child of this node for this token, 0 in an
            empty slot; a hash table with linear probing, a power of two in length.
        filter: uint8 (bytes,): a bit for each key in ``slots``, at a place that depends on the key; the number of bytes
            is a power of two. Most words after a first word of a form do not continue it, and this answers from the
            cache.
        owner_starts: int64 (nodes + 1,): the start of each node in ``owners``.
        owners: int32: ``owners[owner_starts[n]:owner_starts[n + 1]]`` are the entities that have the sequence of
            node n as a form.
        longest: Number of tokens of the longest form.
    """

    root: npt.NDArray[np.int32]
    slots: npt.NDArray[np.int64]
    filter: npt.NDArray[np.uint8]
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
    last_nodes, owning = np.array(sorted(owners), np.int64).T
    entries = 2 * np.arange(1, len(nodes) + 1)
    entries[np.unique(last_nodes) - 1] += 1
    first = parents == 0
    root = np.zeros(token_count, np.int32)
    root[tokens[first]] = entries[first]
    deeper = int((~first).sum())
    slots = np.zeros((1 << max(4, (2 * deeper).bit_length()), 2), np.int64)
    filter = np.zeros(1 << max(6, (2 * deeper).bit_length()), np.uint8)  # 16 to 32 bits per key
    _fill(slots, filter, (parents << 32 | tokens)[~first], entries[~first])
    return Trie(
        root=root,
        slots=slots,
        filter=filter,
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


class Scratch(NamedTuple):
    """Arrays that one document after another reuses.

    Attributes:
        state: int64 (entities, 8): all that is known of an entity, in one line of the processor's cache; with a table
            of 100,000 facts, every mention would otherwise miss the cache seven times. The columns are the position
            after its last mention and the number of mentions in the document, both 0 between documents; the end of its
            mentions when they are grouped by entity; its mentions and documents since the last :meth:`take`; and the
            range of its facts.
        present: uint8 (entities,): whether the document mentions the entity; small enough for the cache, because most
            facts of a mentioned entity are only looked up here. All 0 between documents.
        path: int64 (trie.longest, 2).
    """

    state: npt.NDArray[np.int64]
    present: npt.NDArray[np.uint8]
    path: npt.NDArray[np.int64]

    @classmethod
    def of(cls, trie: Trie, facts: FactsByEntity) -> Scratch:
        """Return the arrays for a trie and the facts of its entities."""
        state = np.zeros((len(facts.starts) - 1, 8), np.int64)
        state[:, FIRST], state[:, LAST] = facts.starts[:-1], facts.starts[1:]
        return cls(state, np.zeros(len(state), np.uint8), np.empty((trie.longest, 2), np.int64))

    def take(self, counts: Counts) -> None:
        """Move the mentions and documents of all entities to counts."""
        for column, part in ((MENTIONS, counts.mentions), (DOCUMENTS, counts.documents)):
            part += self.state[:, column]
            self.state[:, column] = 0


#: Columns of :attr:`Scratch.state`.
FREE, HERE, STOP, MENTIONS, DOCUMENTS, FIRST, LAST = range(7)


@compiled()
def count_documents(
    ids: Array,
    document_starts: Array,
    trie: Trie,
    facts: FactsByEntity,
    windows: Array,
    scratch: Scratch,
    counts: Counts,
) -> None:
    """Add the pairs of all facts in some documents to ``counts``, and the mentions of all entities to ``scratch``.

    Args:
        ids: uint32: the tokens of all documents.
        document_starts: int64 (documents + 1,): the start of each document in ``ids``, and the end of the last.
        trie: The forms of the entities.
        facts: The facts by entity.
        windows: int64 (windows,): maximum number of tokens strictly between two mentions; WHOLE_DOCUMENT for no limit.
        scratch: Reused arrays; :meth:`Scratch.take` moves the counts of entities from there.
        counts: The counts to add to.
    """
    found = np.empty((1024, 3), np.int64)
    for document in range(document_starts.size - 1):
        found, count = _find_mentions(
            ids, document_starts[document], document_starts[document + 1], trie, scratch, found
        )
        if count > 0:
            _add_document(found[:count], scratch, facts, windows, counts)


@compiled()
def _find_mentions(  # noqa: C901 - compiled: one loop that keeps its state in local variables
    ids: Array, begin: int, end: int, trie: Trie, scratch: Scratch, found: Array
) -> tuple[Array, int]:
    """Find the leftmost-longest mentions in one document; mentions of the same entity do not overlap.

    Args:
        ids: See :func:`count_documents`.
        begin: The start of the document in ``ids``.
        end: The end of the document in ``ids``.
        trie: See :func:`count_documents`.
        scratch: See :class:`Scratch`; it keeps the ends of the mentions.
        found: int64 (rows, 3), scratch.

    Returns:
        ``found``, or a larger array that replaces it, and the number of mentions. Each row has the entity, the first
        position and the position after the last; rows are sorted by first position.
    """
    root, slots, filter, owner_starts, owners, _ = trie
    state, path = scratch.state, scratch.path
    count = 0
    for start in range(begin, end):
        token = np.int64(ids[start])
        if token >= root.size:
            continue
        entry = np.int64(root[token])
        if entry == 0:
            continue
        stop = start
        forms = 0
        while entry != 0:
            stop += 1
            if entry & 1:
                path[forms, 0] = entry >> 1
                path[forms, 1] = stop
                forms += 1
            if stop == end:
                break
            token = np.int64(ids[stop])
            if token >= root.size:
                break
            entry = _child(slots, filter, (entry >> 1) << 32 | token)
        while forms > 0:  # try the longest first, so that a shorter one cannot win
            forms -= 1
            node = path[forms, 0]
            stop = path[forms, 1]
            for i in range(owner_starts[node], owner_starts[node + 1]):
                entity = owners[i]
                if state[entity, FREE] <= start:
                    state[entity, FREE] = stop
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
def _add_document(found: Array, scratch: Scratch, facts: FactsByEntity, windows: Array, counts: Counts) -> None:
    """Add the mentions of one document, and the pairs of all facts with both entities in it.

    Args:
        found: int64 (mentions, 3), see :func:`_find_mentions`.
        scratch: See :class:`Scratch`.
        facts: See :func:`count_documents`.
        windows: See :func:`count_documents`.
        counts: See :func:`count_documents`.
    """
    state, present = scratch.state, scratch.present
    mentions = found.shape[0]
    grouped = np.empty((3, mentions), np.int64)
    distinct, starts, ends = grouped[0], grouped[1], grouped[2]
    entities = 0
    for k in range(mentions):
        entity = found[k, 0]
        if state[entity, HERE] == 0:
            distinct[entities] = entity
            entities += 1
            present[entity] = 1
        state[entity, HERE] += 1
    place = 0
    for entity in distinct[:entities]:
        state[entity, MENTIONS] += state[entity, HERE]
        state[entity, DOCUMENTS] += 1
        state[entity, STOP] = place
        place += state[entity, HERE]
    for k in range(mentions):
        place = state[found[k, 0], STOP]
        starts[place] = found[k, 1]
        ends[place] = found[k, 2]
        state[found[k, 0], STOP] = place + 1
    for entity in distinct[:entities]:
        i_end = int(state[entity, STOP])
        i = i_end - int(state[entity, HERE])
        for k in range(state[entity, FIRST], state[entity, LAST]):
            other = facts.others[k]
            if present[other] == 0:
                continue
            j_end = int(state[other, STOP])
            j = j_end - int(state[other, HERE])
            together = counts.together[facts.facts[k]]
            for w in range(windows.size):
                pairs = near_pairs(starts, ends, i, i_end, starts, ends, j, j_end, windows[w])
                together[w, 0] += pairs > 0
                together[w, 1] += pairs
    for entity in distinct[:entities]:
        state[entity, FREE] = 0
        state[entity, HERE] = 0
        present[entity] = 0


@compiled()
def _child(slots: Array, filter: Array, key: Any) -> Any:
    """Return the entry of the child for a key; 0 if there is none."""
    hash = np.uint64(key) * _PRIME
    if filter[_byte(hash, filter.size)] & _bit(hash) == _NO_BIT:
        return np.int64(0)
    mask = slots.shape[0] - 1
    slot = np.int64(hash >> _SHIFT) & mask
    while slots[slot, 1] != 0 and slots[slot, 0] != key:
        slot = (slot + 1) & mask
    return slots[slot, 1]


@compiled()
def _fill(slots: Array, filter: Array, keys: Array, entries: Array) -> None:
    """Insert distinct keys with their entries."""
    mask = slots.shape[0] - 1
    for i in range(keys.size):
        hash = np.uint64(keys[i]) * _PRIME
        filter[_byte(hash, filter.size)] |= _bit(hash)
        slot = np.int64(hash >> _SHIFT) & mask
        while slots[slot, 1] != 0:
            slot = (slot + 1) & mask
        slots[slot, 0] = keys[i]
        slots[slot, 1] = entries[i]


@compiled(inline="always")
def _byte(hash: Any, filter_bytes: int) -> Any:
    return np.int64(hash >> _SHIFT) & (filter_bytes - 1)


@compiled(inline="always")
def _bit(hash: Any) -> Any:
    return np.uint8(1) << np.uint8(hash >> _BIT_SHIFT)
