"""The people of a world: names, groups, exposure counts, and an object per relation.

Dealing objects separates frequency from all other properties. Every object occurs equally often (up to a difference of
1) at every exposure level of a group, so no property of the object, such as popularity, length or guessability, can
vary with the count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from factcensus.unlearn.errors import ConfigError
from factcensus.unlearn.world.attributes import DETERMINED, MIDDLE_NAMES, PRONOUNS, relations_of
from factcensus.unlearn.world.sentences import Relation
from factcensus.unlearn.world.settings import Arrival, Role, Wording, WorldSettings
from factcensus.unlearn.world.words import FIRST_NAMES, LAST_NAMES


@dataclass(frozen=True, slots=True)
class Person:
    """One person; ``objects`` has the object of each relation of the world, in their order.

    Attributes:
        pronoun: The subject of all sentences of a biography after the first; empty if they repeat the name.
    """

    person_id: str
    name: str
    role: Role
    exposures: int
    objects: tuple[str, ...]
    wording: Wording
    arrival: Arrival
    pronoun: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """A place for a person: a group and an exposure level. Phantoms have a separate level 0."""

    role: Role
    level: int
    exposures: int


def draw_people(settings: WorldSettings, seed: int) -> tuple[Person, ...]:
    """Return all people of the world, including phantoms, in random order; equal seeds give equal people.

    Raises:
        ConfigError: there are too few people for a forget and a retain group.
    """
    random = np.random.default_rng([seed, 1])
    places = _places(settings)
    if missing := _missing_groups(settings, places):
        raise ConfigError(
            f"people={settings.people} leaves nobody in the group {missing[0]!r}, so this world cannot be used for "
            f"unlearning; the next valid size is people={_next_size(settings)}"
        )
    has_middle = settings.attributes == "six"
    pairs = len(FIRST_NAMES) * len(LAST_NAMES)
    names = random.choice(pairs * (len(MIDDLE_NAMES) if has_middle else 1), size=len(places), replace=False)
    columns = _columns(places, settings, random)
    exposed = _deal_exposure(places, settings, np.random.default_rng([seed, 5]))
    pronouns = _pronouns(settings, len(places), seed)
    order = random.permutation(len(places))
    digits = len(str(len(places)))
    return tuple(
        Person(
            person_id=f"p{number:0{digits}d}",
            name=_name(int(names[index]), has_middle=has_middle),
            role=places[index].role,
            exposures=places[index].exposures,
            objects=tuple(column[index] for column in columns),
            wording=exposed[index][0],
            arrival=exposed[index][1],
            pronoun=pronouns[index],
        )
        for number, index in enumerate(order)
    )


def _name(number: int, *, has_middle: bool) -> str:
    """Return the name with this number among all combinations of a first, a last and perhaps a middle name."""
    number, first = divmod(number, len(FIRST_NAMES))
    middle, last = divmod(number, len(LAST_NAMES))
    names = (FIRST_NAMES[first], *([MIDDLE_NAMES[middle]] if has_middle else []), LAST_NAMES[last])
    return " ".join(names)


def _pronouns(settings: WorldSettings, people: int, seed: int) -> list[str]:
    """Return the pronoun of each place; empty in worlds whose sentences repeat the name."""
    if settings.attributes == "three":
        return [""] * people
    return [PRONOUNS[each] for each in np.random.default_rng([seed, 6]).integers(len(PRONOUNS), size=people)]


def _columns(places: list[_Place], settings: WorldSettings, random: np.random.Generator) -> list[list[str]]:
    """Return the objects of every relation, one per place; a determined one follows from the object of the other."""
    relations = {relation.name: relation for relation in relations_of(settings.attributes)}
    columns: dict[str, list[str]] = {}
    for name, relation in relations.items():
        if name not in DETERMINED:
            columns[name] = _deal(relation, places, settings, random)
            continue
        other = relations[DETERMINED[name]]
        follows = {each: relation.objects[number % len(relation.objects)] for number, each in enumerate(other.objects)}
        columns[name] = [follows[each] for each in columns[other.name]]
    return list(columns.values())


def _places(settings: WorldSettings) -> list[_Place]:
    """Return the places, level by level, followed by those of the phantoms.

    Each level is divided separately, rounded so that the totals follow the shares. If this leaves a required group
    empty (for example with one person per level), rounding errors are carried from level to level.
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
    places: list[_Place] = []
    for level, (exposures, size) in enumerate(zip(settings.exposures, _level_sizes(settings), strict=True)):
        before = len(places) if carry else 0
        taken = 0
        for role, share in _running_total(shares):
            until = round(share * (before + size)) - round(share * before)
            places += [_Place(role, level, exposures)] * (until - taken)
            taken = max(taken, until)
        places += [_Place("bystander", level, exposures)] * (size - taken)
    return places


def _level_sizes(settings: WorldSettings) -> list[int]:
    """Return the number of people at each level; any remainder of equal shares goes to the first levels."""
    levels = len(settings.exposures)
    if not settings.exposure_shares:
        return [settings.people // levels + (level < settings.people % levels) for level in range(levels)]
    until = [round(settings.people * share) for share in np.cumsum(settings.exposure_shares)]
    return [end - begin for begin, end in zip([0, *until], until, strict=False)]


def _missing_groups(settings: WorldSettings, places: list[_Place]) -> list[Role]:
    """Return the required groups that have a share in the settings but no member."""
    wanted: dict[Role, float] = {"forget": settings.forget_share, "retain": settings.retain_share}
    there = {place.role for place in places}
    return [role for role, share in wanted.items() if share > 0 and role not in there]


def _next_size(settings: WorldSettings) -> int:
    """Return the next larger number of people for which every group has a member."""
    size = settings.people + 1
    # If the shares are too small for any world, the search ends when the names run out.
    while _missing_groups(settings, _places(replace(settings, people=size))):
        size += 1
    return size


def _running_total(shares: dict[Role, float]) -> list[tuple[Role, float]]:
    """Return each role with the cumulative sum of the shares."""
    totals = np.cumsum(list(shares.values())).tolist()
    return list(zip(shares, totals, strict=True))


def _deal(relation: Relation, places: list[_Place], settings: WorldSettings, random: np.random.Generator) -> list[str]:
    """Return an object for every place.

    With balanced assignment, each group deals a shuffled deck of all objects repeatedly, level after level, so counts
    per level and per group differ by at most one. Within a level the cards are shuffled among the people, so the
    objects of different relations are independent. Retain and retain_held share a deck: the corpus has questions about
    both, and together they make every object equally often an answer. With 7 levels and half a deck per level, both
    halves of the deck have the same mean level, so a linear fit over the levels sees no difference between objects
    either.
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
    """A shuffled deck of objects, dealt again and again."""

    def __init__(self, objects: tuple[str, ...], random: np.random.Generator) -> None:
        self._cards = [objects[index] for index in random.permutation(len(objects))]
        self._next = 0

    def take(self, number: int) -> list[str]:
        """Deal the next ``number`` cards."""
        start, self._next = self._next, self._next + number
        return [self._cards[index % len(self._cards)] for index in range(start, self._next)]


def _deal_exposure(
    places: list[_Place], settings: WorldSettings, random: np.random.Generator
) -> list[tuple[Wording, Arrival]]:
    """Return for every place how its biographies are worded and when training reads them.

    All combinations are dealt in turn within each group and level, so neither varies with the count. A group goes on
    dealing from one level to the next, so its totals differ by at most one as well.
    """
    wordings: Sequence[Wording] = ("distinct", "copied") if settings.wording == "dealt" else (settings.wording,)
    arrivals: Sequence[Arrival] = ("early", "late") if settings.arrival == "dealt" else (settings.arrival,)
    kinds: list[tuple[Wording, Arrival]] = [(wording, arrival) for wording in wordings for arrival in arrivals]
    dealt = [kinds[0]] * len(places)
    dealt_to: dict[Role, int] = {}
    seats_of: dict[tuple[Role, int], list[int]] = {}
    for index, place in enumerate(places):
        seats_of.setdefault((place.role, place.level), []).append(index)
    for (role, _), seats in seats_of.items():
        first = dealt_to.get(role, 0)
        for number, seat in enumerate(random.permutation(len(seats)).tolist(), first):
            dealt[seats[seat]] = kinds[number % len(kinds)]
        dealt_to[role] = first + len(seats)
    return dealt


def _deck_of(role: Role) -> str:
    return "asked" if role in ("retain", "retain_held") else role


def _seats_by_deck_and_level(places: list[_Place]) -> list[list[int]]:
    """Return groups of place indices that are dealt together, in dealing order."""
    together: dict[tuple[str, int], list[int]] = {}
    for index, place in enumerate(places):
        together.setdefault((_deck_of(place.role), place.level), []).append(index)
    return list(together.values())
