"""A shard in the layout ``compact``: the text in blocks, and for each word the blocks in which it occurs.

A query finds the positions of the occurrences, in order. They are the rows of the compiled code for n-grams, entities
and pairs, so that counts are made by the same code as with a suffix array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Mask, Numbers, Stop, TokenArray
from factcensus.indexer.errors import IndexFormatError, VerificationError
from factcensus.indexer.kernels import compact_lists, compact_plan, compact_search, compact_text, search
from factcensus.indexer.kernels.compact_plan import Plan
from factcensus.indexer.kernels.ngrams import Selection, count_by_group, count_range, count_ranges
from factcensus.indexer.storage import frequent
from factcensus.indexer.storage.compact_files import read_compact
from factcensus.indexer.storage.compact_frequent import count_frequent_codes
from factcensus.indexer.storage.compact_occurrences import MOST_LOCATED, CompactOccurrences
from factcensus.indexer.storage.manifest import FileRecord, ShardRecord
from factcensus.indexer.storage.shard import Shard, open_numbers

if TYPE_CHECKING:
    from factcensus.indexer.kernels.forms import Forms

#: Blocks of rarest anchors (4 bytes each) that are decoded together, at most; and those that are worth a thread.
MOST_DECODED, LEAST_DECODED = 1 << 24, 1 << 16

NO_STOP = np.zeros(1, np.uint8)


class CompactShard(Shard):
    """A shard in the layout ``compact``.

    Attributes:
        text, lists, codes: See ``kernels/compact_text.py`` and ``kernels/compact_lists.py``.
        frequent_codes: ``frequent.N.G``, uint32 (n-grams, 6); see :mod:`compact_frequent`.
    """

    def __init__(
        self,
        folder: Path,
        suffix: str,
        first_document: int,
        record: ShardRecord | None = None,
        files: Mapping[str, FileRecord] = MappingProxyType({}),
    ) -> None:
        super().__init__(folder, suffix, first_document, record)
        content = read_compact(folder, self.number)
        self.text, self.lists, self.codes, self._starts, self.token_bytes = content
        self.token_dtype = np.dtype(f"<u{self.token_bytes}")
        self.size = self.text.size
        self.documents = len(self._starts)
        self._separator = int(np.iinfo(self.token_dtype).max)
        self.frequent = np.zeros((0, 6), np.uint32)
        self.frequent.flags.writeable = False
        self.frequent_codes = open_numbers(folder, record.state_files[0] if record else None, files).reshape(-1, 6)
        self._open_states(files)

    @property
    def document_starts(self) -> npt.NDArray[np.int64]:
        """int64 (documents,): the position of the separator of each document."""
        return self._starts

    # --- counts ---------------------------------------------------------------------------------------------------

    def plan(self, tokens: npt.NDArray[np.uint32], starts: npt.NDArray[np.int64]) -> Plan:
        """Return the plan of a search for forms; ``tokens[starts[i]:starts[i + 1]]`` is form i."""
        size = len(starts) - 1
        codes, classes = np.empty((2, len(tokens)), np.int64)
        plan = Plan(codes, classes, starts, np.zeros((size, 8), np.int64), np.zeros(size, np.int64))
        compact_lists.codes_of(self.codes, self._separator, tokens, plan.codes)
        compact_plan.plan_search(self.text, self.lists, plan)
        return plan

    def _plan_of(self, token_ids: Sequence[int]) -> Plan:
        return self.plan(np.array(token_ids, np.uint32), np.array([0, len(token_ids)], np.int64))

    def stored(self, plan: Plan, counted: Mask, column: int) -> npt.NDArray[np.int64]:
        """Return the stored occurrences and documents of each form, int64 (forms, 2); -1 if they must be counted."""
        out = np.full((len(plan.most), 2), -1, np.int64)
        compact_plan.stored_counts(self.lists, self.frequent_codes, plan, len(counted) == 0, column, out)
        return out

    def rows_at(self, positions: npt.NDArray[np.uint32]) -> search.Rows:
        """Return positions as the rows of compiled code, which must not change them."""
        positions.flags.writeable = False  # as a mapped file, so that code is compiled only once
        return search.Rows(positions, 1, 1, self.document_starts, self.blocks, self.size)

    def locate(
        self,
        plan: Plan,
        chosen: npt.NDArray[np.int64],
        ranges: npt.NDArray[np.int64],
        stop: npt.NDArray[np.uint8] = NO_STOP,
        threads: int = 1,
    ) -> npt.NDArray[np.uint32]:
        """Return the positions of the chosen forms, and fill ``ranges``; see :func:`compact_search.locate`."""
        parts = _parts(plan, chosen, threads)

        def run(part: _Part) -> npt.NDArray[np.uint32]:
            positions: npt.NDArray[np.uint32] = compact_search.locate(
                self.text, self.lists, plan, part[0], part[1], ranges, stop
            )
            return positions

        if threads > 1 and len(parts) > 1:
            with ThreadPoolExecutor(threads) as pool:
                found = list(pool.map(run, parts))
        else:
            found = list(map(run, parts))
        if len(found) == 1:
            return found[0]
        before = 0
        for (part, _), positions in zip(parts, found, strict=True):
            ranges[part] += before
            before += len(positions)
        return np.concatenate([*found, np.zeros(0, np.uint32)])

    def count(self, token_ids: Sequence[int], counted: Mask, column: int, stop: Stop) -> tuple[int, int]:
        """Return occurrences and documents of these tokens; see :meth:`Shard.count`."""
        plan = self._plan_of(token_ids)
        if not plan.most[0]:
            return 0, 0
        occurrences, documents = self.stored(plan, counted, column)[0].tolist()
        if occurrences >= 0:
            return occurrences, documents
        positions = self._located(plan, stop)
        found = count_range(self.rows_at(positions), self.selection(counted, -1), 0, len(positions), stop)
        return int(found[0]), int(found[1])

    def _located(self, plan: Plan, stop: npt.NDArray[np.uint8] = NO_STOP) -> npt.NDArray[np.uint32]:
        """Return the positions of the only form of a plan."""
        return self.locate(plan, np.zeros(1, np.int64), np.zeros((1, 2), np.int64), stop)

    def count_all(
        self, tokens: TokenArray, starts: Numbers, counted: Mask, column: int, stop: Stop, counts: Numbers
    ) -> None:
        """Add the counts of many token sequences to ``counts``; see :meth:`Shard.count_all`."""
        plan = self.plan(tokens, starts)
        stored = self.stored(plan, counted, column)
        known = stored[:, 0] >= 0
        counts[known] += stored[known]
        waiting = np.flatnonzero(~known & (plan.most > 0))
        for chosen in _batches(waiting, plan.most):
            ranges = np.zeros((len(plan.most), 2), np.int64)
            rows = self.rows_at(self.locate(plan, chosen, ranges, stop))
            count_ranges(rows, self.selection(counted, -1), ranges, stop, counts)
            if stop[0]:
                return

    def count_groups(
        self, token_ids: Sequence[int], counted: Mask, groups: npt.NDArray[np.int32], stop: Stop, counts: Numbers
    ) -> None:
        """Add the counts of these tokens per group to ``counts``; see :meth:`Shard.count_groups`."""
        positions = self._located(self._plan_of(token_ids), stop)
        count_by_group(self.rows_at(positions), self.selection(counted, -1, groups), 0, len(positions), stop, counts)

    def occurrences(self, forms: Forms, selection: Selection, reading: int) -> CompactOccurrences:
        """Return the occurrences of the forms of a table of facts; see :meth:`Shard.occurrences`."""
        return CompactOccurrences(self, forms, selection, reading)

    def most_occurrences(self, token_ids: Sequence[int]) -> int:
        """Return an upper bound of the occurrences of these tokens."""
        return int(self._plan_of(token_ids).most[0])

    def most_visited(self, token_ids: Sequence[int], counted: Mask, column: int) -> int:
        """Return an upper bound of the occurrences that :meth:`count` visits; see :meth:`Shard.most_visited`."""
        plan = self._plan_of(token_ids)
        return 0 if self.stored(plan, counted, column)[0, 0] >= 0 else int(plan.most[0])

    def positions_of(self, token_ids: Sequence[int]) -> npt.NDArray[np.int64]:
        """Return the positions of all occurrences of these tokens, in order."""
        return self.occurrences_of(token_ids).astype(np.int64)

    def occurrences_of(self, token_ids: Sequence[int]) -> npt.NDArray[np.uint32]:
        """Run :meth:`positions_of` in half of the memory."""
        return self._located(self._plan_of(token_ids))

    # --- next tokens ----------------------------------------------------------------------------------------------

    def living_size(self, counted: Mask) -> int:
        """Return the number of tokens and documents of the counted documents."""
        if not len(counted):
            return self.size
        begins, ends = self.document_spans(np.flatnonzero(counted))
        return int((ends - begins).sum())

    def next_tokens(
        self, token_ids: Sequence[int], counted: Mask
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64], int]:
        """Count the tokens that follow an n-gram.

        Args:
            token_ids: The n-gram; if it is empty, every token is counted.
            counted: bool (documents,), or of size 0 for all.

        Returns:
            The token ids and how often each follows, without ends of documents, and the number of these.
        """
        if len(token_ids):
            counts = np.zeros(self.lists.alphabet, np.int64)
            positions = self.occurrences_of(token_ids)
            if len(counted):
                positions = positions[counted[self.documents_of(positions.astype(np.int64))]]
            ends = int(compact_text.count_following(self.text, positions, len(token_ids), counts))
        else:
            counts, ends = self._unigrams(counted), 0
        ends += int(counts[self.separator_code])
        counts[self.separator_code] = 0
        found = np.flatnonzero(counts).astype(np.uint32)
        times = counts[found]
        return self._ids(found), times, ends

    def _unigrams(self, counted: Mask) -> npt.NDArray[np.int64]:
        """Return the occurrences of each code in the counted documents."""
        both = np.empty((self.lists.alphabet, 2), np.int64)
        compact_lists.counts_of_all(self.lists, both)
        counts = np.ascontiguousarray(both[:, 0])
        for begin, end in zip(*self.document_spans(np.flatnonzero(~counted)), strict=True):
            codes = np.empty(end - begin, np.uint32)
            compact_text.read_codes(self.text, begin, end, codes)
            counts -= np.bincount(codes, minlength=len(counts))[: len(counts)]
        return counts

    # --- text -----------------------------------------------------------------------------------------------------

    def tokens(self, begin: int, end: int) -> npt.NDArray[np.integer[Any]]:
        """Return the token ids at the positions [begin, end)."""
        begin, end, _ = slice(begin, end).indices(self.size)
        codes = np.empty(max(0, end - begin), np.uint32)
        compact_text.read_codes(self.text, begin, max(begin, end), codes)
        return self._ids(codes).astype(self.token_dtype)

    def _ids(self, codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        """Return the token ids of codes, which may be overwritten."""
        if 16 * len(codes) > self.lists.alphabet:
            ids = np.full(self.lists.alphabet, self._separator, np.uint32)
            compact_lists.all_ids(self.codes, self._separator, ids)
            if codes.max(initial=0) >= len(ids):
                raise self._damaged()
            return ids[codes]
        if not compact_lists.ids_of(self.codes, self._separator, codes):
            raise self._damaged()
        return codes

    def all_codes(self) -> npt.NDArray[np.uint32]:
        """Return the whole text as codes."""
        codes = np.empty(self.size, np.uint32)
        compact_text.read_codes(self.text, 0, self.size, codes)
        if codes.max() >= self.lists.alphabet:
            raise self._damaged()
        return codes

    @cached_property
    def separator_code(self) -> int:
        """The code of the separator."""
        return int(compact_text.code_at(self.text, 0))

    def _damaged(self) -> IndexFormatError:
        return IndexFormatError(f"{self.folder / f'text{self._suffix}'} is damaged; run 'factcensus index verify'")

    def check_order(self, most: int | None) -> int:
        """Check that the lists have the blocks of the text, for all tokens or for those of some consecutive blocks."""
        if most is None or self.size <= most:
            codes = self.all_codes()
            intact, compared = self._all_listed(codes), self.size
        else:
            first = int(np.random.default_rng(0).integers(0, self.lists.blocks))
            begin = first * compact_text.BLOCK
            codes = np.empty(min(most, self.size - begin), np.uint32)
            compact_text.read_codes(self.text, begin, begin + len(codes), codes)
            intact, compared = self._listed(codes, first), len(codes)
        if not intact:
            raise VerificationError(
                f"{self.folder / f'lists{self._suffix}'} does not match text{self._suffix}; copy the index again or "
                "rebuild it"
            )
        return compared

    def _listed(self, codes: npt.NDArray[np.uint32], first_block: int) -> bool:
        if codes.max() >= self.lists.alphabet:
            return False
        sizes = np.zeros(self.lists.alphabet + self.lists.frequent**2, np.int64)
        return int(compact_lists.count_listed(self.lists, codes, first_block, sizes)) == len(codes)

    def _all_listed(self, codes: npt.NDArray[np.uint32]) -> bool:
        """Return whether the lists have exactly the blocks of the text, and the right counts."""
        lists = self.lists
        sizes = np.zeros(lists.alphabet + lists.frequent**2, np.int64)
        if int(compact_lists.count_listed(lists, codes, 0, sizes)) < len(codes):
            return False
        expected = np.empty_like(sizes)
        compact_lists.list_sizes(lists, expected)
        documents, stored = np.zeros(lists.alphabet, np.int64), np.empty((lists.alphabet, 2), np.int64)
        compact_lists.documents_of_codes(codes, self._starts, documents)
        compact_lists.counts_of_all(lists, stored)
        occurrences = np.bincount(codes, minlength=lists.alphabet)
        ids = np.full(lists.alphabet, -1, np.int64)
        compact_lists.all_ids(self.codes, self._separator, ids)
        return (
            np.array_equal(sizes, expected)
            and np.array_equal(stored, np.column_stack([occurrences, documents]))
            and np.array_equal(self._starts, np.flatnonzero(codes == self.separator_code))
            and len(np.unique(ids)) == len(ids)
        )

    def count_frequent(
        self, living: npt.NDArray[np.bool_] | None, distinct: npt.NDArray[np.bool_] | None
    ) -> npt.NDArray[np.uint32]:
        """Return the content of ``frequent.N.G``; see :mod:`compact_frequent`."""
        return count_frequent_codes(
            self.all_codes(), self._starts, self.separator_code, living, distinct, frequent.FREQUENT, frequent.LONGEST
        )


#: Forms by their rarest anchor, and the same forms by their second one.
_Part = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


def _parts(plan: Plan, chosen: npt.NDArray[np.int64], threads: int) -> list[_Part]:
    """Split forms so that the lists of each part are few enough to be decoded together, and share no list."""
    if len(chosen) == 1:
        return [(chosen, chosen)]
    by_first = chosen[np.argsort(plan.anchors[chosen, 0], kind="stable")]
    blocks = np.cumsum(plan.anchors[by_first, 2])
    parts = [by_first]
    if len(by_first):
        size = min(MOST_DECODED, max(LEAST_DECODED, -(-int(blocks[-1]) // threads)))
        part = blocks // (size + 1)
        part = part[np.searchsorted(plan.anchors[by_first, 0], plan.anchors[by_first, 0])]  # the same for a whole list
        parts = np.split(by_first, np.flatnonzero(np.diff(part)) + 1)
    return [(each, each[np.argsort(_second(plan.anchors[each]), kind="stable")]) for each in parts]


def _second(anchors: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the list of the second anchor of each form, or -1."""
    return np.where(anchors[:, 6] > 0, anchors[:, 4], -1)


def _batches(chosen: npt.NDArray[np.int64], most: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Split forms so that the occurrences of each part are few enough to be located together."""
    if not len(chosen):
        return []
    part = np.cumsum(most[chosen]) // MOST_LOCATED
    return np.split(chosen, np.flatnonzero(np.diff(part)) + 1)
