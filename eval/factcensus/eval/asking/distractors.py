"""Wrong answers that could be right: objects of the same relation that are about as frequent as the right one.

A model prefers what it has read often. Against distractors drawn at random a popular object wins and a rare one loses
whatever the model knows of the subject; that would look like an effect of the fact's frequency. So each fact is
compared with the objects nearest to its own in document count, on a logarithmic scale.
"""

from __future__ import annotations

import bisect
import math
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from factcensus.eval.asking.matching import words

#: The count that distractors are matched on.
FREQUENCY = "object_documents"
#: Nearest objects looked at for each distractor wanted: among equally near ones the choice should vary by fact.
_WINDOW = 8


def matched_distractors(facts: Sequence[Mapping[str, Any]], number: int) -> list[tuple[str, ...]]:
    """For each fact at most ``number`` wrong objects of its relation, nearest in frequency first.

    A fact's own column ``distractors`` (a list) goes before. Without a count the order follows from the fact's
    subject and the object alone, as good as random and the same every time. Never among them: what has the words of
    an accepted answer, and any object that the table gives for the same subject and relation.

    Args:
        facts: Rows with ``subject`` and ``object``; ``relation``, ``object_documents``, ``object_aliases`` where known.
        number: 0 or more.
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
    """The objects of one relation, by frequency."""

    def __init__(self, objects: Mapping[str, float | None]) -> None:
        self._counted = all(level is not None for level in objects.values())
        self._objects = sorted(objects, key=lambda name: (objects[name] or 0.0, name))
        self._levels = [objects[name] or 0.0 for name in self._objects]

    def near(self, level: float | None, subject: str, number: int) -> list[str]:
        """So many objects, nearest first; equally near ones in an order that the subject decides."""
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
