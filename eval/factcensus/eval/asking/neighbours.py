"""Distance of facts to the forget set: a side effect decreases with the distance, a general loss does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SELF, SAME_SUBJECT, SAME_OBJECT, SAME_RELATION, APART = range(5)
DISTANCES = ("itself", "same subject", "same object", "same relation", "none of these")


def neighbour_distances(facts: Sequence[Mapping[str, Any]]) -> list[int | None]:
    """Return for each fact the distance to its nearest forget fact (column ``used``), by what they share.

    0 is a forget fact itself; 1 shares the subject; 2 the object of the same relation; 3 the relation; 4 nothing. Null
    for all facts if the table does not show which were forgotten, and for phantoms, about whom there is no knowledge to
    damage.
    """
    forget = [fact for fact in facts if fact.get("used") == "forget"]
    if not forget:
        return [None] * len(facts)
    subjects = {_name(fact, "subject") for fact in forget}
    relations = {_name(fact, "relation") for fact in forget}
    objects = {(_name(fact, "relation"), _name(fact, "object")) for fact in forget}

    def distance(fact: Mapping[str, Any]) -> int | None:
        if fact.get("role") == "phantom":
            return None
        if fact.get("used") == "forget":
            return SELF
        if _name(fact, "subject") in subjects:
            return SAME_SUBJECT
        if (_name(fact, "relation"), _name(fact, "object")) in objects:
            return SAME_OBJECT
        return SAME_RELATION if _name(fact, "relation") in relations else APART

    return [distance(fact) for fact in facts]


def _name(fact: Mapping[str, Any], column: str) -> str:
    return str(fact.get(column) or "").casefold()
