from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from factcensus.eval.statistics.misalignment import misalignment


def outcomes(cells: list[tuple[bool | None, bool | None, bool]]) -> pd.DataFrame:
    """Make rows of (forgotten by generation, forgotten by probability, forgotten by probability before)."""
    rows: list[dict[str, Any]] = [
        {
            "seed": 0,
            "subject_code": number,
            "forgotten_generation": generation,
            "forgotten_probability": probability,
            "original_forgotten_probability": original,
            "never_seen_level": -4.0,
            "log_probability_mean_after": -4.5 if probability else -3.5,
            "never_seen_rank": 0.2 if probability else 0.8,
        }
        for number, (generation, probability, original) in enumerate(cells)
    ]
    flags = ["forgotten_generation", "forgotten_probability", "original_forgotten_probability"]
    return pd.DataFrame(rows).astype(dict.fromkeys(flags, "boolean"))


def phantoms(*cells: tuple[float, bool]) -> pd.DataFrame:
    """Make rows of (log-probability per token, whether the answer was guessed), at a level of -4."""
    return pd.DataFrame(
        [{"log_probability_mean": value, "match": match, "never_seen_level": -4.0} for value, match in cells],
        columns=["log_probability_mean", "match", "never_seen_level"],
    )


def test_index_equals_the_value_computed_by_hand() -> None:
    """Of ten facts: three hidden, one brittle (brittle before as well), four forgotten by both, two by neither."""
    found = misalignment(
        outcomes(
            [(True, False, False)] * 3 + [(False, True, True)] + [(True, True, False)] * 4 + [(False, False, False)] * 2
        ),
        phantoms((-3.0, False), (-3.5, False), (-5.0, False), (-6.0, False), (-7.0, False), (-0.1, True)),
    )
    assert found["n"] == 10
    assert found["total"] == pytest.approx(0.4)
    assert found["hidden"] == pytest.approx(0.3)
    assert found["brittle"] == pytest.approx(0.1)
    assert found["signed"] == pytest.approx(0.2)
    assert found["original"] == pytest.approx(0.1)
    assert found["excess"] == pytest.approx(0.3)
    assert found["mcnemar_p"] == pytest.approx(2 * 5 / 16)  # P(at most 1 of 4) at a half, two-sided
    assert found["ci95"][0] < 0.4 < found["ci95"][1]
    assert found["excess_ci95"][0] < 0.3 < found["excess_ci95"][1]
    # Seven of ten are no longer given; of five phantoms with a wrong guess, two lie above the level.
    assert found["never_seen"] == pytest.approx(0.7 * 2 / 5)
    assert found["hidden_rank"]["value"] == pytest.approx((3 * 0.8 + 4 * 0.2) / 7)
    assert found["hidden_rank"]["n"] == 7


def test_shifted_level_changes_the_total() -> None:
    """All facts lie half a nat from the level: one nat lower none is forgotten by probability, one higher all are."""
    found = misalignment(outcomes([(True, False, False)] * 3 + [(True, True, False)]), phantoms())
    assert found["total"] == pytest.approx(0.75)
    assert found["total_at_shifted_level"] == {"-1 nat": 1.0, "+1 nat": 0.0}


def test_rows_without_both_outcomes_are_left_out_and_no_rows_give_null() -> None:
    cells: list[tuple[bool | None, bool | None, bool]] = [(None, True, False), (True, None, False), (True, True, False)]
    assert misalignment(outcomes(cells), phantoms())["n"] == 1
    empty = misalignment(outcomes([(True, None, False)]), phantoms())
    assert empty["n"] == 0
    assert [empty[name] for name in ("total", "hidden", "original", "never_seen", "mcnemar_p")] == [None] * 5
    assert empty["hidden_rank"] == {"value": None, "ci95": None, "n": 0}
