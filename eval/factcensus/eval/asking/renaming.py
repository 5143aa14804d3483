"""Find the names of a subject in a prompt, to ask the same question about somebody else."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any


def names_of(fact: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the name of the subject of a fact and its aliases."""
    return (str(fact.get("subject") or ""), *map(str, fact.get("subject_aliases") or ()))


@lru_cache(1 << 17)
def parts_between(names: tuple[str, ...], prompt: str) -> tuple[str, ...]:
    """Return the parts of a prompt around the names, ignoring case; one part if it contains none of them.

    A name inside a longer word is not a name: the alias "Al" does not occur in "also". Scripts without spaces, such as
    Chinese and Japanese, have no such boundaries.
    """
    pattern = "|".join(map(_pattern, sorted(filter(None, names), key=len, reverse=True)))
    return tuple(re.split(pattern, prompt, flags=re.IGNORECASE)) if pattern else (prompt,)


def about(prompt: str, names: Sequence[str], other: str) -> str | None:
    """Return the prompt with another name in place of the names; None if it contains none of them."""
    parts = parts_between(tuple(names), prompt)
    return other.join(parts) if len(parts) > 1 else None


def _pattern(name: str) -> str:
    before = "" if _without_spaces(name[0]) else r"(?<!\w)"
    after = "" if _without_spaces(name[-1]) else r"(?!\w)"
    return f"{before}{re.escape(name)}{after}"


def _without_spaces(character: str) -> bool:
    """Return whether a character belongs to a script that is written without spaces."""
    name = unicodedata.name(character, "")
    return unicodedata.east_asian_width(character) in "WF" or name.startswith(("THAI", "LAO", "KHMER", "MYANMAR"))
