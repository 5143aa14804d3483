"""Which documents are counted: all, those of a training run so far, without repeats, or those that meet a condition."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from factcensus.indexer.errors import InputError
from factcensus.indexer.kernels.ngrams import EVERYTHING, Mask

if TYPE_CHECKING:
    from factcensus.indexer.storage.layout import HeldFile
    from factcensus.indexer.storage.shard import Shard


@dataclass(frozen=True, slots=True)
class Scope:
    """The documents that counts are restricted to; deleted documents are never counted.

    Attributes:
        duplicates: False leaves out documents whose text an earlier document of the index has.
        documents: only the documents [first, last) in corpus order; of training data whose order is known, those
            that a checkpoint has seen.
        tokens: only documents that begin in this range of token positions [first, last) in corpus order, separators
            not counted.
        where: only documents for which this holds: one SQL expression over their columns and metadata fields, such as
            ``source = 'c4'`` or ``lang = 'en'``.

    Raises:
        InputError: a range that ends before it begins, or begins below 0.
    """

    duplicates: bool = True
    documents: tuple[int, int] | None = None
    tokens: tuple[int, int] | None = None
    where: str | None = None

    def __post_init__(self) -> None:
        for name, limits in (("documents", self.documents), ("tokens", self.tokens)):
            if limits is not None and not 0 <= limits[0] <= limits[1]:
                raise InputError(f"the range of {name} is [first, last) with 0 <= first <= last; got {limits}")


EVERY_DOCUMENT = Scope()


def column_of(scope: Scope) -> int:
    """Where counts for a scope stand in ``frequent.N.G``; -1 if they do not."""
    if scope.documents is not None or scope.tokens is not None or scope.where is not None:
        return -1
    return 2 if scope.duplicates else 4


def masks_of(shards: Sequence[Shard], scope: Scope, tables: Mapping[int, HeldFile]) -> list[Mask]:
    """Return, for each shard, bool (documents,): True where a document is counted; of size 0 if all are.

    Args:
        tables: The document table of each shard by its number; needed only for a condition.

    Raises:
        InputError: The condition cannot be understood.
    """
    from factcensus.indexer.storage.documents import select_documents

    chosen = {} if scope.where is None else select_documents(tables, {}, where=scope.where)
    masks = []
    tokens_before = 0
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
            # A document's tokens before it: its separator's position less the separators before that.
            begins = tokens_before + shard.document_starts - np.arange(shard.documents)
            mask &= (begins >= scope.tokens[0]) & (begins < scope.tokens[1])
        if scope.where is not None:
            selected = np.zeros(shard.documents, np.bool_)
            rows = chosen.get(shard.number, np.zeros(0, np.uint32))
            if len(rows) and rows[-1] >= shard.documents:
                shard.check_rows(int(rows[-1]) + 1)
            selected[rows] = True
            mask &= selected
        tokens_before += shard.size - shard.documents
        mask.flags.writeable = False  # as EVERYTHING: else it is another type, for which all code is compiled again
        masks.append(EVERYTHING if mask.all() else mask)
    return masks
