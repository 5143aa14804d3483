from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from factcensus.eval.statistics.agreement import LEAST_SAMPLES, agreement


def rows(p: Any, said: Any, *, group: str, samples: int = 16, facts_each: int = 1) -> pd.DataFrame:
    """Make one row per fact, with its score and number of matching samples."""
    n = len(p)
    return pd.DataFrame(
        {
            "seed": 0,
            "relation": "city",
            "form": "cloze",
            "variant": 0,
            "group": group,
            "fact_id": [f"{group} {i}" for i in range(n)],
            "subject_code": np.arange(n) // facts_each + (group == "phantom") * 10_000,
            "stratum": np.arange(n) % 2,
            "stratum_label": np.where(np.arange(n) % 2, "many", "few"),
            "log_probability_mean": np.asarray(p, float),
            "match": group == "forget",
            "samples": samples,
            "sample_matches": np.asarray(said),
        }
    )


def both(*pieces: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(pieces, ignore_index=True)


BEFORE = both(
    rows([-0.1, -0.2, -0.3, -0.4], [16, 16, 16, 16], group="forget"),
    rows([-3, -3.5, -4, -4.5, -5], [0, 0, 0, 0, 0], group="phantom"),
)


def test_index_equals_the_value_computed_by_hand() -> None:
    """P: facts above 3, 2, 5 and 2.5 of five phantoms (one tie): 12.5 / 20. G: 1/2 + (4/64 - 2/80) / 2."""
    after = both(
        rows([-3.8, -4.5 + 1e-9, -1, -4], [0, 0, 4, 0], group="forget"),
        rows([-3, -3.5, -4, -4.5, -5], [0, 0, 1, 1, 0], group="phantom"),
    )
    found, facts = agreement(after, BEFORE)
    probability = (3 + 2 + 5 + 2.5) / 20
    generation = 0.5 + (4 / 64 - 2 / 80) / 2
    assert found["probability"] == pytest.approx(probability)
    assert found["generation"] == pytest.approx(generation)
    assert found["original"] == pytest.approx(1.0 - 1.0)
    assert found["excess"] == pytest.approx(probability - generation)
    assert found["scores"] == {"probability": "log_probability_mean", "generation": "samples", "samples": 16}
    assert found["rank_correlation"] == pytest.approx(stats.kendalltau([-3.8, -4.5, -1, -4], [0, 0, 4, 0]).statistic)
    assert [(each["stratum"], each["n"]) for each in found["by_stratum"]] == [(0, 2), (1, 2)]
    assert np.mean([each["excess"] for each in found["by_stratum"]]) == pytest.approx(found["excess"])
    assert facts["excess"].mean() == pytest.approx(found["excess"])


def test_increasing_functions_of_the_score_give_the_same_index() -> None:
    generator = np.random.default_rng(0)
    after = both(
        rows(generator.normal(-2, 1, 40), generator.binomial(16, 0.2, 40), group="forget"),
        rows(generator.normal(-3, 1, 40), generator.binomial(16, 0.05, 40), group="phantom"),
    )
    before = both(
        rows(np.full(40, -0.1), np.full(40, 16), group="forget"), rows(np.full(40, -3.0), np.zeros(40), group="phantom")
    )
    stretched = after.assign(log_probability_mean=np.exp(after["log_probability_mean"]) * 50 - 7)
    assert agreement(stretched, before)[0]["excess"] == pytest.approx(agreement(after, before)[0]["excess"])


def test_index_does_not_depend_on_the_number_of_samples() -> None:
    """Equal probabilities with 8 or 128 samples give equal indices; an earlier index depended on the number."""
    found: dict[int, list[float]] = {8: [], 128: []}
    for samples, values in found.items():
        for seed in range(30):
            generator = np.random.default_rng(seed)
            p = generator.normal(-2, 1, 60)
            after = both(
                rows(p, generator.binomial(samples, 0.1, 60), group="forget", samples=samples),
                rows(
                    generator.normal(-3, 1, 60), generator.binomial(samples, 0.02, 60), group="phantom", samples=samples
                ),
            )
            values.append(agreement(after, after.assign(match=True))[0]["index"])
    assert np.mean(found[8]) == pytest.approx(np.mean(found[128]), abs=0.01)


def test_few_samples_fall_back_to_greedy_and_margins_are_preferred() -> None:
    few = BEFORE.assign(samples=LEAST_SAMPLES - 1)
    assert agreement(few, few)[0]["scores"] == {
        "probability": "log_probability_mean",
        "generation": "greedy",
        "samples": 1,
    }
    margins = BEFORE.assign(choice_margin=-BEFORE["log_probability_mean"])
    found = agreement(margins, margins)[0]
    assert found["scores"]["probability"] == "choice_margin"
    assert found["probability"] == 0.0, "every fact is below every phantom by that score"


def test_index_is_null_without_phantoms_or_known_facts() -> None:
    alone = BEFORE[BEFORE["group"] == "forget"]
    found, facts = agreement(alone, alone)
    assert (found["n"], found["excess"], found["ci95"]) == (0, None, None)
    assert len(facts) == 0
    unknown = BEFORE.assign(match=False)
    assert agreement(unknown, unknown)[0]["index"] is None


def world(seed: int, hidden: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make 40 people with three facts each and 40 phantoms; after unlearning, P is ``hidden`` above its null value."""
    generator = np.random.default_rng(seed)
    shift = np.sqrt(2) * stats.norm.ppf(0.5 + hidden)
    person = np.repeat(generator.normal(size=40), 3)

    def model(of_facts: float, chance: float) -> pd.DataFrame:
        p = of_facts + np.sqrt(0.5) * person + np.sqrt(0.5) * generator.normal(size=120)
        return both(
            rows(p, generator.binomial(16, chance, 120), group="forget", facts_each=3),
            rows(generator.normal(size=40), generator.binomial(16, 0.05, 40), group="phantom"),
        )

    return model(shift, 0.05), model(0.0, 0.05)
