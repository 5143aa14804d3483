"""The training sets of a run, as token ids."""

from __future__ import annotations

from dataclasses import dataclass

from factcensus.unlearn.training.examples import Example

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Material:
    """The encoded input of training. Examples are (fact, form) pairs.

    Attributes:
        answers: The answers of the facts to forget, n examples.
        refusals: The refusal after the same prompts, n examples; empty if no method needs them.
        given: The answers of the column ``alternatives`` after the same prompts, n tuples; empty if no method needs
            them.
        fact_of: (n,) index of the fact of each example, 0 to m - 1.
        keys: (n,) relation and form of each example.
        retain: The retain examples.
        never_seen: Examples of facts that the corpus does not contain, with their relation and form.
        relations: (m,) relation of each fact to forget.
        counts: (m,) counts of the facts to forget, or None if the table has none.
        strata: (m,) strata of the facts to forget, or None if the table has none.
        watched: Whether the over-forgetting alarm is on.
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
