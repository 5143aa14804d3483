"""Restrictions of counts to some documents: a range of the corpus, no repeats, or a condition."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from factcensus.indexer.arrays import Mask
from factcensus.indexer.errors import InputError
from factcensus.indexer.kernels.ngrams import EVERYTHING

if TYPE_CHECKING:
    from factcensus.indexer.storage.layout import HeldFile
    from factcensus.indexer.storage.shard import Shard


@dataclass(frozen=True, slots=True)
class Scope:
    """The documents that counts are restricted to; deleted documents are never counted.

    Attributes:
        duplicates: False excludes documents with the same text as an earlier document of the index.
        documents: Only the documents [first, last) in corpus order. If training read them in this order, these are the
            documents a checkpoint has seen.
        tokens: Only documents that begin at these token positions [first, last) in corpus order; separators are not
            counted.
        where: Only documents for which this condition holds: one SQL expression over columns and metadata fields, such
            as ``source = 'c4'`` or ``lang = 'en'``.

    Raises:
        InputError: A range ends before it begins, or begins below 0.
    """

    duplicates: bool = True
    documents: tuple[int, int] | None = None
    tokens: tuple[int, int] | None = None
    where: str | None = None

    def __post_init__(self) -> None:
        for name, limits in (("documents", self.documents), ("tokens", self.tokens)):
            if limits is not None and not 0 <= limits[0] <= limits[1]:
                raise InputError(f"the range of {name} must be [first, last) with 0 <= first <= last, got {limits}")


EVERY_DOCUMENT = Scope()


def column_of(scope: Scope) -> int:
    """Return the column of ``frequent.N.G`` with the counts for a scope; -1 if there is none."""
    if scope.documents is not None or scope.tokens is not None or scope.where is not None:
        return -1
    return 2 if scope.duplicates else 4


def masks_of(shards: Sequence[Shard], scope: Scope, tables: Mapping[int, HeldFile], first_token: int = 0) -> list[Mask]:
    """Return, for each shard, bool (documents,): True for counted documents; of size 0 if all are counted.

    Args:
        tables: The document table of each shard by its number; needed only for a condition.
        first_token: Number of tokens before the first shard, in a slice of an index.

    Raises:
        InputError: The condition is invalid.
    """
    from factcensus.indexer.storage.documents import select_documents

    deleted = {shard.number: np.asarray(shard.deleted) for shard in shards}
    chosen = {} if scope.where is None else select_documents(tables, deleted, where=scope.where)
    masks = []
    tokens_before = first_token
    for shard in shards:
        mask = np.ones(shard.documents, np.bool_)
        mask[shard.deleted] = False
        if not scope.duplicates:
            mask[shard.repeated] = False
        if scope.documents is not None:
            first, last = (max(0, limit - shard.first_document) for limit in scope.documents)
            mask[:first] = False
            mask[last:] = False
        if scope.tokens is not None:
            first, last = (_first_from(shard, token - tokens_before) for token in scope.tokens)
            mask[:first] = False
            mask[last:] = False
        if scope.where is not None:
            selected = np.zeros(shard.documents, np.bool_)
            rows = chosen.get(shard.number, np.zeros(0, np.uint32))
            if len(rows) and rows[-1] >= shard.documents:
                shard.check_rows(int(rows[-1]) + 1)
            selected[rows] = True
            mask &= selected
        tokens_before += shard.size - shard.documents
        mask.flags.writeable = (
            False  # like EVERYTHING; a writable array is another type, for which all code would be recompiled
        )
        masks.append(EVERYTHING if mask.all() else mask)
    return masks


def _first_from(shard: Shard, token: int) -> int:
    """Return the first document of a shard that has at least this many tokens of the shard before it."""

    def tokens_before(document: int) -> int:
        """Return the position of its separator minus the number of earlier separators."""
        return int(shard.starts_of(np.array([document]))[0]) - document

    return bisect_left(range(shard.documents), token, key=tokens_before)
