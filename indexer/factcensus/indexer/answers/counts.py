"""Counts of a text, and of two entities alone and together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from factcensus.indexer.answers.record import Answer, html_table

#: Begins the name of groups of training steps, such as ``step:1000``, whose counts add up from group to group.
STEPS = "step:"

Counts = TypeVar("Counts")


def by_documents(
    groups: Mapping[str, Counts] | None, by: str | None, documents: Callable[[Counts], int]
) -> list[tuple[str, Counts]]:
    """Return (value, counts) of each group, most documents first; training steps stay in their order."""
    if groups is None or by is None:
        return []
    if by.startswith(STEPS):
        return list(groups.items())
    return sorted(groups.items(), key=lambda group: (-documents(group[1]), group[0]))


@dataclass(frozen=True, slots=True)
class TextCounts(Answer):
    """The counts of one text."""

    occurrences: int
    """Positions where the tokens occur; overlapping occurrences all count."""
    documents: int
    """Documents with at least one occurrence."""


@dataclass(frozen=True, slots=True)
class CountAnswer(Answer):
    """How often a text occurs in the corpus."""

    index: str
    """Name of the index."""
    analyzer: str = field(repr=False)
    """Name and version of the analyzer."""
    text: str
    """The text as it was counted."""
    tokens: list[str] = field(repr=False)
    """The tokens of the text."""
    occurrences: int
    """Positions where the tokens occur; overlapping occurrences all count."""
    documents: int
    """Documents with at least one occurrence."""
    exact: bool
    """False if the counts are estimates."""
    by: str | None = field(default=None, repr=False, metadata={"exclude": True})
    """The column by which ``groups`` are formed."""
    groups: dict[str, TextCounts] | None = field(
        default=None, repr=False, metadata={"serialization_alias": "by_source"}
    )
    """Only with by="source": the counts of each source. For another column, the name is by_ and the column."""
    verbatim: bool | None = field(default=None, kw_only=True, repr=False)
    """Only with verbatim: true, because the text was counted exactly as it is written."""

    def shown_groups(self) -> list[tuple[str, TextCounts]]:
        """Return (value, counts) of the groups with the text, most documents first; steps stay in their order."""
        groups = by_documents(self.groups, self.by, lambda counts: counts.documents)
        return [(value, counts) for value, counts in groups if counts.occurrences]

    def _repr_html_(self) -> str:
        rows = [("all", self.occurrences, self.documents)]
        rows += [(value, counts.occurrences, counts.documents) for value, counts in self.shown_groups()]
        return html_table(f"{self.text!r} in {self.index}", [self.by or "", "occurrences", "documents"], rows)


@dataclass(frozen=True, slots=True)
class MentionCounts(Answer):
    """The counts of one entity."""

    mentions: int
    """Leftmost-longest, non-overlapping, over all surface forms."""
    documents: int
    """Documents with at least one mention."""

    def __add__(self, other: MentionCounts) -> MentionCounts:
        return MentionCounts(self.mentions + other.mentions, self.documents + other.documents)


@dataclass(frozen=True, slots=True)
class CooccurrenceCounts(Answer):
    """The counts of two entities together."""

    documents: int
    """Documents with a mention of each that do not overlap (within the window)."""
    pairs: int
    """Non-overlapping (subject mention, object mention) pairs."""

    def __add__(self, other: CooccurrenceCounts) -> CooccurrenceCounts:
        return CooccurrenceCounts(self.documents + other.documents, self.pairs + other.pairs)


@dataclass(frozen=True, slots=True)
class NameVariant(Answer):
    """One token sequence of a name, in an index of sub-word tokens."""

    form: str
    """Where the name has these tokens: as written, at line start, after a space, …"""
    text: str
    tokens: list[str]


@dataclass(frozen=True, slots=True)
class EntityCounts(Answer):
    """One entity of the request, and its counts."""

    name: str
    aliases: list[str]
    tokens: list[list[str]] = field(repr=False)
    """The tokens of the name and of each alias."""
    variants: list[NameVariant] | None = field(default=None, kw_only=True, repr=False)
    """All token sequences that were counted, if tokens are parts of words."""
    mentions: int
    """Leftmost-longest, non-overlapping, over all surface forms."""
    documents: int
    """Documents with at least one mention."""


@dataclass(frozen=True, slots=True)
class GroupCounts(Answer):
    """The counts of two entities in one group of documents, such as one source."""

    subject: MentionCounts
    object: MentionCounts
    cooccurrence: CooccurrenceCounts

    def __add__(self, other: GroupCounts) -> GroupCounts:
        """Return the counts of two groups without common documents."""
        return GroupCounts(
            self.subject + other.subject, self.object + other.object, self.cooccurrence + other.cooccurrence
        )


@dataclass(frozen=True, slots=True)
class CooccurrenceAnswer(Answer):
    """How often subject and object are mentioned, and how often together."""

    index: str
    """Name of the index."""
    analyzer: str = field(repr=False)
    """Name and version of the analyzer."""
    subject: EntityCounts
    object: EntityCounts
    cooccurrence: CooccurrenceCounts
    window: int | None
    """Maximum number of tokens strictly between two mentions; null for the whole document."""
    exact: bool
    """False if the counts are estimates."""
    by: str | None = field(default=None, repr=False, metadata={"exclude": True})
    """The column by which ``groups`` are formed."""
    groups: dict[str, GroupCounts] | None = field(
        default=None, repr=False, metadata={"serialization_alias": "by_source"}
    )
    """Only with by="source": the counts of each source. For another column, the name is by_ and the column."""

    def shown_groups(self) -> list[tuple[str, GroupCounts]]:
        """Return (value, counts) of the groups with either entity, most documents with both first.

        Training steps stay in their order.
        """
        groups = by_documents(self.groups, self.by, lambda counts: counts.cooccurrence.documents)
        return [(value, counts) for value, counts in groups if counts.subject.documents or counts.object.documents]

    def _repr_html_(self) -> str:
        where = "in one document" if self.window is None else f"at most {self.window} tokens apart"
        together = f"{self.subject.name} and {self.object.name}"
        header = [self.by or "", "mentions of subject", "documents", "mentions of object", "documents", "both", "pairs"]
        counted: list[tuple[str, CooccurrenceAnswer | GroupCounts]] = [("all", self), *self.shown_groups()]
        rows = [
            (
                value,
                counts.subject.mentions,
                counts.subject.documents,
                counts.object.mentions,
                counts.object.documents,
                counts.cooccurrence.documents,
                counts.cooccurrence.pairs,
            )
            for value, counts in counted
        ]
        return html_table(f"{together} {where}, in {self.index}", header, rows)
