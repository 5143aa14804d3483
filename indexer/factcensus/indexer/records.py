"""Entities, and checks for texts, lists of texts, windows and paths given as arguments."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from factcensus.indexer.errors import InputError


def clean_text(text: str) -> str:
    """Return a text that can be encoded: lone surrogates, which JSON allows and UTF-8 does not, become U+FFFD.

    Raises:
        TypeError: The value is not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"a text must be a string, got {type(text).__name__} ({text!r:.60})")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


@dataclass(frozen=True, slots=True)
class Entity:
    """A name and its aliases, which are the surface forms of one entity.

    Mentions are leftmost-longest, non-overlapping matches of any surface form, so an alias inside another alias is
    never counted twice.

    Raises:
        TypeError: The name is not a string, or the aliases are a single string instead of a list or tuple of strings.
        InputError: The name is empty.
    """

    name: str
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(
                f"the name of an entity must be a string, got {type(self.name).__name__} ({self.name!r:.60})"
            )
        if not self.name.strip():
            raise InputError("the name of an entity is empty; give a name")
        aliases = texts(self.aliases, "aliases")
        # Lone surrogates, which JSON and command lines may contain, cannot be searched or printed.
        object.__setattr__(self, "name", clean_text(self.name))
        object.__setattr__(self, "aliases", tuple(clean_text(str(alias)) for alias in aliases))

    @property
    def forms(self) -> tuple[str, ...]:
        """The name and the aliases, without repeated and blank ones."""
        return tuple(dict.fromkeys(form for form in (self.name, *self.aliases) if form.strip()))


def as_entity(entity: Entity | str) -> Entity:
    """Return an entity; a string becomes an entity without aliases.

    Raises:
        TypeError: The value is neither an entity nor a string.
    """
    if isinstance(entity, Entity):
        return entity
    if isinstance(entity, str):
        return Entity(entity)
    raise TypeError(f"an entity must be an Entity or a name, got {type(entity).__name__} ({entity!r:.60})")


def texts(values: Iterable[str], what: str) -> tuple[str, ...]:
    """Return a sequence of strings as a tuple; a single string is refused, because Python would split it into letters.

    Raises:
        TypeError: The value is a single string, or an item is not a string.
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        remedy = f"; write [{values!r:.60}]" if isinstance(values, str) else ""
        raise TypeError(f"{what}: expected a list or tuple of strings, got {values!r:.60}{remedy}")
    found = tuple(values)
    for value in found:
        if not isinstance(value, str):
            raise TypeError(f"{what}: expected strings, got {type(value).__name__} ({value!r:.60})")
    return found


def windows_of(windows: Iterable[int]) -> list[int]:
    """Return windows as a list without repeats, in the given order.

    Raises:
        TypeError: The value is not a list, such as a single number or a string.
        InputError: A window is negative or not an integer.
    """
    if isinstance(windows, (str, bytes)) or not isinstance(windows, Iterable):
        raise TypeError(f"windows: expected a list of integers, got {windows!r:.60}")
    found = list(windows)
    for window in found:
        whole = isinstance(window, (int, np.integer)) and not isinstance(window, bool)
        if not whole or not 0 <= window < 2**31:
            raise InputError(f"a window must be a number of tokens of at least 0, got {window!r}")
    return list(dict.fromkeys(map(int, found)))


def paths(values: Any, what: str) -> list[str | PathLike[str]]:
    """Return a single path or several paths as a list.

    Raises:
        TypeError: A value is neither a string nor a path.
    """
    found = [values] if isinstance(values, (str, PathLike)) else list(values)
    for value in found:
        if not isinstance(value, (str, PathLike)):
            raise TypeError(f"{what}: expected paths or URLs, got {type(value).__name__} ({value!r:.60})")
    return found
