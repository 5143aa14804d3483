from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import planted_facts

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.statistics.outcomes import never_seen_levels, pair_outcomes, with_defaults


def row(fact_id: str, method: str = "original", **columns: Any) -> dict[str, Any]:
    point = "before" if method == "original" else "after"
    return {
        "seed": 0,
        "fact_id": fact_id,
        "form": "question",
        "variant": 0,
        "method": method,
        "point": point,
        "role": "forget",
        "relation": "city",
        "subject": fact_id,
        "object": "Rome",
        "cooccurrence_documents": 4,
        "log_probability": -1.0,
        "log_probability_mean": -0.5,
        "match": True,
        **columns,
    }


def phantom(number: int, mean: float | None, **columns: Any) -> dict[str, Any]:
    return row(f"phantom {number}", role="phantom", log_probability_mean=mean, match=False, **columns)


def outcomes(*rows: dict[str, Any]) -> pd.DataFrame:
    return pair_outcomes(with_defaults(pd.DataFrame(rows))).set_index("fact_id")


def test_change_is_after_minus_before_in_nats_over_all_answer_tokens() -> None:
    found = outcomes(row("a"), row("a", "simnpo", log_probability=-7.5, log_probability_mean=-3.75, match=False))
    assert found.loc["a", "logprob_change"] == -6.5
    assert found.loc["a", "known_before"]
    assert found.loc["a", "forgotten_generation"]
    assert found["forgotten_probability"].isna().all(), "no phantoms: there is no never-seen level"


def test_a_fact_never_known_has_no_outcome() -> None:
    found = outcomes(row("a", match=False), row("a", "simnpo", match=False), *(phantom(i, -4.0) for i in range(3)))
    assert not found.loc["a", "known_before"]
    assert pd.isna(found.loc["a", "forgotten_generation"])
    assert pd.isna(found.loc["a", "forgotten_probability"])


def test_null_match_does_not_make_a_fact_known() -> None:
    found = outcomes(row("a", match=None), row("b"), row("a", "m", match=None), row("b", "m", match=None))
    assert pd.isna(found.loc["a", "forgotten_generation"])
    assert pd.isna(found.loc["b", "forgotten_generation"])


@pytest.mark.parametrize(("after", "forgotten"), [(-3.9, False), (-4.0, True), (-4.1, True)])
def test_forgotten_by_probability_is_at_or_below_the_never_seen_level(after: float, forgotten: bool) -> None:
    found = outcomes(row("a"), row("a", "m", log_probability_mean=after), *(phantom(i, -4.0) for i in range(3)))
    assert bool(found.loc["a", "forgotten_probability"]) is forgotten
    assert not found.loc["a", "original_forgotten_probability"]


def test_never_seen_level_is_that_of_the_object_with_ten_or_more_phantoms() -> None:
    facts = with_defaults(
        pd.DataFrame(
            [
                row("rome"),
                row("oslo", object="Oslo"),
                row("job", relation="employer"),
                row("cloze", form="cloze"),
                row("other seed", seed=1),
                *(phantom(i, mean) for i, mean in enumerate([-3.0, -5.0] * 5)),
                *(phantom(i, mean, object="Oslo") for i, mean in enumerate([-8.0] * 9 + [None], start=10)),
            ]
        )
    )
    levels = never_seen_levels(facts)
    by_id = dict(zip(facts["fact_id"], levels, strict=True))
    assert by_id["rome"] == -4.0
    assert by_id["oslo"] == pytest.approx((5 * -3 + 5 * -5 + 9 * -8) / 19), (
        "nine are too few, so the mean of the relation is used"
    )
    assert np.isnan([by_id["job"], by_id["cloze"], by_id["other seed"]]).all(), "never from another group"


def test_level_is_measured_under_the_original_model_only() -> None:
    phantoms = [phantom(i, -4.0) for i in range(3)]
    after = [{**each, "method": "m", "point": "after", "log_probability_mean": -40.0} for each in phantoms]
    found = outcomes(row("a"), row("a", "m", log_probability_mean=-5.0), *phantoms, *after)
    assert found.loc["a", "never_seen_level"] == -4.0


@pytest.mark.parametrize(("after", "rank"), [(-6.0, 0.0), (-4.0, 0.5), (-3.5, 0.75), (-1.0, 1.0), (None, None)])
def test_never_seen_rank_is_the_share_of_phantoms_below(after: float | None, rank: float | None) -> None:
    """Phantoms are at -5, -4, -4 and -3; a tie counts half."""
    phantoms = [phantom(i, mean) for i, mean in enumerate([-5.0, -4.0, -4.0, -3.0])]
    found = outcomes(row("a"), row("a", "m", log_probability_mean=after), *phantoms).loc["a", "never_seen_rank"]
    assert pd.isna(found) if rank is None else found == rank


@pytest.mark.parametrize(
    ("role", "used", "group"),
    [
        ("forget", "forget", "forget"),
        ("forget", "none", "forget_held"),
        ("retain", "retain", "retain"),
        ("retain", "none", "retain_held"),
        ("retain_held", "none", "retain_held"),
        ("bystander", "none", "bystander"),
        ("bystander", "retain", "bystander_used"),
        ("phantom", "none", "phantom"),
        (None, "forget", "forget"),
        (None, "retain", "retain"),
        (None, "none", "bystander"),
        ("retain", None, "retain"),
        (None, None, "forget"),
    ],
)
def test_group_is_how_the_run_used_the_fact(role: str | None, used: str | None, group: str) -> None:
    assert with_defaults(pd.DataFrame([row("a", role=role, used=used)])).loc[0, "group"] == group


def test_table_without_roles_relations_or_counts_is_paired() -> None:
    rows = pd.DataFrame([row("a"), row("a", "m", match=False)])
    rows = rows.drop(columns=["role", "relation", "variant", "cooccurrence_documents"])
    assert len(pair_outcomes(with_defaults(rows))) == 1


def test_unpairable_tables_are_refused() -> None:
    with pytest.raises(EvaluationInputError, match="occurs twice"):
        outcomes(row("a"), row("a"), row("a", "m"))
    with pytest.raises(EvaluationInputError, match=r"not of the original model"):
        outcomes(row("a"), row("b", "m"))
    with pytest.raises(EvaluationInputError, match="lacks the columns log_probability, match"):
        pair_outcomes(with_defaults(pd.DataFrame([row("a")]).drop(columns=["log_probability", "match"])))


def test_equal_ids_in_two_seeds_stay_separate() -> None:
    both = pd.concat([planted_facts(seed=seed, people=7) for seed in (0, 1)])
    found = pair_outcomes(with_defaults(both))
    assert len(found) == 2 * len(pair_outcomes(with_defaults(planted_facts(seed=0, people=7))))
    assert not found.duplicated(["seed", "method", "fact_id", "form", "variant"]).any()
