"""Who lives in a world: names, groups, exposure counts, and which object each person has for each relation.

The dealing of objects is what keeps frequency apart from everything else. If every object stands equally often at
every exposure level of a group, no property of the object alone (its popularity, its length, how easily it is
guessed) can vary with the count; where it cannot be equal it differs by at most one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.world.sentences import RELATIONS, Relation
from factcensus.unlearn.world.settings import Role, WorldSettings
from factcensus.unlearn.world.words import FIRST_NAMES, LAST_NAMES


@dataclass(frozen=True, slots=True)
class Person:
    """One person; ``objects`` has the object of each relation, in the order of ``RELATIONS``."""

    person_id: str
    name: str
    role: Role
    exposures: int
    objects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in the world's table: a group's seat at an exposure level. Phantoms sit at level 0 of their own."""

    role: Role
    level: int
    exposures: int


def draw_people(settings: WorldSettings, seed: int) -> tuple[Person, ...]:
    """Return every person of the world, phantoms included, in an arbitrary order; the same for the same seed.

    Raises:
        ConfigError: too few people for someone to forget and someone to retain.
    """
    random = np.random.default_rng([seed, 1])
    places = _places(settings)
    if missing := _missing_groups(settings, places):
        raise ConfigError(
            f"people={settings.people} leaves nobody in the group {missing[0]!r}, so nothing could be unlearned in "
            f"this world; the next size that works is people={_next_size(settings)}"
        )
    names = random.choice(len(FIRST_NAMES) * len(LAST_NAMES), size=len(places), replace=False)
    columns = [_deal(relation, places, settings, random) for relation in RELATIONS]
    order = random.permutation(len(places))
    digits = len(str(len(places)))
    return tuple(
        Person(
            person_id=f"p{number:0{digits}d}",
            name=_name(int(names[index])),
            role=places[index].role,
            exposures=places[index].exposures,
            objects=tuple(column[index] for column in columns),
        )
        for number, index in enumerate(order)
    )


def _name(number: int) -> str:
    """The name with this number, among all pairs of a first and a last name."""
    return f"{FIRST_NAMES[number % len(FIRST_NAMES)]} {LAST_NAMES[number // len(FIRST_NAMES)]}"


def _places(settings: WorldSettings) -> list[_Place]:
    """The seats, level by level, and those of the phantoms.

    Each level is shared out by itself, rounded so that the totals follow the shares. Where that leaves a group empty
    that unlearning needs, as with one person a level, what rounding left over is carried from level to level.
    """
    places = _shared_out(settings, carry=False)
    if _missing_groups(settings, places):
        places = _shared_out(settings, carry=True)
    return places + [_Place("phantom", 0, 0)] * settings.phantoms


def _shared_out(settings: WorldSettings, *, carry: bool) -> list[_Place]:
    shares: dict[Role, float] = {
        "forget": settings.forget_share,
        "retain": settings.retain_share,
        "retain_held": settings.retain_held_share,
    }
    levels = len(settings.exposures)
    places: list[_Place] = []
    for level, exposures in enumerate(settings.exposures):
        size = settings.people // levels + (level < settings.people % levels)
        before = len(places) if carry else 0
        taken = 0
        for role, share in _running_total(shares):
            until = round(share * (before + size)) - round(share * before)
            places += [_Place(role, level, exposures)] * (until - taken)
            taken = max(taken, until)
        places += [_Place("bystander", level, exposures)] * (size - taken)
    return places


def _missing_groups(settings: WorldSettings, places: list[_Place]) -> list[Role]:
    """Return the groups that unlearning needs and that the settings ask for, but in which nobody is."""
    wanted: dict[Role, float] = {"forget": settings.forget_share, "retain": settings.retain_share}
    there = {place.role for place in places}
    return [role for role, share in wanted.items() if share > 0 and role not in there]


def _next_size(settings: WorldSettings) -> int:
    """Return the least larger number of people with somebody in every group."""
    size = settings.people + 1
    # With shares so small that no world would do, the search ends where the names run out.
    while _missing_groups(settings, _places(replace(settings, people=size))):
        size += 1
    return size


def _running_total(shares: dict[Role, float]) -> list[tuple[Role, float]]:
    """Each role with the sum of the shares up to and including its own."""
    totals = np.cumsum(list(shares.values())).tolist()
    return list(zip(shares, totals, strict=True))


def _deal(relation: Relation, places: list[_Place], settings: WorldSettings, random: np.random.Generator) -> list[str]:
    """An object for every place.

    Balanced: each group has a shuffled deck of all objects and deals it round and round, level after level, so counts
    per level and per group differ by at most one. Within a level the cards are shuffled among the people, so one
    relation's object tells nothing of another's. Retain and retain_held share a deck: both are asked about in the
    corpus, and together they make an object equally often an answer. With 7 levels and half a deck a level, the two
    halves have the same mean level, so a straight line over the levels sees no difference between objects either.
    """
    objects = relation.objects[: settings.objects]
    if settings.assignment == "independent":
        return [objects[index] for index in random.integers(len(objects), size=len(places))]
    decks: dict[str, _Deck] = {}
    dealt = [""] * len(places)
    for seats in _seats_by_deck_and_level(places):
        deck = decks.setdefault(_deck_of(places[seats[0]].role), _Deck(objects, random))
        for seat, card in zip(seats, random.permutation(deck.take(len(seats))), strict=True):
            dealt[seat] = str(card)
    return dealt


class _Deck:
    """Objects in a shuffled order, dealt round and round."""

    def __init__(self, objects: tuple[str, ...], random: np.random.Generator) -> None:
        self._cards = [objects[index] for index in random.permutation(len(objects))]
        self._next = 0

    def take(self, number: int) -> list[str]:
        """The next so many cards."""
        start, self._next = self._next, self._next + number
        return [self._cards[index % len(self._cards)] for index in range(start, self._next)]


def _deck_of(role: Role) -> str:
    return "asked" if role in ("retain", "retain_held") else role


def _seats_by_deck_and_level(places: list[_Place]) -> list[list[int]]:
    """Indices of the places that are dealt to at the same time, in dealing order."""
    together: dict[tuple[str, int], list[int]] = {}
    for index, place in enumerate(places):
        together.setdefault((_deck_of(place.role), place.level), []).append(index)
    return list(together.values())
