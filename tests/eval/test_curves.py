from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from factcensus.eval.statistics.curves import MOST_LEVELS, forgotten_by_count


def rows(counts: list[int], forgotten: list[bool | None]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "cooccurrence_documents": counts,
            "forgotten_generation": pd.array(forgotten, dtype="boolean"),
            "subject_code": range(len(counts)),
        }
    )


def test_points_are_shares_at_each_count_without_unknown_facts() -> None:
    found = forgotten_by_count(rows([1] * 4 + [10] * 4 + [0, 10], [True, True, True, False] * 2 + [True, None]))
    assert [(each["low"], each["high"], each["n"], each["value"]) for each in found["points"]] == [
        (1, 1, 4, 0.75),
        (10, 10, 4, 0.75),
    ]


def test_isotonic_curve_pools_points_that_violate_its_direction() -> None:
    """1.0, 0.25, 0.75 falls, and the last two are pooled to 0.5 (equal numbers of facts)."""
    forgotten = [True] * 4 + [True, False, False, False] + [True, True, True, False]
    found = forgotten_by_count(rows([1] * 4 + [10] * 4 + [100] * 4, list(forgotten)))
    assert [each["isotonic"] for each in found["points"]] == pytest.approx([1.0, 0.5, 0.5])


def test_a_rising_share_has_a_rising_curve() -> None:
    found = forgotten_by_count(rows([1] * 4 + [10] * 4, [False] * 4 + [True] * 4))
    assert [each["isotonic"] for each in found["points"]] == [0.0, 1.0]


def test_many_counts_become_ranges_and_the_band_contains_the_logistic_curve() -> None:
    generator = np.random.default_rng(0)
    counts = generator.integers(1, 2000, 400)
    forgotten = generator.random(400) < 1 / (1 + np.exp(2 * (np.log10(counts) - 2)))
    found = forgotten_by_count(rows(counts.tolist(), forgotten.tolist()))
    assert 2 < len(found["points"]) <= MOST_LEVELS
    assert sum(each["n"] for each in found["points"]) == 400
    line = found["logistic"]
    assert line is not None
    assert line["value"][0] > line["value"][-1]
    assert all(
        0 <= low <= value <= high <= 1
        for low, value, high in zip(line["low"], line["value"], line["high"], strict=True)
    )


def test_no_rows_give_no_curve() -> None:
    assert forgotten_by_count(rows([], [])) == {"points": [], "logistic": None}
