from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import planted_facts

from factcensus.eval.report.page import render_report
from factcensus.eval.runs import Run
from factcensus.eval.summary import contrasted, json_ready, summarise


@pytest.fixture(scope="module")
def facts() -> pd.DataFrame:
    methods = ("simnpo", "simnpo_count")
    return pd.concat([planted_facts(seed=seed, people=70, methods=methods, oracle=True) for seed in (0, 1)])


@pytest.fixture(scope="module")
def summary(facts: pd.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = json_ready(summarise(facts, seconds=3.25))
    return found


def test_summary_has_the_documented_fields(summary: dict[str, Any]) -> None:
    assert summary["facts"] == 2 * 3 * (70 + 3 * 14)
    assert 0 < summary["known_before"] <= summary["facts"]
    assert summary["seeds"] == [0, 1]
    assert summary["seconds"] == 3.25
    assert [method["name"] for method in summary["methods"]] == ["simnpo", "simnpo_count", "retrained"]
    for method in summary["methods"]:
        for form in ("question", "cloze"):
            assert set(method["slope_per_decade"][form]) >= {"value", "ci95"}
            low, high = method["slope_per_decade"][form]["ci95"]
            assert low < method["slope_per_decade"][form]["value"] < high
            assert len(method["forgotten_by_stratum"][form]) == 3
        assert 0 <= method["retain_accuracy"] <= 1
        assert 0 <= method["bystander_accuracy"] <= 1
        assert method["misalignment"]["n"] > 0
    json.dumps(summary, allow_nan=False)


def test_planted_slope_is_recovered_overall_and_per_seed(summary: dict[str, Any]) -> None:
    found = summary["methods"][0]["slope_per_decade"]["cloze"]
    assert found["value"] == pytest.approx(0.5, abs=0.2)
    assert [each["seed"] for each in found["per_seed"]] == [0, 1]
    assert found["ci95_across_seeds"] is None, "two seeds give no interval for a third"
    values = [each["value"] for each in found["per_seed"]]
    assert min(values) <= found["value"] <= max(values)
    assert found["clusters"]["subject"] == 140, "a subject of another seed is another cluster"
    assert found["excluded"]["not_known_before"] + found["n"] == 2 * 3 * 70


def test_the_oracle_has_no_residual_slope_and_a_contrast_with_every_method(summary: dict[str, Any]) -> None:
    oracle = summary["methods"][-1]
    assert summary["oracle"] == "retrained"
    residual = oracle["residual_slope_per_decade"]["cloze"]
    assert residual["ci95"][0] < 0 < residual["ci95"][1]
    assert residual["n"] == 2 * 3 * 70, "all forget facts, known before or not"
    pairs = {(each["method"], each["reference"]) for each in summary["contrasts"]}
    assert pairs == {("simnpo", "retrained"), ("simnpo_count", "simnpo"), ("simnpo_count", "retrained")}


def test_strata_add_up_to_the_facts_asked(facts: pd.DataFrame, summary: dict[str, Any]) -> None:
    forget = facts[(facts["role"] == "forget") & (facts["method"] == "original") & (facts["form"] == "cloze")]
    strata = summary["methods"][0]["forgotten_by_stratum"]["cloze"]
    assert sum(stratum["asked"] for stratum in strata) == len(forget)
    for stratum in strata:
        assert stratum["generation"]["n"] == stratum["asked"] - stratum["excluded_not_known_before"]
    assert [(stratum["low"], stratum["high"]) for stratum in strata] == [(1, 4), (8, 32), (64, 64)]


def test_share_forgotten_by_hand(facts: pd.DataFrame, summary: dict[str, Any]) -> None:
    key = ["seed", "fact_id"]
    rows = facts[(facts["form"] == "question") & (facts["role"] == "forget") & (facts["stratum"] == 2)]
    before = rows[rows["method"] == "original"].set_index(key)["match"]
    after = rows[rows["method"] == "simnpo"].set_index(key)["match"]
    expected = 1 - after[before].mean()
    found = summary["methods"][0]["forgotten_by_stratum"]["question"][2]["generation"]
    assert found["value"] == pytest.approx(expected, abs=1e-6)
    assert found["n"] == before.sum()


def test_recall_by_count_excludes_people_with_trained_questions(summary: dict[str, Any]) -> None:
    levels = summary["original"]["recall_by_count"]["question"]
    assert [level["count"] for level in levels] == [1, 2, 4, 8, 16, 32, 64]
    assert sum(level["n"] for level in levels) == 2 * 3 * (70 + 14)


def test_three_seeds_have_an_interval_across_them() -> None:
    facts = pd.concat([planted_facts(seed=seed, people=21, forms=("cloze",)) for seed in range(3)])
    [method] = summarise(facts)["methods"]
    assert method["slope_per_decade"]["cloze"]["ci95_across_seeds"] is not None
    question = method["slope_per_decade"]["question"]
    assert (question["value"], question["ci95"], question["n"]) == (None, None, 0), "a form not asked is null"
    assert method["retain_accuracy"] is not None, "accuracy falls back on the form that was asked"


def test_non_finite_facts_are_counted_and_left_out_of_the_slope() -> None:
    facts = planted_facts(people=28)
    lost = (facts["method"] == "simnpo") & (facts["role"] == "forget") & (facts["cooccurrence_documents"] == 64)
    facts.loc[lost, ["log_probability", "log_probability_mean"]] = np.nan
    [method] = summarise(facts)["methods"]
    assert method["not_finite"] == lost.sum()
    excluded = method["slope_per_decade"]["cloze"]["excluded"]
    assert excluded["not_finite"] > 0
    assert sum(excluded.values()) + method["slope_per_decade"]["cloze"]["n"] == 28 * 3


def test_a_count_of_zero_is_excluded_and_counted() -> None:
    facts = planted_facts(people=28)
    facts.loc[facts["cooccurrence_documents"] == 1, "cooccurrence_documents"] = 0
    [method] = summarise(facts)["methods"]
    assert method["slope_per_decade"]["cloze"]["excluded"]["count_zero_or_missing"] > 0


def test_user_table_needs_no_role_relation_or_stratum() -> None:
    facts = planted_facts(people=28)
    facts = facts[facts["role"] == "forget"]
    facts = facts[
        [name for name in facts if not name.startswith("stratum") and name not in ("role", "relation", "used")]
    ]
    summary = json_ready(summarise(facts))
    [method] = summary["methods"]
    assert method["slope_per_decade"]["cloze"]["ci95"] is not None
    assert method["misalignment"]["total"] is None, "no phantoms, no never-seen level"
    assert method["retain_accuracy"] is None
    assert [stratum["label"] for stratum in method["forgotten_by_stratum"]["cloze"]] == ["all"]
    json.dumps(summary, allow_nan=False)


@pytest.mark.parametrize("missing", [1, None])
def test_facts_without_a_stratum_are_counted_and_left_out(missing: int | None) -> None:
    facts = planted_facts(people=28)
    ids = facts.loc[(facts["role"] == "forget") & (facts["form"] == "cloze"), "fact_id"].unique()[:missing]
    facts["stratum"] = facts["stratum"].astype(float).mask(facts["fact_id"].isin(ids))
    facts["stratum_label"] = facts["stratum_label"].mask(facts["fact_id"].isin(ids))
    summary = json_ready(summarise(facts))
    [method] = summary["methods"]
    assert method["without_stratum"]["cloze"] == len(ids)
    asked = sum(row["asked"] for row in method["forgotten_by_stratum"]["cloze"])
    assert asked == 28 * 3 - len(ids)
    run = Run((), (), facts, pd.DataFrame())
    page = render_report(run, summary)
    assert (f"Facts without a stratum, which are left out here: {len(ids)}." in page) == (missing is not None)


def test_single_model_gives_recall_and_no_method() -> None:
    facts = planted_facts(people=14)
    summary = summarise(facts[facts["method"] == "original"])
    assert summary["methods"] == []
    assert summary["original"]["slope_per_decade"]["cloze"]["n"] == 14 * 3


def test_odds_of_forgetting_fall_with_the_count_if_frequent_facts_lose_less(summary: dict[str, Any]) -> None:
    found = summary["methods"][0]["forgotten_odds_per_decade"]["cloze"]["generation"]
    assert found["ci95"][1] < 0
    assert found["odds_ratio"] == pytest.approx(np.exp(found["value"]), rel=1e-4)
    # Every answer has two tokens, so the number of tokens is not a covariate.
    assert found["adjusted"]["covariates"] == ["log_probability_before", "log_object_documents"]
    oracle = summary["methods"][-1]["forgotten_odds_per_decade"]["cloze"]["generation"]
    assert oracle["value"] is None, "all facts are forgotten, so nothing can be compared"


def test_holm_covers_all_methods_except_the_oracle_in_both_forms(summary: dict[str, Any]) -> None:
    slopes = [method["slope_per_decade"][form] for method in summary["methods"] for form in ("question", "cloze")]
    assert [("p_holm" in found) for found in slopes] == [True] * 4 + [False] * 2
    least = min(found["p"] for found in slopes[:4])
    assert min(found["p_holm"] for found in slopes[:4]) == pytest.approx(min(1.0, 4 * least), rel=1e-4)
    assert all(found["p_holm"] >= found["p"] for found in slopes[:4])


def test_misalignment_has_the_agreement_with_its_slope_on_the_count(summary: dict[str, Any]) -> None:
    for method in summary["methods"]:
        found = method["misalignment"]["by_form"]["cloze"]["agreement"]
        assert found["n"] == method["slope_per_decade"]["cloze"]["n"]
        assert found["scores"]["generation"] == "greedy"
        assert found["index"] == pytest.approx(found["probability"] - found["generation"], abs=1e-4)
        assert [each["stratum"] for each in found["by_stratum"]] == [0, 1, 2]
        assert found["slope_per_decade"]["n"] == found["n"]
    pooled = summary["methods"][0]["misalignment"]["agreement"]["n"]
    assert pooled == sum(
        summary["methods"][0]["misalignment"]["by_form"][form]["agreement"]["n"] for form in ("question", "cloze")
    )


def test_subject_frequency_is_a_covariate_unless_it_follows_the_count() -> None:
    facts = planted_facts(people=28, forms=("cloze",))
    same = facts.assign(subject_documents=facts["cooccurrence_documents"] * 3)
    generator = np.random.default_rng(0)
    other = facts.assign(subject_documents=generator.integers(1, 1000, len(facts)))
    other["subject_documents"] = other.groupby("fact_id")["subject_documents"].transform("first")
    for table, wanted in ((same, False), (other, True)):
        [method] = summarise(table)["methods"]
        covariates = method["adjusted_slope_per_decade"]["cloze"]["full"]["covariates"]
        assert ("log_subject_documents" in covariates) is wanted


def test_contrasts_are_chosen_by_method_name() -> None:
    methods = ["grad_diff", "simnpo", "simnpo_count", "simnpo_shuffled_count"]
    assert contrasted(methods) == [("simnpo_count", "simnpo"), ("simnpo_shuffled_count", "simnpo")]


def test_json_ready_keeps_six_digits_and_has_no_nan() -> None:
    ready = json_ready({"a": (1.23456789, float("nan")), 2: [np.float64("inf"), 10**9, True, None]})
    assert ready == {"a": [1.23457, None], "2": [None, 10**9, True, None]}
