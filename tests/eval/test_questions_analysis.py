"""The analyses of the open questions on hand-made outcomes, their error rates, and the registered designs."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from factcensus.eval.reproduce.questions import count_and_loss, exposures, other_forms
from factcensus.eval.reproduce.questions.designs import design
from factcensus.eval.reproduce.questions.findings import Outcome, conclusion_of, find, markdown
from factcensus.eval.reproduce.questions.outcomes import at_equal_count, per_decade
from factcensus.eval.reproduce.questions.wordings import WORDINGS, with_every_wording
from factcensus.eval.statistics.worlds import over_worlds as mean_over
from factcensus.eval.statistics.worlds import simulated_power, verdict
from factcensus.unlearn.world.sentences import RELATIONS

PAGE = Path(__file__).parents[2] / "docs" / "questions.md"
NAN = float("nan")


def rows(**columns: Any) -> pd.DataFrame:
    """Make outcomes; every column is a list or a value for all rows."""
    defaults = {
        "method": "simnpo",
        "group": "forget",
        "form": "question",
        "variant": 0,
        "relation": "city",
        "cooccurrence_documents": 4,
        "log_probability_before": -0.5,
        "logprob_change": -1.0,
    }
    made = pd.DataFrame(defaults | columns)
    return made.assign(subject=[f"person {number}" for number in range(len(made))]) if "subject" not in made else made


def test_difference_at_equal_count_by_hand() -> None:
    """Within count 2 the difference is 1 - 0.5, within count 8 it is 0.5 - 0; levels of counts do not matter."""
    made = rows(
        cooccurrence_documents=[2] * 4 + [8] * 4,
        x=[1, 1, 0, 0] * 2,
        left=[1, 1, 1, 0, 1, 0, 0, 0],
    )
    assert at_equal_count(made, "x", least=4) == pytest.approx(0.5)
    assert math.isnan(at_equal_count(made, "x", least=5))


def test_difference_at_equal_count_ignores_the_count() -> None:
    """Frequent facts are all on one side and all left, which is no difference at equal count."""
    made = rows(cooccurrence_documents=[2] * 4 + [8] * 2, x=[1, 0, 0, 0, 1, 1], left=[0, 0, 0, 0, 1, 1])
    assert at_equal_count(made, "x", least=1) == pytest.approx(0.0)


def test_slope_per_decade_by_hand() -> None:
    made = rows(cooccurrence_documents=[1, 10, 100], reached=[0.2, 0.5, 0.8])
    assert per_decade(made, "reached", least=3) == pytest.approx(0.3)
    other = rows(cooccurrence_documents=[1, 10, 100], reached=[0.7, 1.0, 1.3], variant=1)
    assert per_decade(pd.concat([made, other]), "reached", least=3) == pytest.approx(0.3)
    assert math.isnan(per_decade(made, "reached", least=4))


def test_count_is_compared_with_loss_over_frequent_and_over_all_facts() -> None:
    """By count 2 of 4 frequent facts are left, by loss rank 3 of 4; the rare fact is left by count only."""
    counts = [16, 32, 64, 64, 1]
    parts = []
    for method, left in (
        (count_and_loss.BY_COUNT, [1, 1, 0, 0, 1]),
        (count_and_loss.BY_LOSS, [1, 1, 1, 0, 0]),
        (count_and_loss.EQUAL, [1, 1, 1, 1, 0]),
        (count_and_loss.SHUFFLED, [0, 0, 0, 0, 0]),
    ):
        parts.append(rows(method=method, cooccurrence_documents=counts, left=[float(value) for value in left]))
        parts.append(rows(method=method, cooccurrence_documents=counts, left=1.0, form="cloze"))
        parts.append(rows(method=method, cooccurrence_documents=counts, left=1.0, group="bystander"))
        parts.append(rows(method=method, cooccurrence_documents=counts, left=[1.0, NAN, 0, 0, 0], group="retain_held"))
    found = count_and_loss._of_study(pd.concat(parts), least=1)
    assert found["frequent"] == pytest.approx(0.5 - 0.75)
    assert found["every"] == pytest.approx(3 / 5 - 3 / 5)
    assert found["rare"] == pytest.approx(1.0)
    assert found["frequent_equal"] == pytest.approx(0.5 - 1.0)
    assert found["frequent_shuffled"] == pytest.approx(0.5)
    assert found["frequent_cloze"] == found["retain"] == found["bystander"] == 0.0
    assert found["left"] == pytest.approx(4 / 5)


def test_reach_covers_facts_known_in_both_forms_and_forgotten_as_the_question() -> None:
    ids = ["a", "b", "c", "d", "e"]
    counts = [1, 10, 100, 10, 10]
    question = rows(fact_id=ids, cooccurrence_documents=counts, left=[0.0, 0.0, 0.0, 1.0, NAN])
    # a is lost in the other wording, b was never known in it, c is kept; d is kept as the question, but lost here.
    other = rows(
        fact_id=ids, cooccurrence_documents=counts, left=[0.0, NAN, 1.0, 0.0, 0.0], form="paraphrase", variant=1
    )
    statement = rows(
        fact_id=ids, cooccurrence_documents=counts, left=[1.0, 1.0, 1.0, 1.0, 1.0], form="paraphrase", variant=4
    )
    cloze = rows(fact_id=ids, cooccurrence_documents=counts, left=[0.0, 1.0, 1.0, 1.0, 1.0], form="cloze")
    bystanders = rows(fact_id=["f", "g"], left=[1.0, 0.0], group="bystander", form="paraphrase", variant=0)
    found = other_forms._of_world(pd.concat([question, other, statement, cloze, bystanders]), least=1)
    assert found["forgotten"] == pytest.approx(3 / 4)
    assert found["reach_questions"] == pytest.approx(1 / 2)
    assert found["slope_questions"] == pytest.approx(-1 / 2)  # 1 at one document, 0 at a hundred
    assert found["lost_questions"] == pytest.approx(1.0)
    assert found["reach_statements"] == pytest.approx(1 / 6)
    assert found["lost_statements"] == 0.0
    assert found["bystander_questions"] == pytest.approx(1 / 2)


def planted(generator: np.random.Generator, effect: float) -> pd.DataFrame:
    """Make 240 facts of 80 people at six counts; frequent facts are left more often, and those with x = 1 by effect."""
    person = np.repeat(np.arange(80), 3)
    x = (person % 2).astype(float)
    count = np.array([2, 4, 8, 16, 32, 64])[person // 2 % 6]
    chance = 0.3 + 0.05 * np.log2(count) + effect * x + np.repeat(0.1 * generator.normal(size=80), 3)
    return rows(
        cooccurrence_documents=count,
        relation=np.tile(["city", "employer", "school"], 80),
        x=x,
        left=(generator.random(240) < chance).astype(float),
    )


def test_false_alarms_and_false_equivalence_are_rare() -> None:
    """Of 200 experiments, at most 20 may have a false conclusion: 3 standard errors above 5%."""
    generator, margin, experiments = np.random.default_rng(7), 0.10, 200
    alarms = equivalent = 0
    for _ in range(experiments):
        none = [at_equal_count(planted(generator, 0.0), "x", least=20) for _ in range(5)]
        alarms += verdict(mean_over(none), margin) in ("below", "above")
        large = [at_equal_count(planted(generator, margin), "x", least=20) for _ in range(5)]
        interval = mean_over(large).ci90
        assert interval is not None
        equivalent += -margin < interval[0] and interval[1] < margin
    assert alarms <= 20
    assert equivalent <= 20


def test_findings_use_the_worlds_that_have_a_number() -> None:
    worlds = pd.DataFrame({"seed": [1, 2, 3, 4], "frequent": [0.0, 0.02, NAN, 0.01]})
    findings = find(worlds, [Outcome("frequent", "label", 0.5), Outcome("absent", "other")])
    assert findings[0].found.worlds == 3
    assert findings[0].verdict == "equivalent"
    assert findings[1].found.worlds == 0
    assert findings[1].verdict is None
    conclusion = conclusion_of(findings, count_and_loss.CONCLUSIONS)
    assert conclusion == count_and_loss.CONCLUSIONS["equivalent"]
    assert "**label** (primary) | +0.010 |" in markdown(findings, conclusion)


def test_every_fact_is_asked_in_every_wording_once() -> None:
    import pyarrow as pa

    relation = RELATIONS[0]
    fact = {
        "subject": "Ada Finch",
        "object": "Tarnow",
        "relation": relation.name,
        "cloze": relation.cloze("Ada Finch"),
        "paraphrases": [text.format(s="Ada Finch") for text in relation.paraphrases],
    }
    asked = with_every_wording(pa.Table.from_pylist([fact]))["paraphrases"][0].as_py()
    assert len(asked) == WORDINGS == len(set(asked))
    assert asked[: len(other_forms.QUESTIONS)] == fact["paraphrases"]
    assert all(not text.endswith("?") for text in asked[len(other_forms.QUESTIONS) :])
    assert fact["cloze"] not in asked


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_page_registers_the_design_that_runs(number: int) -> None:
    text = PAGE.read_text(encoding="utf-8")
    section = re.split(r"^## ", text, flags=re.MULTILINE)[number + 1]
    found = design(number, "cpu")
    assert section.startswith(f"{number}. {found.question}")
    assert f"{len(found.seeds)} worlds" in section
    margin = found.outcomes[0].margin
    assert margin is not None
    assert f"±{margin:.2f}" in section
    assert found.seeds[0] == 1000 * number
    assert found.least == 20
    assert all(preset.training["passes"] == 4.0 for preset in found.arms)
    stronger = {1: 1.0, 2: 2.0, 3: 1.0, 4: 1.0}[number]
    rates = {preset.name: preset.training["learning_rate"] for preset in found.arms}
    assert rates["255k"] == pytest.approx(1e-4 * stronger)
    for line in re.findall(r"^\| 0\.\d+.*", section, flags=re.MULTILINE):
        deviation, equivalent, effect = re.match(r"\| (0\.\d+)[^|]*\| (\d+)% \| (\d+)% \|", line).groups()  # type: ignore[union-attr]  # the page is ours
        none = simulated_power(len(found.seeds), float(deviation), margin)
        assert none.equivalent == pytest.approx(int(equivalent) / 100, abs=0.0051)
        as_large = simulated_power(len(found.seeds), float(deviation), margin, true=margin)
        assert as_large.effect == pytest.approx(int(effect) / 100, abs=0.0051)


def test_designs_share_no_seed_and_cross_what_they_compare() -> None:
    designs = [design(number, "cpu") for number in (1, 2, 3, 4)]
    seeds = [seed for each in designs for seed in each.seeds]
    assert len(seeds) == len(set(seeds))
    assert [preset.name for preset in designs[0].arms] == ["72k", "255k", "548k"]
    assert designs[2].arms[0].world.wording == "dealt"
    order = designs[3].arms[0]
    assert order.world.arrival == "dealt"
    assert order.pretraining.epochs == 1
    assert order.world.exposures == (4, 8, 16, 32, 64, 128, 256)
    assert exposures.MARGIN == 0.10
