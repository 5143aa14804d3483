"""The records that cross borders: entities, and sequences of texts, which a single text never is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from factcensus.indexer.analyzers import clean_text
from factcensus.indexer.errors import InputError


@dataclass(frozen=True, slots=True)
class Entity:
    """A name and its aliases: all surface forms by which one thing is mentioned.

    A mention is found leftmost-longest and non-overlapping over all surface forms, so an alias that is part of another
    one is never counted twice.

    Raises:
        TypeError: the name is not a string, or the aliases are one string and not a list or tuple of them.
        InputError: the name is empty.
    """

    name: str
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TypeError(f"an entity's name is a string, not {type(self.name).__name__} ({self.name!r:.60})")
        if not self.name.strip():
            raise InputError("an entity needs a name; got an empty one")
        aliases = texts(self.aliases, "aliases")
        # Lone surrogates, which JSON and command lines can carry, can be neither looked for nor printed.
        object.__setattr__(self, "name", clean_text(self.name))
        object.__setattr__(self, "aliases", tuple(clean_text(str(alias)) for alias in aliases))

    @property
    def forms(self) -> tuple[str, ...]:
        """The name, then the aliases, without repeats and blanks."""
        return tuple(dict.fromkeys(form for form in (self.name, *self.aliases) if form.strip()))


def as_entity(entity: Entity | str) -> Entity:
    """Return an entity; a string is the name of one without aliases.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(entity, Entity):
        return entity
    if isinstance(entity, str):
        return Entity(entity)
    raise TypeError(f"an entity is an Entity or a name, not {type(entity).__name__} ({entity!r:.60})")


def texts(values: Iterable[str], what: str) -> tuple[str, ...]:
    """Return a sequence of strings as a tuple; a string is not one, though Python would take it for its letters.

    Raises:
        TypeError: it is a single string, or an item is not a string.
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
    """Return windows as a list without repeats, in the order given.

    Raises:
        TypeError: they are not a list, but a single number or a string.
        InputError: one is negative, or not an integer.
    """
    if isinstance(windows, (str, bytes)) or not isinstance(windows, Iterable):
        raise TypeError(f"windows: expected a list of integers, got {windows!r:.60}")
    found = list(windows)
    for window in found:
        whole = isinstance(window, (int, np.integer)) and not isinstance(window, bool)
        if not whole or not 0 <= window < 2**31:
            raise InputError(f"a window is a number of tokens, 0 or more; got {window!r}")
    return list(dict.fromkeys(map(int, found)))


def paths(values: Any, what: str) -> list[str | PathLike[str]]:
    """Return the paths of a list of them, or of a single one.

    Raises:
        TypeError: one is neither a string nor a path.
    """
    found = [values] if isinstance(values, (str, PathLike)) else list(values)
    for value in found:
        if not isinstance(value, (str, PathLike)):
            raise TypeError(f"{what}: expected paths or URLs, got {type(value).__name__} ({value!r:.60})")
    return found
