"""Numbers under their published names: hand-computed values, and their way through a summary, a gate and a report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import planted_facts
from test_runs import write_run

from factcensus.eval.gate import check
from factcensus.eval.report.page import render_report
from factcensus.eval.report.published import HEADS
from factcensus.eval.report.side_by_side import experiments, side_by_side
from factcensus.eval.runs import read_run, summary_of
from factcensus.eval.statistics.published import (
    METRICS,
    forget_quality,
    indifference,
    kept_sets,
    membership_auc,
    model_utility,
    privacy_leakage,
    published,
    truthfulness,
)


def test_forget_quality_by_hand() -> None:
    p, distance = forget_quality([1.0, 2.0, 3.0, 4.0], [11.0, 12.0, 13.0, 14.0]) or (None, None)
    assert distance == 1.0
    assert p == pytest.approx(2 / math.comb(8, 4)), "two of the 70 orders of eight values separate the sets"
    assert forget_quality([0.5, 2.0], [0.5, 2.0]) == (1.0, 0.0)
    assert forget_quality([], [1.0]) is None


def test_forget_quality_is_the_same_for_inverse_ratios() -> None:
    generator = np.random.default_rng(0)
    unlearned, retrained = ([math.exp(generator.normal(mean)) for _ in range(40)] for mean in (0.0, 0.5))
    inverse = forget_quality([1 / each for each in unlearned], [1 / each for each in retrained])
    assert forget_quality(unlearned, retrained) == pytest.approx(inverse)


def test_truth_ratios_of_forgotten_and_kept_facts_by_hand() -> None:
    assert indifference([0.5, 2.0, 1.0]) == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert indifference([0.0]) == 0.0
    assert truthfulness([0.25, 1.0, 3.0]) == pytest.approx(0.75 / 3)
    assert indifference([]) is None
    assert truthfulness([]) is None


def test_model_utility_is_a_harmonic_mean() -> None:
    assert model_utility([0.5, 0.25, 1.0]) == pytest.approx(3 / (2 + 4 + 1))
    assert model_utility([0.9, 0.0]) == 0.0
    assert model_utility([0.9, None]) is None
    assert model_utility([]) is None


def test_privacy_leakage_by_hand() -> None:
    """MUSE's AUC is the chance that a member scores *below*: 0 before unlearning, 1 if members are suppressed."""
    assert membership_auc([3.0, 4.0], [1.0, 3.0]) == (1 + 1 + 0.5 + 1) / 4
    assert privacy_leakage(1.0) == -100.0
    assert privacy_leakage(0.5) == 0.0
    assert privacy_leakage(0.0) == 100.0
    assert privacy_leakage(0.7, 0.6) == pytest.approx(100 * (0.3 - 0.4) / 0.4)
    assert privacy_leakage(0.7, 1.0) is None


def row(group: str, number: int, method: str = "npo", **values: Any) -> dict[str, Any]:
    return {
        "seed": 0,
        "method": method,
        "fact_id": f"{group}{number}",
        "form": "question",
        "variant": 0,
        "group": group,
        "relation": group,
        **values,
    }


def facts_of(method: str, truth: tuple[float, float], min_k: tuple[float, float]) -> pd.DataFrame:
    rows = [row("forget", n, method, truth_ratio=truth[n], min_k_40=min_k[n], rouge_l_f1=0.25) for n in range(2)]
    rows += [row("phantom", n, method, min_k_40=-3.0) for n in range(2)]
    kept = {"rouge_l_f1": 0.75, "rouge_l_recall": 0.5, "truth_ratio": 0.5, "truth_ratio_arithmetic": 0.75}
    rows += [row("retain", 0, method, probability=0.8, **kept)]
    rows += [row("bystander", 0, method, probability=0.1, probability_normalised=0.4, **kept)]
    rows += [row("forget", n, method, form="cloze", rouge_l_f1=float(n)) for n in range(2)]
    return pd.DataFrame(rows)


def test_all_numbers_of_a_model_by_hand() -> None:
    found = published(facts_of("npo", (0.5, 4.0), (-1.0, -5.0)), facts_of("retrained", (0.5, 0.25), (-4.0, -5.0)))
    assert tuple(found) == METRICS
    values = {name: each["value"] for name, each in found.items()}
    assert values == {
        "forget_quality": pytest.approx(1.0),
        "forget_quality_distance": 0.5,
        "forget_truth_ratio": (0.5 + 0.25) / 2,
        "forget_truth_ratio_arithmetic": None,
        "model_utility": pytest.approx(6 / (1 / 0.8 + 2 + 2 + 1 / 0.4 + 2 + 2)),
        "model_utility_arithmetic": pytest.approx(6 / (1 / 0.8 + 2 + 4 + 1 / 0.4 + 2 + 4)),
        "verbatim_memorisation": 0.5,
        "knowledge_memorisation": 0.25,
        "privacy_leakage": pytest.approx(100 * (0.5 - 1.0) / 1.0),
        "utility_preservation": 0.75,
    }
    assert found["model_utility"]["per_seed"] == [{"seed": 0, "value": values["model_utility"], "n": 2}]


def test_passages_are_preferred_to_clozes_and_imported_aucs_to_computed_ones() -> None:
    facts = facts_of("npo", (0.5, 4.0), (-1.0, -5.0))
    facts = pd.concat([facts, pd.DataFrame([row("forget", 0, form="document", rouge_l_f1=0.125)])])
    found = published(facts, facts.iloc[:0], {("npo", 0): 0.75, ("retrained", 0): 0.6})
    assert found["verbatim_memorisation"]["value"] == 0.125
    assert found["privacy_leakage"]["value"] == pytest.approx(100 * (0.25 - 0.4) / 0.4)
    assert found["forget_quality"]["value"] is None


def test_real_authors_and_world_facts_are_separate_sets() -> None:
    rows = [row("retain", 0), row("bystander", 0, relation="ra"), row("bystander", 1, relation="wf")]
    for each in rows[1:]:
        each["group"] = "bystander"
    assert list(kept_sets(pd.DataFrame(rows))) == ["retain", "ra", "wf"]
    rows[2]["relation"] = "capital"
    assert list(kept_sets(pd.DataFrame(rows))) == ["retain", "bystander"]


def test_every_number_has_a_card_and_a_heading() -> None:
    from factcensus.eval.metrics.cards.published import CARDS

    assert {each.name.partition(" ")[0] for each in CARDS} == set(METRICS) == set(HEADS)


def test_numbers_reach_summary_gate_and_report_and_older_runs_lack_them(tmp_path: Path) -> None:
    facts = planted_facts(people=14, oracle=True)
    generator = np.random.default_rng(1)
    ratios = np.exp(generator.normal(size=len(facts)) + (facts["method"] != "original"))
    run = read_run(write_run(tmp_path / "run", facts.assign(truth_ratio=ratios, rouge_l_f1=0.5)))
    summary = summary_of(run)
    [simnpo, retrained] = summary["methods"]
    assert 0 < simnpo["published"]["forget_quality"]["value"] <= 1
    assert retrained["published"]["forget_quality"]["value"] == 1
    assert summary["original"]["published"]["forget_quality"]["value"] < simnpo["published"]["forget_quality"]["value"]
    [verdict] = check(summary, "forget_quality >= 0")
    assert verdict.passed
    assert [each.method for each in verdict.checked] == ["simnpo"]
    page = render_report(run, summary)
    assert "Numbers under their published names" in page
    assert "KnowMem, forget" in page
    assert "model utility" not in page.partition("Metrics that papers report")[2].partition("</table>")[0]

    older = read_run(write_run(tmp_path / "older", planted_facts(people=14, seed=0, known=0.5)))
    assert "Numbers under their published names" not in render_report(older, summary_of(older))
    section = side_by_side(experiments([run, older]))
    assert section is not None
    assert section.tables[1].head[:2] == ["run", "model"]
    assert [cells[:2] for cells in section.tables[1].rows] == [
        ["run", name] for name in ("original", "simnpo", "retrained")
    ]
