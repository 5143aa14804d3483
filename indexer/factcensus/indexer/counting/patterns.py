"""The patterns of a scan: the forms of all entities of a fact table, and the facts, as arrays for compiled code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from factcensus.indexer.analyzers import Analyzer, FixedAnalyzer
from factcensus.indexer.analyzers.word_table import KnownWords
from factcensus.indexer.arrays import TokenIds
from factcensus.indexer.errors import EmptyQueryError
from factcensus.indexer.kernels.forms import check_length
from factcensus.indexer.kernels.scan import Counts, FactsByEntity, Trie, build_trie, group_facts
from factcensus.indexer.records import Entity
from factcensus.indexer.tables.facts import entities_of

ROLES = ("subject", "object")


@dataclass(frozen=True, slots=True)
class Patterns:
    """The forms and facts that a scan counts; picklable.

    Attributes:
        words: The concatenated UTF-8 of all words of the forms; word i has token id i. Empty for an analyzer with fixed
            ids.
        word_starts: int64 (words + 1,): the start of each word in ``words``, and the end of the last.
        trie: The forms of all entities.
        facts: The facts by entity.
        windows: int64 (windows,), including the whole document.
    """

    words: npt.NDArray[np.uint8]
    word_starts: npt.NDArray[np.int64]
    trie: Trie
    facts: FactsByEntity
    windows: npt.NDArray[np.int64]

    @property
    def entities(self) -> int:
        """Number of entities."""
        return len(self.facts.starts) - 1

    def no_counts(self) -> Counts:
        """Return zero counts, to which others are added."""
        return Counts.zeros(self.entities, len(self.facts.facts), len(self.windows))

    def encoder(self, analyzer: Analyzer) -> Any:
        """Return an encoder that gives the words of the patterns their ids, and all other words one common id."""
        encoder: Any = analyzer.encoder()
        if analyzer.has_vocabulary:
            encoder.table = KnownWords(self.words, self.word_starts)
        return encoder


def make_patterns(
    facts: pa.Table, analyzer: Analyzer, windows: npt.NDArray[np.int64]
) -> tuple[Patterns, dict[str, npt.NDArray[np.int64]]]:
    """Return the patterns to scan for, and for each role int64 (facts,), the entity number of each fact.

    Raises:
        EmptyQueryError: A subject or object has no tokens; the message names the row.
        InputError: A name is too long.
    """
    word_ids: dict[str, int] = {}
    forms_of: dict[Entity, tuple[TokenIds, ...]] = {}
    numbers: dict[tuple[TokenIds, ...], int] = {}  # entities with the same forms are counted once
    entities: dict[str, npt.NDArray[np.int64]] = {}
    for role in ROLES:
        column = entities_of(facts, role)
        for row, entity in enumerate(column, 1):
            if entity not in forms_of:
                forms = [_name_ids(name, analyzer, word_ids) for name in (entity.name, *entity.aliases)]
                if not forms[0]:
                    raise EmptyQueryError(
                        f"row {row} of the fact table, {role}: the analyzer {analyzer.name} finds no token in "
                        f"{entity.name!r:.80}; remove the row or change the name"
                    )
                forms_of[entity] = tuple(sorted({form for each in forms for form in each}))
                numbers.setdefault(forms_of[entity], len(numbers))
        entities[role] = np.array([numbers[forms_of[entity]] for entity in column], np.int64)
    check_length(max((len(form) for forms in numbers for form in forms), default=0))
    words = [word.encode() for word in word_ids]
    tokens = len(words) if analyzer.has_vocabulary else cast(FixedAnalyzer, analyzer).vocabulary_size
    patterns = Patterns(
        words=np.frombuffer(b"".join(words), np.uint8),
        word_starts=np.cumsum([0, *map(len, words)], dtype=np.int64),
        trie=build_trie(list(numbers), tokens),
        facts=group_facts(entities["subject"], entities["object"], len(numbers)),
        windows=windows,
    )
    return patterns, entities


def _name_ids(name: str, analyzer: Analyzer, word_ids: dict[str, int]) -> list[TokenIds]:
    """Return the possible token sequences of a name."""
    if analyzer.has_vocabulary:
        ids = tuple(word_ids.setdefault(token, len(word_ids)) for token in analyzer.tokens(name))
        return [ids] if ids else []
    return cast(FixedAnalyzer, analyzer).name_ids(name)
