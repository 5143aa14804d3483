"""What this package needs from an open index; ``opened.OpenedIndex`` has it, and its methods describe it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from factcensus.indexer.counting.scope import EVERY_DOCUMENT, Scope

if TYPE_CHECKING:
    from factcensus.indexer.analyzers import Analyzer
    from factcensus.indexer.arrays import Mask, Numbers, TokenIds
    from factcensus.indexer.counting.deadline import Deadline
    from factcensus.indexer.counting.lexicon import Lexicon
    from factcensus.indexer.records import Entity
    from factcensus.indexer.storage.shard import Shard


class SearchableIndex(Protocol):
    """An open index, in a folder or at a URL."""

    name: str
    analyzer: Analyzer

    @property
    def lexicon(self) -> Lexicon:
        """The token ids of the index."""
        ...

    @property
    def keeps_text(self) -> bool:
        """Whether the index has the original texts."""
        ...

    def token_ids(self, text: str) -> TokenIds | None:
        """Return the token ids of a text; None if one of its tokens does not occur in the corpus."""
        ...

    def forms(self, entity: Entity | str) -> tuple[TokenIds, ...]:
        """Return the distinct token sequences of an entity that can occur."""
        ...

    def text(self, token_ids: Sequence[int]) -> str:
        """Return a token sequence as readable text."""
        ...

    def groups(self, by: str | None) -> tuple[list[str], list[npt.NDArray[np.int32]]]:
        """Return the values of a column, and for each shard the index of each document's value."""
        ...

    def counted(self, scope: Scope = EVERY_DOCUMENT) -> list[Mask]:
        """Return for each shard bool (documents,): True for counted documents; of size 0 if all are counted."""
        ...

    def counted_shards(self, scope: Scope = EVERY_DOCUMENT) -> Sequence[tuple[Shard, Mask]]:
        """Return each shard with its mask of counted documents."""
        ...

    def asked_shards(
        self,
        ngrams: Callable[[], Iterable[Sequence[int]]],
        scope: Scope,
        *,
        reach: int = 0,
        stored: bool = False,
        deadline: Deadline | None = None,
    ) -> Sequence[tuple[Shard, Mask]]:
        """Return each shard, in which the parts that a query needs can be read, with its mask of counted documents."""
        ...

    def read_texts(
        self, wanted: Sequence[tuple[Shard, Numbers]], *, every: bool = False, deadline: Deadline | None = None
    ) -> list[Iterator[bytes]]:
        """Return the original texts of some documents of shards."""
        ...

    def longest_ends(self, ids: Sequence[int], deadline: Deadline | None = None) -> list[int] | None:
        """Return the end of the longest span from each token that occurs, for an index at a URL; None for a folder."""
        ...

    def occurring(self, ngrams: Sequence[TokenIds], deadline: Deadline) -> list[bool]:
        """Return whether each token sequence may occur in a document, deleted ones included."""
        ...
