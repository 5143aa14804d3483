"""The records that cross borders: what is asked about."""

from __future__ import annotations

from dataclasses import dataclass

from factcensus.indexer.analyzers import clean_text
from factcensus.indexer.errors import InputError


@dataclass(frozen=True, slots=True)
class Entity:
    """A name and its aliases: all surface forms by which one thing is mentioned.

    A mention is found leftmost-longest and non-overlapping over all surface forms, so an alias that stands inside
    another one is never counted twice.
    """

    name: str
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise InputError("an entity needs a name; got an empty one")
        # Lone surrogates, which JSON and command lines can carry, can be neither looked for nor printed.
        object.__setattr__(self, "name", clean_text(self.name))
        object.__setattr__(self, "aliases", tuple(clean_text(alias) for alias in self.aliases))

    @property
    def forms(self) -> tuple[str, ...]:
        """The name, then the aliases, without repeats and blanks."""
        return tuple(dict.fromkeys(form for form in (self.name, *self.aliases) if form.strip()))
