"""The counts from which an n-gram language model is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Following:
    """The tokens that follow a context.

    Attributes:
        context: The token ids: the prompt, or its longest suffix that occurs.
        occurrences: Occurrences of the context.
        counts: How often each token id follows it.
        ends: How many documents end with it.
        step: One in this many occurrences was counted.
        max_error: Maximum error of a count; 0 if every occurrence was counted.
    """

    context: Sequence[int]
    occurrences: int
    counts: dict[int, int]
    ends: int
    step: int = 1
    max_error: int = 0


@dataclass(frozen=True, slots=True)
class Continued:
    """How often one token follows a context; the other fields are those of :class:`Following`."""

    context: Sequence[int]
    occurrences: int
    count: int


class NextTokens(Protocol):
    """Counts what follows a prompt in an open index.

    Attributes:
        absent_id: A token id that does not occur, for words that are not in the corpus.
    """

    absent_id: int

    def continued(self, prompt: Sequence[int], token: int, *, infini: bool) -> Continued:
        """Count a token after a prompt; after its longest suffix that occurs if ``infini``."""
        ...

    def following(self, prompt: Sequence[int], max_support: int | None, *, infini: bool) -> Following:
        """Count all tokens after a prompt, from a sample of at most ``max_support`` occurrences if it is given."""
        ...
