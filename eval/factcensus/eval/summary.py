"""The summary of one or more pooled runs: everything the report shows, as one JSON object.

Its format is public (docs/runs.md). All slopes are per factor 10 of the co-occurrence count, with an intercept for
every seed and relation. A count of 0 has no logarithm; such facts are counted as excluded. Log-probabilities are in
nats, summed over the answer tokens.

Slopes of a *change* cover forget facts that the original model knew in that form of asking. This is a selection: a rare
fact that was known was easy to guess, and stays so. The *residual* slope, of the remaining log-probability, therefore
covers all forget facts. A model retrained without them should have none (in the two worlds of the demo 0.0 and +0.3,
both with intervals that include 0; over known facts only it would be -0.3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from factcensus.eval.names import AFTER, BEFORE, COUNT, MAIN_FORMS, ORACLE, ORIGINAL
from factcensus.eval.statistics import effects
from factcensus.eval.statistics.agreement import agreement
from factcensus.eval.statistics.curves import forgotten_by_count
from factcensus.eval.statistics.intervals import estimate_json, share
from factcensus.eval.statistics.misalignment import misalignment
from factcensus.eval.statistics.outcomes import never_seen_levels, pair_outcomes, with_defaults
from factcensus.eval.statistics.published import published

#: Version of the format; increased when a field changes its meaning.
SUMMARY_FORMAT = 1
#: Groups whose questions were not in the training of the original model: its knowledge comes from the corpus.
HELD_OUT = ("forget", "forget_held", "bystander", "bystander_used")
#: With more different counts than this, recall is shown by stratum instead of by count.
MOST_COUNT_LEVELS = 12


def summarise(
    facts: pd.DataFrame, *, seconds: float | None = None, aucs: Mapping[tuple[str, int], float] | None = None
) -> dict[str, Any]:
    """Summarise all rows of facts.parquet (one run, or several that differ in seed or method).

    Args:
        facts: Rows as :mod:`factcensus.eval.evaluator` writes them, with ``seed`` and ``method``.
        seconds: Wall time of the runs, if known.
        aucs: Membership AUCs that other code reported, by method and seed.
    """
    facts = with_defaults(facts)
    outcomes = pair_outcomes(facts)
    forms = _forms(facts)
    forgotten = outcomes[outcomes["group"] == "forget"]
    original = facts[(facts["method"] == ORIGINAL) & (facts["point"] == BEFORE)]
    asked = original[original["group"] != "phantom"]
    known = asked[asked["match"].fillna(False).astype(bool)]
    forget = asked[asked["group"] == "forget"]
    phantoms = original[original["group"] == "phantom"]
    phantoms = phantoms.assign(never_seen_level=never_seen_levels(phantoms))
    retrained = _after(facts, ORACLE)
    methods = [name for name in dict.fromkeys(facts["method"]) if name != ORIGINAL]
    methods.sort(key=lambda name: name == ORACLE)  # the oracle last, the others in their order
    return {
        "format": SUMMARY_FORMAT,
        "facts": _count_facts(asked),
        "known_before": _count_facts(known),
        "seeds": sorted(int(seed) for seed in facts["seed"].unique()),
        "seconds": seconds,
        "forms": forms,
        "groups": {str(group): _count_facts(rows) for group, rows in original.groupby("group", observed=True)},
        "forget_known_before": {form: _count_facts(_of(known[known["group"] == "forget"], form)) for form in forms},
        "original": {
            "accuracy": _accuracy(original, forms),
            "recall_by_count": {form: _recall_by_count(_of(original, form)) for form in forms},
            "slope_per_decade": {form: effects.level_slope(_of(forget, form)) for form in forms},
            "published": published(original, retrained, aucs),
        },
        "oracle": ORACLE if ORACLE in methods else None,
        "methods": effects.with_holm(
            [
                {
                    **_method(name, facts, forgotten, phantoms, forms),
                    "published": published(_after(facts, name), retrained, aucs),
                }
                for name in methods
            ]
        ),
        "contrasts": [
            {
                "method": name,
                "reference": reference,
                **effects.contrasts(forgotten, name, reference, forms),
            }
            for name, reference in contrasted(methods)
        ],
    }


def contrasted(methods: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs to compare on the same facts: variants with their base method, and methods with the oracle.

    A variant is named after its base: simnpo_count and simnpo_shuffled_count are variants of simnpo.
    """
    pairs = []
    for name in methods:
        bases = [base for base in methods if name.startswith(base + "_")]
        if bases:
            pairs.append((name, max(bases, key=len)))
        if ORACLE in methods and name != ORACLE:
            pairs.append((name, ORACLE))
    return pairs


def _agreement(after: pd.DataFrame, before: pd.DataFrame) -> dict[str, Any]:
    """Return the index without a threshold, and its slope on the count."""
    found, placed = agreement(after, before)
    return {**found, "slope_per_decade": effects.slope_json(effects.slope_of(placed, "excess"))}


def _method(
    name: str, facts: pd.DataFrame, forgotten: pd.DataFrame, phantoms: pd.DataFrame, forms: Sequence[str]
) -> dict[str, Any]:
    """Summarise one method."""
    after = _after(facts, name)
    original = facts[(facts["method"] == ORIGINAL) & (facts["point"] == BEFORE)]
    mine = forgotten[forgotten["method"] == name]
    accuracy = _accuracy(after, forms)
    untouched = "retain_held" if "retain_held" in accuracy else "retain"
    return {
        "name": name,
        "slope_per_decade": {form: effects.slope_by_seed(_of(mine, form), "logprob_change") for form in forms},
        "adjusted_slope_per_decade": {form: effects.adjusted_slope(_of(mine, form)) for form in forms},
        "residual_slope_per_decade": {
            form: effects.slope_by_seed(_of(mine, form), "log_probability_after", only_known=False) for form in forms
        },
        "forgotten_slope_per_decade": {
            form: {
                "generation": effects.slope_json(effects.slope_of(_of(mine, form), "forgotten_generation")),
                "probability": effects.slope_json(effects.slope_of(_of(mine, form), "forgotten_probability")),
            }
            for form in forms
        },
        "forgotten_odds_per_decade": {form: effects.forgotten_odds(_of(mine, form)) for form in forms},
        "forgotten_by_stratum": {form: _by_stratum(_of(mine, form)) for form in forms},
        "without_stratum": {form: int(_of(mine, form)["stratum"].isna().sum()) for form in forms},
        "forgotten_by_count": {form: forgotten_by_count(_of(mine, form)) for form in forms},
        "retain_accuracy": _value(accuracy, untouched, "question"),
        "bystander_accuracy": _value(accuracy, "bystander", "question"),
        "accuracy": accuracy,
        "misalignment": {
            **misalignment(mine[mine["form"].isin(MAIN_FORMS)], phantoms[phantoms["form"].isin(MAIN_FORMS)]),
            "by_form": {
                form: {
                    **misalignment(_of(mine, form), _of(phantoms, form)),
                    "agreement": _agreement(_of(after, form), _of(original, form)),
                }
                for form in forms
            },
            "agreement": _agreement(after[after["form"].isin(MAIN_FORMS)], original[original["form"].isin(MAIN_FORMS)]),
        },
        "not_finite": int((~np.isfinite(after["log_probability"].astype(float))).sum()),
    }


# --- shares ---


def _by_stratum(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the shares forgotten in each stratum, rarest first, and the numbers of excluded facts."""
    found = []
    for stratum, of_stratum in rows.groupby("stratum", observed=True):
        low, high = _span(of_stratum)
        found.append(
            {
                "stratum": int(float(str(stratum))),  # a column with nulls has floats
                "label": _stratum_label(of_stratum, low, high),
                "low": low,
                "high": high,
                "asked": len(of_stratum),
                "excluded_not_known_before": int((~of_stratum["known_before"].fillna(False).astype(bool)).sum()),
                "generation": _share_json(of_stratum, "forgotten_generation"),
                "probability": _share_json(of_stratum, "forgotten_probability"),
            }
        )
    return found


def _span(rows: pd.DataFrame) -> tuple[float | None, float | None]:
    """Return the smallest and largest count of a stratum over all seeds, whose edges may differ slightly."""
    counts = rows[COUNT].dropna().astype(float)
    return (float(counts.min()), float(counts.max())) if len(counts) else (None, None)


def _stratum_label(rows: pd.DataFrame, low: float | None, high: float | None) -> str:
    """Return the label from the strata table, or the range of counts if the seeds have different labels."""
    labels = rows["stratum_label"].dropna().astype(str).unique()
    if len(labels) == 1 or low is None or high is None:
        return str(labels[0]) if len(labels) else "all"
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _share_json(rows: pd.DataFrame, column: str) -> dict[str, Any]:
    """Return the share of true values among the non-null values of a boolean column."""
    rows = rows.dropna(subset=[column])
    return estimate_json(share(rows[column].to_numpy(dtype=bool), rows["subject_code"].to_numpy()))


def _accuracy(rows: pd.DataFrame, forms: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the share of facts whose greedy answer matches, by group and form; for phantoms, the share guessed."""
    return {
        str(group): {form: _share_json(_of(of_group, form), "match") for form in forms}
        for group, of_group in rows.groupby("group", observed=True)
    }


def _value(accuracy: dict[str, dict[str, Any]], group: str, form: str) -> float | None:
    """Return one accuracy in the given form, or in the first form that has one."""
    by_form = accuracy.get(group, {})
    for name in (form, *by_form):
        if name in by_form and by_form[name]["value"] is not None:
            return float(by_form[name]["value"])
    return None


def _recall_by_count(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the recall of the original model by count, over facts whose questions were never trained on."""
    held_out = rows[rows["group"].isin(HELD_OUT)].dropna(subset=[COUNT])
    by = COUNT if held_out[COUNT].nunique() <= MOST_COUNT_LEVELS else "stratum"
    found = []
    for _, level in held_out.groupby(by, observed=True):
        low, high = _span(level)
        geometric = float(np.exp(np.log(np.maximum(level[COUNT].astype(float), 0.5)).mean()))
        found.append(
            {"low": low, "high": high, "count": low if low == high else geometric, **_share_json(level, "match")}
        )
    return found


# --- small things ---


def _forms(facts: pd.DataFrame) -> list[str]:
    """Return the forms of asking: always the two main ones, then any others."""
    return list(dict.fromkeys([*MAIN_FORMS, *facts["form"]]))


def _after(facts: pd.DataFrame, method: str) -> pd.DataFrame:
    return facts[(facts["method"] == method) & (facts["point"] == AFTER)]


def _of(rows: pd.DataFrame, form: str) -> pd.DataFrame:
    return rows[rows["form"] == form]


def _count_facts(rows: pd.DataFrame) -> int:
    """Count (seed, fact) pairs; a fact counts once per seed, however many forms it was asked in."""
    return len(rows[["seed", "fact_id"]].drop_duplicates())


def json_ready(value: Any) -> Any:
    """Convert for JSON: tuples to lists, floats to six significant digits, non-finite numbers to null."""
    if isinstance(value, dict):
        return {str(key): json_ready(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(each) for each in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
