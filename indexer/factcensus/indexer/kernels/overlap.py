"""Compiled tests of whether mentions of entities can share a token, from the tokens of their forms alone."""

from __future__ import annotations

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.compiled import compiled


@compiled()
def _can_overlap(tokens: Array, a: int, a_end: int, b: int, b_end: int) -> bool:
    """Return whether an occurrence of b can begin inside an occurrence of a, after its first token."""
    for shift in range(1, a_end - a):
        same = True
        for i in range(min(a_end - a - shift, b_end - b)):
            if tokens[a + shift + i] != tokens[b + i]:
                same = False
                break
        if same:
            return True
    return False


@compiled()
def _begins(tokens: Array, a: int, a_end: int, b: int, b_end: int) -> bool:
    """Return whether one of two forms is a prefix of the other."""
    for i in range(min(a_end - a, b_end - b)):  # noqa: SIM110 - compiled
        if tokens[a + i] != tokens[b + i]:
            return False
    return True


@compiled()
def _entities_overlap(tokens: Array, starts: Array, entities: Array, one: int, other: int) -> bool:
    """Return whether mentions of the two entities can share a token."""
    for a in range(entities[one], entities[one + 1]):
        for b in range(entities[other], entities[other + 1]):
            if (
                _begins(tokens, starts[a], starts[a + 1], starts[b], starts[b + 1])
                or _can_overlap(tokens, starts[a], starts[a + 1], starts[b], starts[b + 1])
                or _can_overlap(tokens, starts[b], starts[b + 1], starts[a], starts[a + 1])
            ):
                return True
    return False


@compiled()
def find_simple(tokens: Array, starts: Array, entities: Array, simple: Array) -> None:
    """Set ``simple`` for entities whose mentions can never overlap."""
    for entity in range(simple.size):
        simple[entity] = True
        for a in range(entities[entity], entities[entity + 1]):
            for b in range(entities[entity], entities[entity + 1]):
                if _can_overlap(tokens, starts[a], starts[a + 1], starts[b], starts[b + 1]) or (
                    a != b and _begins(tokens, starts[a], starts[a + 1], starts[b], starts[b + 1])
                ):
                    simple[entity] = False


@compiled()
def find_disjoint(
    tokens: Array, starts: Array, entities: Array, simple: Array, subjects: Array, objects: Array, disjoint: Array
) -> None:
    """Set ``disjoint`` for pairs of entities whose mentions can never overlap, within one entity or between both."""
    for i in range(subjects.size):
        disjoint[i] = (
            simple[subjects[i]]
            and simple[objects[i]]
            and not _entities_overlap(tokens, starts, entities, subjects[i], objects[i])
        )
