"""The reference card of one metric."""

from __future__ import annotations

from dataclasses import dataclass

#: Common answers to the questions of a card.
NAN = "the model has collapsed to NaN"
PHANTOM = "its value for phantoms (facts of the same kind that no text states) under the original model"


@dataclass(frozen=True, slots=True)
class Card:
    """The reference card of one metric.

    Attributes:
        name: Its column in facts.parquet, or its name with another table in parentheses.
        family: ``probability``, ``generation``, ``attack``, ``utility`` or ``published``.
        definition: The formula, with units.
        range: Possible values.
        direction: The direction that means more forgotten, or more kept.
        ideal: The value if the model had never read the facts, or if nothing else had changed.
        null: When it is undefined.
        misleads: When it can mislead.
        source: Its origin, and how this implementation differs.
    """

    name: str
    family: str
    definition: str
    range: str
    direction: str
    ideal: str
    null: str
    misleads: str
    source: str
