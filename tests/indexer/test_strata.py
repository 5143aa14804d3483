"""Strata, which are bins of facts by a count."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factcensus.indexer import stratify
from factcensus.indexer.errors import InputError

from . import reference
from .strategies import QUICK

COUNTS = st.lists(st.integers(0, 12) | st.integers(0, 10**9), min_size=1, max_size=40)
EDGES = st.sets(st.integers(1, 10**9) | st.integers(1, 12), min_size=1, max_size=5).map(sorted)


def strata_of(counts: list[int], bins: str, by: str = "cooccurrence_documents") -> list[dict[str, int]]:
    """Return the rows of a strata table, each with its position in the input."""
    table = pa.table({"place": list(range(len(counts))), by: pa.array(counts, pa.int64())})
    result = stratify(table, by=by, bins=bins)
    assert result.column_names == [*table.column_names, "stratum", "stratum_label", "stratum_low", "stratum_high"]
    assert result.select(table.column_names).equals(table), "rows and their order stay"
    return result.to_pylist()


def check_strata(counts: list[int], bins: str) -> list[int]:
    """Check the properties of all bins (equal counts together, order, labels, bounds) and return the strata."""
    rows = strata_of(counts, bins)
    strata = [row["stratum"] for row in rows]
    for (count, one), (other, two) in combinations(set(zip(counts, strata, strict=True)), 2):
        assert (count != other) or (one == two), "equal counts never fall into different strata"
        assert (count < other) <= (one <= two), "rarer facts never have a higher stratum"
    assert min(strata) >= 0
    bounds = {(r["stratum"], r["stratum_label"], r["stratum_low"], r["stratum_high"]) for r in rows}
    assert len(bounds) == len({label for _, label, _, _ in bounds}) == len(set(strata)), "one label, one pair of bounds"
    for row in rows:
        high = row["stratum_high"]
        assert row["stratum_low"] <= row["cooccurrence_documents"]
        assert high is None or row["cooccurrence_documents"] <= high
    return strata


@settings(QUICK, max_examples=150)
@given(counts=COUNTS, edges=EDGES)
def test_edges_separate_strata_at_their_values(counts: list[int], edges: list[int]) -> None:
    strata = check_strata(counts, "edges:" + ",".join(map(str, edges)))
    assert strata == [reference.stratum_by_edges(count, edges) for count in counts]


@settings(QUICK, max_examples=150)
@given(counts=COUNTS)
def test_log10_separates_by_number_of_digits(counts: list[int]) -> None:
    strata = check_strata(counts, "log10")
    expected = [reference.stratum_by_log10(count) for count in counts]
    pairs = set(zip(expected, strata, strict=True))
    assert len(pairs) == len(set(expected)) == len(set(strata)), "as many digits, the same stratum; and the other way"


@settings(QUICK, max_examples=150)
@given(counts=COUNTS, groups=st.integers(1, 6))
def test_quantiles_give_at_most_k_strata_without_gaps(counts: list[int], groups: int) -> None:
    strata = check_strata(counts, f"quantile:{groups}")
    assert set(strata) == set(range(len(set(strata))))
    assert len(set(strata)) <= groups
    if groups > 1 and len(set(counts)) > 1:
        rarest = max(Counter(counts).values())
        assert len(set(strata)) > 1 or rarest > len(counts) / groups, "only ties may leave a single stratum"


@settings(QUICK, max_examples=150)
@given(counts=st.sets(st.integers(0, 10**6), min_size=1, max_size=40), groups=st.integers(1, 6), order=st.randoms())
def test_quantiles_of_distinct_counts_are_equally_large(counts: set[int], groups: int, order: object) -> None:
    shuffled = sorted(counts)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    sizes = Counter(check_strata(shuffled, f"quantile:{groups}"))
    assert len(sizes) == min(groups, len(counts))
    assert max(sizes.values()) - min(sizes.values()) <= 1


@settings(QUICK, max_examples=100)
@given(counts=COUNTS, groups=st.integers(1, 6), order=st.randoms())
def test_stratum_of_a_count_does_not_depend_on_the_order_of_rows(counts: list[int], groups: int, order: object) -> None:
    shuffled = list(counts)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    bins = f"quantile:{groups}"
    ours = dict(zip(counts, check_strata(counts, bins), strict=True))
    assert dict(zip(shuffled, check_strata(shuffled, bins), strict=True)) == ours


#: counts, bins, strata.
BY_HAND = [
    ([0, 1, 9, 10, 99, 100, 5000], "edges:1,10,100", [0, 1, 1, 2, 2, 3, 3]),
    ([0, 1, 9, 10, 99, 100], "log10", [0, 1, 1, 2, 2, 3]),
    ([1, 2, 3, 4, 5, 6], "quantile:3", [0, 0, 1, 1, 2, 2]),
    ([6, 5, 4, 3, 2, 1], "quantile:3", [2, 2, 1, 1, 0, 0]),
    ([7, 7, 7, 7], "quantile:3", [0, 0, 0, 0]),
    ([0, 0, 0, 0, 0, 9], "quantile:2", [0, 0, 0, 0, 0, 1]),
    ([4], "quantile:3", [0]),
    ([5, 1, 1, 3], "quantile:4", [2, 0, 0, 1]),
    ([5, 1, 1, 3], "quantile:1000000000000", [2, 0, 0, 1]),
    ([0, 0], "log10", [0, 0]),
]


@pytest.mark.parametrize(("counts", "bins", "strata"), BY_HAND)
def test_strata_given_by_hand(counts: list[int], bins: str, strata: list[int]) -> None:
    assert check_strata(counts, bins) == strata


def test_any_count_column_can_stratify_facts() -> None:
    rows = strata_of([5, 50, 500], "log10", by="subject_documents")
    assert [row["stratum"] for row in rows] == sorted({row["stratum"] for row in rows})


def test_default_is_thirds_of_the_documents_with_both() -> None:
    table = pa.table({"cooccurrence_documents": [1, 2, 3], "subject_documents": [3, 2, 1]})
    assert stratify(table)["stratum"].to_pylist() == [0, 1, 2]


@pytest.mark.parametrize(
    "bins",
    [
        "",
        "quantile",
        "quantile:",
        "quantile:0",
        "quantile:-1",
        "quantile:x",
        "quantile:2.5",
        "log2",
        "log10:3",
        "edges",
        "edges:",
        "edges:a",
        "edges:10,1",
        "edges:1,1",
        "edges:1,9223372036854775808",
        "edges:1,,2",
        "thirds",
    ],
)
def test_invalid_bins_are_refused(bins: str) -> None:
    with pytest.raises(InputError):
        stratify(pa.table({"cooccurrence_documents": [1, 2, 3]}), bins=bins)


def test_unknown_column_is_named_and_a_column_of_text_refused() -> None:
    table = pa.table({"cooccurrence_documents": [1], "relation": ["capital"]})
    with pytest.raises(InputError, match="nosuch"):
        stratify(table, by="nosuch")
    with pytest.raises(InputError, match="relation"):
        stratify(table, by="relation")


@pytest.mark.parametrize("bad", [[1, None], [1, -1]])
def test_value_that_is_not_a_count_is_refused(bad: list[int | None]) -> None:
    with pytest.raises(InputError):
        stratify(pa.table({"cooccurrence_documents": pa.array(bad, pa.int64())}))


@pytest.mark.parametrize("bad", [1e300, 2.0**63, 1.5, float("nan"), float("inf")])
def test_invalid_number_is_refused_by_row(bad: float) -> None:
    with pytest.raises(InputError, match="row 2"):
        stratify(pa.table({"cooccurrence_documents": [1.0, bad]}))


@pytest.mark.parametrize("value", [True, "1_000", "007", "٣", "1e3", float("inf")])
def test_value_accepted_only_by_python_is_not_a_count(value: object) -> None:
    with pytest.raises(InputError, match=r"row 1: n must be an integer of at least 0"):
        stratify(pa.table({"n": [value]}), by="n", bins="log10")


def test_counts_beyond_the_integers_of_a_float_are_counts() -> None:
    table = stratify(pa.table({"n": [2**53 + 1, 2**53]}), by="n", bins=f"edges:{2**53 + 1}")
    assert table["stratum"].to_pylist() == [1, 0]


@pytest.mark.parametrize("bins", ["edges:1_0,20", f"edges:1,{2**63}", "edges:1,,2", "edges:1,2,"])
def test_edges_that_are_not_counts_are_refused(bins: str) -> None:
    with pytest.raises(InputError, match="invalid bins"):
        stratify(pa.table({"n": [1, 5]}), by="n", bins=bins)
