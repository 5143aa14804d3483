"""The strategy for counting a table of facts in shards with the compiled kernels in :mod:`entities`.

* Facts are grouped by the more frequent of their two entities, the *leader*. Its documents are marked once for all its
  *partners*. If the partners occur in few and short documents, reading those documents is cheaper. The choice compares
  exact costs.
* Positions are only used in documents that contain both entities, and only if there is a window or mentions of the two
  can overlap. The positions of many facts are sorted together. If the positions of one fact do not fit the buffer, its
  documents are processed in parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from factcensus.indexer.counting.deadline import Deadline
from factcensus.indexer.counting.scope import EVERY_DOCUMENT, Scope, column_of
from factcensus.indexer.counting.spans import Span, number_of_spans, spans_of
from factcensus.indexer.counting.workspace import MOST_BUFFER_ROWS, PASSES, Workspace, lend_workspace
from factcensus.indexer.errors import InputError
from factcensus.indexer.kernels.entities import Control, count_simple_entities
from factcensus.indexer.kernels.forms import Forms
from factcensus.indexer.kernels.groups import Groups, count_disjoint_groups
from factcensus.indexer.kernels.ngrams import Selection
from factcensus.indexer.kernels.overlap import find_disjoint
from factcensus.indexer.kernels.segments import (
    SEGMENTS,
    collect_entities,
    collect_groups,
    count_segments,
    pair_segments,
    select_segments,
)

if TYPE_CHECKING:
    from factcensus.indexer.counting.searchable import SearchableIndex
    from factcensus.indexer.storage.shard import Located, Shard

#: Maximum number of counts of one table of facts (eight bytes each).
MOST_CELLS = 1 << 28
#: Number of parts of a large table; a table with fewer facts has only one part.
PARTS, MOST_WITHOUT_PARTS = 16, 64
#: Number of facts in a part for a single thread, which needs parts only to report progress.
FACTS_OF_A_PART = 10_000


@dataclass(frozen=True, slots=True)
class FactCounts:
    """The counts of a table of facts; each shard adds to every array.

    Attributes:
        entities: int64 (entities, groups, 2): mentions, and documents with at least one.
        together: int64 (facts, groups, 1 + windows, 2): documents and pairs, in whole documents and in each window.
    """

    entities: npt.NDArray[np.int64]
    together: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PairCounts:
    """The counts of pairs of entities.

    Attributes:
        subjects: int64 (pairs, groups, 2): mentions of the subject of each pair, and documents with at least one.
        objects: The same for the object.
        together: int64 (pairs, groups, 1 + windows, 2): documents and pairs, in whole documents and in each window.
    """

    subjects: npt.NDArray[np.int64]
    objects: npt.NDArray[np.int64]
    together: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FactPlan:
    """A table of facts as pairs of entities; the same for every shard.

    Attributes:
        forms: The surface forms of all distinct entities.
        subjects: int64 (facts,): the entity number of each subject; ``objects`` likewise.
        windows: int64 (windows,).
        disjoint: bool (facts,): no two mentions of the two entities can overlap, of the same entity or of both.
    """

    forms: Forms
    subjects: npt.NDArray[np.int64]
    objects: npt.NDArray[np.int64]
    windows: npt.NDArray[np.int64]
    disjoint: npt.NDArray[np.bool_]


def plan_facts(
    forms: Forms, subjects: npt.NDArray[np.int64], objects: npt.NDArray[np.int64], windows: npt.NDArray[np.int64]
) -> FactPlan:
    """Return the :class:`FactPlan` of a table of facts."""
    disjoint = np.empty(len(subjects), np.bool_)
    find_disjoint(*forms.arrays, forms.simple, subjects, objects, disjoint)
    return FactPlan(forms, subjects, objects, windows, disjoint)


def count_plan(
    shards: Sequence[Shard],
    selections: Sequence[Selection],
    plan: FactPlan,
    groups: int,
    deadline: Deadline,
    *,
    threads: int = 1,
    reading: int = -1,
    progress: Callable[[int, int], None] | None = None,
) -> FactCounts:
    """Count a table of facts in all shards.

    Args:
        shards: The shards to count in.
        selections: For each shard, the documents to count and their groups.
        plan: The facts.
        groups: Number of groups; 1 for counts without groups.
        deadline: Stops the count.
        threads: Number of threads that count, each with its own :class:`Workspace`.
        reading: 1 or 0 to force or forbid reading documents through, -1 to choose; the result is the same.
        progress: Called from time to time with (facts done, all facts), averaged over the shards.

    Raises:
        DeadlineError: The deadline was reached.
        InputError: The counts of the facts and groups do not fit in memory.
    """
    facts = len(plan.subjects)
    cells = 2 * groups * (facts * (1 + len(plan.windows)) + len(plan.forms))
    if cells > MOST_CELLS:
        raise InputError(
            f"{facts:,} facts in {groups:,} groups need {cells:,} counts, more than {MOST_CELLS:,}; count fewer facts "
            "at a time, or by a column with fewer values"
        )
    counts = FactCounts(
        np.zeros((len(plan.forms), groups, 2), np.int64),
        np.zeros((facts, groups, 1 + len(plan.windows), 2), np.int64),
    )
    done, spans = 0, sum(map(number_of_spans, shards))
    with ThreadPoolExecutor(threads) as pool:
        for shard, selection in chain.from_iterable(map(spans_of, shards, selections)):
            work = _ShardWork(shard, selection, plan, counts, deadline, reading, threads)
            parts = work.parts(_number_of_parts(work, threads))

            def count(part: Part, work: _ShardWork = work) -> int:
                with lend_workspace(work.shard.documents) as workspace:
                    _PartCounter(work, workspace).run(*part)
                return len(part[1])

            for part in pool.map(count, parts) if threads > 1 else map(count, parts):
                done += part
                if progress:
                    progress(done // max(1, spans), facts)
    return counts


def _number_of_parts(work: _ShardWork, threads: int) -> int:
    """Return the number of parts in which to count; every part has fixed costs, so one thread gets only a few."""
    facts = len(work.leaders)
    if facts < MOST_WITHOUT_PARTS:
        return 1
    if threads == 1 and work.occurrences.whole:
        return min(PARTS, 1 + facts // FACTS_OF_A_PART)
    return PARTS


def count_pairs(  # noqa: PLR0913 - options, which are given by name
    index: SearchableIndex,
    forms: Forms,
    subjects: npt.NDArray[np.int64],
    objects: npt.NDArray[np.int64],
    windows: npt.NDArray[np.int64],
    *,
    by: str | None = None,
    scope: Scope = EVERY_DOCUMENT,
    deadline: Deadline | None = None,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
    reading: int = -1,
) -> tuple[list[str], PairCounts]:
    """Count many pairs of entities in an open index; see :func:`count_plan`.

    Args:
        forms: The surface forms of all entities.
        subjects: int64 (pairs,): the entity number of each subject; ``objects`` likewise.
        by: Count by the values of this document column or metadata field.

    Returns:
        The names of the groups (none without ``by``), and the counts per pair and group.
    """
    names, codes = index.groups(by)
    column = -1 if by else column_of(scope)
    reach = int(windows.max(initial=0))
    asked = index.asked_shards(lambda: forms.ngrams, scope, reach=reach, deadline=deadline)
    selections = [
        shard.selection(counted, column, groups) for (shard, counted), groups in zip(asked, codes, strict=True)
    ]
    counts = count_plan(
        [shard for shard, _ in asked],
        selections,
        plan_facts(forms, subjects, objects, windows),
        max(1, len(names)),
        deadline or Deadline(),
        threads=threads,
        progress=progress,
        reading=reading,
    )
    return names, PairCounts(counts.entities[subjects], counts.entities[objects], counts.together)


#: The numbers of the entities and the facts to count.
Part = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]


class _ShardWork:
    """The state shared by all parts of a count in one shard."""

    def __init__(
        self,
        shard: Shard | Span,
        selection: Selection,
        plan: FactPlan,
        counts: FactCounts,
        deadline: Deadline,
        reading: int,
        threads: int,
    ) -> None:
        self.shard, self.selection, self.plan, self.counts = shard, selection, plan, counts
        self.deadline = deadline
        self.occurrences = shard.occurrences(plan.forms, selection, reading)
        #: int64 (entities,): total occurrences of all forms of each entity.
        self.hits = self.occurrences.hits
        more = self.hits[plan.subjects] >= self.hits[plan.objects]
        self.leaders = np.where(more, plan.subjects, plan.objects)
        self.partners = np.where(more, plan.objects, plan.subjects)
        entities, whole = np.arange(len(plan.forms)), self.occurrences.whole
        self._located = self._locate(entities, self.leaders, self.partners, threads) if whole else None

    def located(self, entities: npt.NDArray[np.int64], facts: npt.NDArray[np.int64]) -> Located:
        """Return the occurrences needed to count these entities and facts."""
        if self._located is not None:
            return self._located
        return self._locate(entities, self.leaders[facts], self.partners[facts], 1)  # in one of the threads

    def _locate(
        self,
        entities: npt.NDArray[np.int64],
        leaders: npt.NDArray[np.int64],
        partners: npt.NDArray[np.int64],
        threads: int,
    ) -> Located:
        located = self.occurrences.locate(entities, leaders, partners, threads, self.deadline.flag)
        self.deadline.check()
        return located

    def parts(self, number: int) -> Iterator[Part]:
        """Yield the work in parts; all facts of a leader are in the same part."""
        if number == 1:
            yield np.arange(len(self.plan.forms)), np.arange(len(self.leaders))
            return
        order = np.argsort(self.leaders, kind="stable")
        wanted = np.linspace(0, len(order), number + 1)[1:-1].astype(np.int64)
        heads = np.append(np.flatnonzero(np.diff(self.leaders[order], prepend=-1)), len(order))
        cuts = heads[np.searchsorted(heads, wanted)]
        entities = np.arange(len(self.plan.forms))
        yield from zip(np.array_split(entities, number), np.split(order, cuts), strict=True)


class _PartCounter:
    """Counts one part of the facts in one shard, in one thread."""

    def __init__(self, work: _ShardWork, workspace: Workspace) -> None:
        self._shared, self._shard, self._selection = work, work.shard, work.selection
        self._plan, self._counts, self._space = work.plan, work.counts, workspace
        self._control = Control(work.deadline.flag, workspace.work)
        self._sizes = np.zeros(SEGMENTS, np.int64)

    def run(self, entities: npt.NDArray[np.int64], facts: npt.NDArray[np.int64]) -> None:
        """Count these entities and these facts.

        Raises:
            DeadlineError: The deadline was reached.
        """
        plan, shared = self._plan, self._shared
        located = shared.located(entities, facts)
        entities = entities[shared.hits[entities] > 0]
        facts = facts[shared.hits[shared.partners[facts]] > 0]
        simple = plan.forms.simple[entities]
        plain = plan.disjoint[facts] if not len(plan.windows) else np.zeros(len(facts), np.bool_)
        self._space.renew(len(entities) + 2 * len(facts))
        self._count_simple(located, entities[simple])
        self._count_entities(located, entities[~simple])
        # Calling a kernel without work still costs about 20 us, which matters when counting a single pair.
        if plain.any():
            count_disjoint_groups(
                located.text,
                located.rows,
                self._selection,
                located.forms,
                self._groups(located, facts[plain]),
                self._space.stamps,
                self._control,
                self._counts.together,
            )
            shared.deadline.check()
        if not plain.all():
            self._count_positions(located, facts[~plain])

    def _groups(self, located: Located, facts: npt.NDArray[np.int64], most: int | None = None) -> Groups:
        """Group facts by their more frequent entity, at most ``most`` per group."""
        facts = facts[np.argsort(self._shared.leaders[facts], kind="stable")]
        leaders, partners = self._shared.leaders[facts], self._shared.partners[facts]
        heads = np.flatnonzero(np.diff(leaders, prepend=-1))
        cuts = np.append(heads, len(facts))
        if most is not None:
            cuts = np.unique(
                np.concatenate([cuts, *(np.arange(a, b, most) for a, b in pairwise(cuts) if b - a > most)])
            )
        leaders = leaders[cuts[:-1]]
        return Groups(leaders, cuts, partners, facts, located.reading[leaders])

    def _count_simple(self, located: Located, entities: npt.NDArray[np.int64]) -> None:
        for first in range(0, len(entities), 256):
            count_simple_entities(
                located.rows,
                self._selection,
                located.forms,
                entities[first : first + 256],
                self._space.stamps,
                self._control.stop,
                self._counts.entities,
            )
            self._shared.deadline.check()

    def _count_entities(self, located: Located, entities: npt.NDArray[np.int64]) -> None:
        """Count entities with overlapping mentions, by their positions."""
        rows, selection = located.rows, self._selection

        def collect(first: int, last: int, low: int, high: int) -> tuple[int, int, int]:
            return collect_entities(
                rows,
                selection.documents,
                located.forms,
                entities,
                first,
                last,
                low,
                high,
                self._control.stop,
                self._space.keys,
                self._sizes,
            )

        def settle(first: int, last: int) -> None:
            count_segments(
                rows, selection.groups, self._sizes, self._space.starts, entities[first:last], self._counts.entities
            )

        self._in_batches(self._shared.hits[entities], collect, settle)

    def _count_positions(self, located: Located, facts: npt.NDArray[np.int64]) -> None:
        """Count facts by the positions of mentions in documents that contain both entities."""
        selection = self._selection
        groups = self._groups(located, facts, most=SEGMENTS - 1)
        leaders, cuts, partners, facts, _ = groups

        def collect(first: int, last: int, low: int, high: int) -> tuple[int, int, int]:
            return collect_groups(
                located.text,
                located.rows,
                selection.documents,
                located.forms,
                groups,
                first,
                last,
                low,
                high,
                self._space.stamps,
                self._control,
                self._space.keys,
                self._sizes,
            )

        def settle(first: int, last: int) -> None:
            # A group has one segment for its leader, then one per fact.
            sizes = 1 + np.diff(cuts[first : last + 1])
            leading = np.concatenate([[0], np.cumsum(sizes)])
            facts_of = np.insert(facts[cuts[first] : cuts[last]], cuts[first:last] - cuts[first], -1)
            pair_segments(
                located.rows,
                selection.groups,
                self._sizes,
                self._space.starts,
                self._space.ends,
                np.repeat(leading[:-1], sizes),
                facts_of,
                self._plan.windows,
                self._counts.together,
            )

        of_partners = np.add.reduceat(self._shared.hits[partners], cuts[:-1]) if len(leaders) else leaders
        self._in_batches(self._shared.hits[leaders] + of_partners, collect, settle)

    def _in_batches(
        self,
        most: npt.NDArray[np.int64],
        collect: Callable[[int, int, int, int], tuple[int, int, int]],
        settle: Callable[[int, int], None],
    ) -> None:
        """Process items in batches: collect the positions of all items that fit the buffer, sort them, and count.

        Args:
            most: int64 (items,): maximum number of positions of each item.
            collect: (first item, last, low document, high) → (the item after those that fit, keys, segments).
            settle: Count the collected items: (first item, last).
        """
        at = 0
        while at < len(most):
            until, keys, segments = collect(at, len(most), 0, self._shard.documents)
            self._shared.deadline.check()
            if until > at:
                self._select(keys, segments)
                settle(at, until)
            else:
                self._in_parts(at, int(most[at]), collect, settle)
                until = at + 1
            at = until

    def _in_parts(
        self,
        item: int,
        most: int,
        collect: Callable[[int, int, int, int], tuple[int, int, int]],
        settle: Callable[[int, int], None],
    ) -> None:
        """Count one item with more positions than the buffer holds, in ranges of documents that do fit."""
        if (rows := min(most // PASSES, MOST_BUFFER_ROWS)) > self._space.buffer_rows:
            self._space.grow(rows)
        parts = min(self._shard.documents, 1 + most // self._space.buffer_rows)
        cuts = np.linspace(0, self._shard.documents, parts + 1).astype(np.int64).tolist()
        waiting = list(pairwise(cuts))
        while waiting:
            low, high = waiting.pop()
            self._space.renew(SEGMENTS)
            until, keys, segments = collect(item, item + 1, low, high)
            self._shared.deadline.check()
            if until > item:
                self._select(keys, segments)
                settle(item, item + 1)
            elif high - low > 1:
                waiting += [((low + high) // 2, high), (low, (low + high) // 2)]
            else:
                self._space.grow(2 * self._space.buffer_rows)  # a single document has more positions than fit
                waiting.append((low, high))

    def _select(self, keys: int, segments: int) -> None:
        self._space.keys[:keys].sort()
        select_segments(self._space.keys, self._sizes, segments, self._space.starts, self._space.ends)
