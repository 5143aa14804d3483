from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from factcensus.eval.asking.batching import equal_length_batches


@given(st.lists(st.integers(1, 30)), st.integers(1, 100))
def test_every_index_occurs_once_in_batches_of_one_length_within_the_limit(lengths: list[int], bound: int) -> None:
    batches = list(equal_length_batches(lengths, bound))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len({lengths[index] for index in batch}) == 1
        assert len(batch) == 1 or sum(lengths[index] for index in batch) <= bound
