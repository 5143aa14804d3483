"""The training sets of a run, as token ids."""

from __future__ import annotations

from dataclasses import dataclass

from factcensus.unlearn.training.examples import Example

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that training needs and that needs no model: examples are (fact, form) pairs.

    Attributes:
        answers: The forget facts' own answers, n examples.
        refusals: The refusal after the same prompts, n examples; none if no method asks for them.
        given: The answers of the column ``alternatives`` after the same prompts, n tuples; likewise.
        fact_of: (n,) which forget fact each example belongs to, 0 to m - 1.
        keys: (n,) relation and form of each example.
        retain: The retain examples.
        never_seen: Examples of facts that the corpus does not have, and their relation and form.
        relations: (m,) relation of each forget fact.
        counts: (m,) counts of the forget facts, or None if the table has none.
        strata: (m,) strata of the forget facts, or None if the table has none.
        watched: Whether the alarm for over-forgetting is on.
    """

    answers: tuple[Example, ...]
    refusals: tuple[Example, ...]
    given: tuple[tuple[Example, ...], ...]
    fact_of: tuple[int, ...]
    keys: tuple[Key, ...]
    retain: tuple[Example, ...]
    never_seen: tuple[tuple[Key, Example], ...]
    relations: tuple[str, ...]
    counts: tuple[int, ...] | None
    strata: tuple[int, ...] | None
    watched: bool = False
