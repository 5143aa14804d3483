"""Counts with AND and OR, compared with exhaustive search, and cases that infini-gram's engine gets wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple
from itertools import pairwise, permutations, product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toys import TOY, index_of

from factcensus.api.infini_gram import cnf
from factcensus.api.infini_gram.cnf import Counted, count_cnf
from factcensus.indexer import CountIndex, Deadline, delete_documents
from factcensus.indexer.errors import DeadlineError

Clauses = list[list[list[int]]]
Numbers = tuple[int, int, int]

QUICK = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])


def clauses_of(text: str) -> Clauses:
    return [[list(term.encode()) for term in clause.split(" OR ")] for clause in text.split(" AND ")]


def numbers(counted: Counted) -> Numbers:
    return counted.count, counted.document_count, counted.near_document_count


def ours(index: CountIndex, query: str | Clauses, distance: int = 100) -> Numbers:
    clauses = clauses_of(query) if isinstance(query, str) else query
    return numbers(count_cnf(index, clauses, distance, Deadline()))


def oracle(documents: Iterable[Sequence[int]], clauses: Clauses, distance: int) -> Numbers:
    """Count by checking every choice of one occurrence per clause."""
    documents = [list(document) for document in documents]
    starts = [
        [
            [at for at in range(len(document)) if any(document[at : at + len(term)] == term for term in clause)]
            for clause in clauses
        ]
        for document in documents
    ]
    totals = [sum(len(here[i]) for here in starts) for i in range(len(clauses))]
    candidates = []
    for anchor in [i for i, total in enumerate(totals) if total == min(totals)]:
        counted = [
            {
                choice[anchor]
                for choice in product(*here)
                if all(right - left <= distance for left, right in pairwise(sorted(choice)))
            }
            for here in starts
        ]
        candidates.append((sum(map(len, counted)), sum(map(bool, counted))))
    count, near = min(candidates)
    return count, sum(all(here) for here in starts), near


TERMS = st.text("ab", min_size=1, max_size=3).map(lambda text: list(text.encode()))
CLAUSES = st.lists(st.lists(TERMS, min_size=1, max_size=3), min_size=1, max_size=4)
TEXTS = st.lists(st.text("abc", max_size=14), min_size=1, max_size=6)


@QUICK
@given(texts=TEXTS, clauses=CLAUSES, distance=st.integers(1, 6), shard_tokens=st.sampled_from([None, 12, 25]))
def test_counts_equal_exhaustive_search_in_any_order_and_sharding(
    texts: list[str], clauses: Clauses, distance: int, shard_tokens: int | None
) -> None:
    expected = oracle([text.encode() for text in texts], clauses, distance)
    with index_of(texts, shard_tokens=shard_tokens) as index:
        if len(set(map(str, clauses))) > 1 and tied(index, clauses, distance):
            assert ours(index, clauses, distance)[:2] == expected[:2]
        else:
            assert ours(index, clauses, distance) == expected
        first = count_cnf(index, clauses, distance, Deadline(), most=10**6)
        assert sum(len(found.begins) for found in first.found) == first.count
        for order in permutations(clauses):
            again = [[*reversed(clause), clause[0]] for clause in order]  # A OR B OR A is A OR B
            other = count_cnf(index, again, distance, Deadline(), most=10**6)
            assert numbers(other) == numbers(first)
            assert [[*map(_plain, astuple(found))] for found in other.found] == [
                [*map(_plain, astuple(found))] for found in first.found
            ]


def tied(index: CountIndex, clauses: Clauses, distance: int) -> bool:
    """Return whether two clauses are equally rare, so that near documents depend on the choice."""
    totals = [count_cnf(index, [clause], distance, Deadline()).count for clause in clauses]
    return totals.count(min(totals)) > 1


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, np.ndarray) else value


@QUICK
@given(texts=TEXTS, clauses=CLAUSES, distance=st.integers(1, 6), data=st.data())
def test_counts_do_not_depend_on_how_the_text_is_read(
    texts: list[str], clauses: Clauses, distance: int, data: st.DataObject
) -> None:
    with index_of(texts) as index:
        expected = ours(index, clauses, distance)
        with pytest.MonkeyPatch.context() as patch:
            # In pieces of one row, reading around the rarest clause or the whole text.
            patch.setattr(cnf, "CHUNK_ROWS", data.draw(st.sampled_from([1, 2, 1 << 20])))
            patch.setattr(cnf, "TOKENS_PER_ROW", data.draw(st.sampled_from([0, 1, 10**9])))
            patch.setattr(cnf, "MOST_ROWS", data.draw(st.sampled_from([0, 1 << 26])))
            assert ours(index, clauses, distance) == expected


@QUICK
@given(texts=TEXTS, clauses=CLAUSES, distances=st.lists(st.integers(1, 12), min_size=2, max_size=4))
def test_a_larger_distance_never_decreases_the_count(texts: list[str], clauses: Clauses, distances: list[int]) -> None:
    with index_of(texts) as index:
        counts = [ours(index, clauses, distance) for distance in sorted(distances)]
        alone = [count_cnf(index, [clause], 1, Deadline()) for clause in clauses]
    for shorter, longer in pairwise(counts):
        assert shorter[0] <= longer[0]
        assert shorter[1] == longer[1]
    for count, documents, near in counts:
        assert near <= documents <= min(each.document_count for each in alone)
        assert near <= count <= min(each.count for each in alone)


@settings(QUICK, max_examples=15)  # deleting is slow because it syncs the disk
@given(texts=st.lists(st.text("abc", max_size=14), min_size=2, max_size=6), clauses=CLAUSES, data=st.data())
def test_deleted_documents_are_not_counted(texts: list[str], clauses: Clauses, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.integers(0, len(texts) - 1), min_size=1, max_size=len(texts) - 1))
    kept = [text for number, text in enumerate(texts) if number not in gone]
    with index_of(texts, shard_tokens=20) as index, index_of(kept) as smaller:
        delete_documents(index.folder, ids=[f"d{number}" for number in sorted(gone)])
        with CountIndex.open(index.folder) as changed:
            assert ours(changed, clauses, 5) == ours(smaller, clauses, 5)


# --- errors of infini-gram's engine -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("documents", "tokens"), [(1000, 9), (200, 63), (200, 153)])
def test_no_pair_is_lost_in_adjacent_short_documents(documents: int, tokens: int) -> None:
    # The engine returns 1, 1 and 200.
    text = "A is B" + "." * (tokens - 6)
    with index_of([text] * documents) as index:
        for query in ("A AND B", "B AND A"):
            for distance in (10, 100):
                assert ours(index, query, distance) == (documents, documents, documents)


@pytest.mark.parametrize("most", [1501, 1500, 1000, 100, 1])
def test_counts_of_frequent_clauses_are_neither_truncated_nor_multiplied(most: int) -> None:
    # The engine returns 1,501 for 3,000 pairs, then 6,000, 9,000 and 90,000.
    with index_of(["A B" + "." * 300] * 3000) as index:
        counted = count_cnf(index, clauses_of("A AND B"), 100, Deadline(), most=most)
    assert numbers(counted) == (3000, 3000, 3000)
    assert sum(len(found.begins) for found in counted.found) == most


def test_the_rarest_clause_is_chosen_over_the_whole_index() -> None:
    texts = ["A A A B", "A B B B B"]  # A is rarer than B, but not in the first document
    with index_of(texts) as one, index_of(texts, shard_tokens=8) as two:
        assert len(two.shards) == 2
        assert ours(one, "A AND B") == ours(two, "A AND B") == ours(two, "B AND A") == (4, 2, 2)


def test_equally_rare_clauses_give_the_same_count_in_either_order() -> None:
    # A and B occur three times each; two A have a B near, three B have an A near. The engine returns 2 or 3.
    texts = ["AB.B.A" + "." * 20 + "B" + "..." + "." * 20 + "A", "x"]
    with index_of(texts) as index:
        assert ours(index, "A AND B", 3) == ours(index, "B AND A", 3) == (2, 1, 1)


@pytest.mark.parametrize(
    ("query", "same"),
    [
        ("Paris OR Paris", "Paris"),
        ("Paris OR Par", "Par"),
        ("Par OR Paris", "Par"),
        ("Paris OR Par AND France OR France", "Par AND France"),
        ("Paris AND Paris", "Paris"),
    ],
)
def test_a_repeated_or_longer_term_adds_nothing(query: str, same: str) -> None:
    with index_of(TOY) as index:
        assert ours(index, query) == ours(index, same)


@pytest.mark.parametrize(("gap", "count"), [(9, 1), (10, 1), (11, 0)])
def test_the_distance_is_measured_from_start_to_start(gap: int, count: int) -> None:
    with index_of(["A" + "." * (gap - 1) + "B"]) as index:
        assert ours(index, "A AND B", 10) == ours(index, "B AND A", 10) == (count, 1, count)


def test_only_neighbouring_clauses_must_be_near() -> None:
    with index_of(["A.B...C", "A.B....C"]) as index:
        for query in ("A AND B AND C", "C AND A AND B", "B AND C AND A"):
            assert ours(index, query, 4) == (1, 2, 1)


def test_counting_stops_at_the_limit() -> None:
    deadline = Deadline()
    deadline.cancel()
    with index_of(TOY) as index, pytest.raises(DeadlineError):
        count_cnf(index, clauses_of("Paris AND France"), 100, deadline)
