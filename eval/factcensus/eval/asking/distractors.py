"""Plausible wrong answers: objects of the same relation that are about as frequent as the right one.

A model prefers names it has read often. Against randomly drawn distractors, a popular object wins and a rare one loses,
whatever the model knows about the subject; this would look like an effect of the fact's frequency. Each fact is
therefore compared with the objects nearest to its own in document count, on a logarithmic scale.
"""

from __future__ import annotations

import bisect
import math
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from factcensus.eval.asking.matching import words

#: The count by which distractors are matched.
FREQUENCY = "object_documents"
#: Nearest objects considered per distractor: among equally near ones, the choice should vary by fact.
_WINDOW = 8


def matched_distractors(facts: Sequence[Mapping[str, Any]], number: int) -> list[tuple[str, ...]]:
    """Return for each fact at most ``number`` wrong objects of its relation, nearest in frequency first.

    If a fact has a column ``distractors`` (a list), it is used instead. Without counts the order is pseudorandom and
    depends only on the subject and the object, so it is the same every time. Excluded are objects with the same words
    as an accepted answer, and all objects that the table lists for the same subject and relation.

    Args:
        facts: Rows with ``subject`` and ``object``, and with ``relation``, ``object_documents`` and ``object_aliases``
            if known.
        number: Number of distractors, at least 0.
    """
    pools: dict[str, _Pool] = {}
    objects: dict[str, dict[str, float | None]] = defaultdict(dict)
    right: dict[tuple[str, str], set[tuple[str, ...]]] = defaultdict(set)
    for fact in facts:
        relation = _relation(fact)
        objects[relation].setdefault(str(fact["object"]), _log_count(fact))
        for name in (fact["object"], fact.get("answer"), *(fact.get("object_aliases") or ())):
            right[_subject(fact), relation].add(words(str(name or "")))
    for relation, of_relation in objects.items():
        pools[relation] = _Pool(of_relation)
    found = []
    for fact in facts:
        relation = _relation(fact)
        given = [str(each) for each in fact.get("distractors") or ()]
        taken = right[_subject(fact), relation]
        nearest = pools[relation].near(_log_count(fact), _subject(fact), number + len(taken))
        wrong = [each for each in dict.fromkeys([*given, *nearest]) if words(each) and words(each) not in taken]
        found.append(tuple(wrong[:number]))
    return found


def _relation(fact: Mapping[str, Any]) -> str:
    return str(fact.get("relation") or "")


def _subject(fact: Mapping[str, Any]) -> str:
    return str(fact.get("subject") or "").casefold()


def _log_count(fact: Mapping[str, Any]) -> float | None:
    count = fact.get(FREQUENCY)
    return None if count is None else math.log10(1 + float(count))


class _Pool:
    """The objects of one relation, sorted by frequency."""

    def __init__(self, objects: Mapping[str, float | None]) -> None:
        self._counted = all(level is not None for level in objects.values())
        self._objects = sorted(objects, key=lambda name: (objects[name] or 0.0, name))
        self._levels = [objects[name] or 0.0 for name in self._objects]

    def near(self, level: float | None, subject: str, number: int) -> list[str]:
        """Return the given number of objects, nearest first; ties are ordered by a hash of the subject."""
        if level is None or not self._counted:
            return sorted(self._objects, key=lambda name: _mix(subject, name))[:number]
        place = bisect.bisect_left(self._levels, level)
        half = _WINDOW * number
        window = range(max(0, place - half), min(len(self._objects), place + half))
        ordered = sorted(
            window, key=lambda index: (abs(self._levels[index] - level), _mix(subject, self._objects[index]))
        )
        return [self._objects[index] for index in ordered[:number]]


def _mix(subject: str, name: str) -> int:
    return zlib.crc32(f"{subject}\0{name}".encode())
