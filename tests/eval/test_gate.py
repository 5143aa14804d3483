from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import planted_facts
from test_runs import write_run

from factcensus.eval import gate
from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.gate import COMPARISONS, check, verdicts_json, verdicts_text
from factcensus.eval.statistics.published import METRICS
from factcensus.eval.summary import json_ready, summarise
from factcensus.indexer.cli import main


@pytest.fixture(scope="module")
def facts() -> pd.DataFrame:
    return planted_facts(people=28, methods=("simnpo", "grad-diff"), oracle=True)


@pytest.fixture(scope="module")
def summary(facts: pd.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = json_ready(summarise(facts, seconds=3.0))
    return found


# --- the clauses ---


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot parse the clause ''"),
        ("retain_accuracy", "write NAME COMPARISON LIMIT"),
        ("retain_accuracy >= ", "cannot parse"),
        ("retain_accuracy >= 1 b", "cannot parse"),
        ("retain_accuracy ~ 1", "with one of >=, <=, ==, !=, >, <"),
        ("retain_accuracy >= 1,", "cannot parse the clause ''"),
        ("retain_accuracy. >= 1", "cannot parse"),
        ("__import__('os') > 1", "cannot parse"),
        ("retain_accuracy => 1", "did you mean '>='?"),
        ("retain_accuracy >= 0.5 + base", "cannot parse"),
    ],
)
def test_unparsable_clauses_are_named(summary: dict[str, Any], text: str, said: str) -> None:
    with pytest.raises(EvaluationInputError) as error:
        check(summary, text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("clause", "limit"), [("seconds < 50%", 0.5), ("seconds<1e1", 10), ("seconds >= -.5", -0.5), ("seconds != 3.", 3)]
)
def test_limits_are_decimals_or_percentages(summary: dict[str, Any], clause: str, limit: float) -> None:
    [verdict] = check(summary, f" {clause} ")
    assert [each.right for each in verdict.checked] == [limit]
    assert verdict.clause == clause


@given(st.sampled_from(sorted(COMPARISONS)), st.sampled_from([2.9, 3, 3.1]))
def test_comparisons_are_those_of_python(summary: dict[str, Any], comparison: str, limit: float) -> None:
    [verdict] = check(summary, f"seconds {comparison} {limit}")
    assert verdict.passed == eval(f"3.0 {comparison} {limit}")


# --- the summary ---


def test_clause_must_hold_for_every_method_and_form_and_failures_are_listed(summary: dict[str, Any]) -> None:
    strata = [
        (method["name"], form, min(row["generation"]["value"] for row in method["forgotten_by_stratum"][form]))
        for method in summary["methods"][:2]
        for form in ("question", "cloze")
    ]
    limit = sorted(least for _, _, least in strata)[1]
    [verdict] = check(summary, f"forgotten_by_stratum.min >= {limit}")
    assert [(each.method, each.form, each.left) for each in verdict.checked] == strata
    assert not verdict.passed
    assert sum(not each.passed for each in verdict.checked) == sum(least < limit for _, _, least in strata) > 0
    [fine] = check(summary, "forgotten_by_stratum.min >= 0")
    assert fine.passed


def test_base_is_the_original_models_value(summary: dict[str, Any]) -> None:
    original = summary["original"]["accuracy"]
    for text, wanted in (
        ("retain_accuracy >= 0.9*base", 0.9 * original["retain_held"]["question"]["value"]),
        ("simnpo.bystander_accuracy > base", original["bystander"]["question"]["value"]),
        ("accuracy.retain.cloze == base.accuracy.retain.cloze", original["retain"]["cloze"]["value"]),
    ):
        [verdict] = check(summary, text)
        assert [each.right for each in verdict.checked] == [pytest.approx(wanted)] * (1 if "simnpo" in text else 2)


@pytest.mark.parametrize(
    ("text", "where", "wanted"),
    [
        (
            "forgotten_by_stratum.cloze.probability.rarest.low > 0",
            ("simnpo", "cloze"),
            lambda m: m["forgotten_by_stratum"]["cloze"][0]["probability"]["ci95"][0],
        ),
        (
            "forgotten_by_stratum.question.most_frequent > 0",
            ("simnpo", "question"),
            lambda m: m["forgotten_by_stratum"]["question"][-1]["generation"]["value"],
        ),
        ("slope_per_decade.cloze.high < 9", ("simnpo", "cloze"), lambda m: m["slope_per_decade"]["cloze"]["ci95"][1]),
        ("slope_per_decade.cloze.p_holm < 9", ("simnpo", "cloze"), lambda m: m["slope_per_decade"]["cloze"]["p_holm"]),
        (
            "misalignment.cloze.hidden < 9",
            ("simnpo", "cloze"),
            lambda m: m["misalignment"]["by_form"]["cloze"]["hidden"],
        ),
        (
            "agreement.cloze < 9",
            ("simnpo", "cloze"),
            lambda m: m["misalignment"]["by_form"]["cloze"]["agreement"]["excess"],
        ),
        ("not_finite < 1", ("simnpo", None), lambda m: m["not_finite"]),
    ],
)
def test_names_resolve_to_numbers_of_the_summary(summary: dict[str, Any], text: str, where: Any, wanted: Any) -> None:
    [verdict] = check(summary, text)
    first = verdict.checked[0]
    assert (first.method, first.form) == where
    assert first.left == wanted(summary["methods"][0])
    assert first.left is not None


def test_share_forgotten_over_all_strata_agrees_with_the_facts(summary: dict[str, Any], facts: pd.DataFrame) -> None:
    [verdict] = check(summary, "simnpo.forgotten.cloze > 0")
    rows = facts[(facts["role"] == "forget") & (facts["form"] == "cloze")].set_index("fact_id")
    before, after = rows[rows["method"] == "original"]["match"], rows[rows["method"] == "simnpo"]["match"]
    assert verdict.checked[0].left == pytest.approx(1 - after[before].mean(), abs=1e-5)


def test_quoted_method_names_may_have_signs_and_the_oracle_must_be_named(summary: dict[str, Any]) -> None:
    [verdict] = check(summary, '"grad-diff".retain_accuracy >= 0.1 * retrained.retain_accuracy')
    assert verdict.passed
    assert len(verdict.checked) == 1
    [every] = check(summary, "retain_accuracy >= 0")
    assert [each.method for each in every.checked] == ["simnpo", "grad-diff"]


def test_unmeasured_values_fail_every_clause(summary: dict[str, Any]) -> None:
    empty = json.loads(json.dumps(summary))
    for method in empty["methods"]:
        method["retain_accuracy"] = None
    [verdict] = check(empty, "retain_accuracy >= 0")
    assert not verdict.passed
    assert "(not measured)" in verdicts_text([verdict])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retain_acuracy > 0", "did you mean 'retain_accuracy'"),
        ("simmpo.retain_accuracy > 0", "did you mean 'simnpo'"),
        ("forgotten_by_stratum.minimum > 0", "did you mean 'forgotten_by_stratum.min'"),
        ("forgotten_by_stratum.clozed > 0", "unknown number 'forgotten_by_stratum.clozed'"),
        ("accuracy > 0", "did you mean 'accuracy."),
        ("accuracy.bystanders > 0", "did you mean 'accuracy.bystander'"),
        ("slope_per_decade > base", "the original model has no 'slope_per_decade'"),
        ("1 < 2", "cannot parse"),
        ("base > 1", "unknown number 'base'"),
        ("simnpo.seconds > 1", "unknown number 'simnpo.seconds'"),
        ("xyzzy > 1", "known: facts, known_before, seconds, "),
        ("retain_accuracy.low > 1", "unknown number 'retain_accuracy.low'"),
        ("retain_accuracy > forgotten", "is more than one number"),
    ],
)
def test_unknown_names_are_refused_with_suggestions(summary: dict[str, Any], text: str, said: str) -> None:
    with pytest.raises(EvaluationInputError) as error:
        check(summary, text)
    assert said in str(error.value)


def test_every_number_is_documented(summary: dict[str, Any]) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    names = {name.partition(".")[0] for _, _, name in gate._Numbers(summary).values}
    assert len(names) == 24
    for name in names:
        assert name in METRICS or name.split("_slope")[0] in (gate.__doc__ or "")
        assert f"`{name}`" in page


@pytest.mark.parametrize("verb", ["check", "import"])
def test_commands_have_help_with_a_worked_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", verb, "--help"]) == 0
    assert f"example:\n  factcensus eval {verb} " in capsys.readouterr().out


def test_command_exits_with_3_and_prints_the_failing_clause(
    tmp_path: Path, facts: pd.DataFrame, summary: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", facts)
    (run / "summary.json").write_text(json.dumps(summary))
    command = ["eval", "check", str(run), "--require"]
    assert main([*command, "retain_accuracy >= 0.5 * base, seconds < 10"]) == 0
    assert capsys.readouterr().out.count("ok ") == 2
    assert main([*command, "retain_accuracy >= 0.5 * base", "--require", "seconds < 1"]) == 3
    printed = capsys.readouterr()
    assert "FAILED  seconds < 1\n        the run: 3, required < 1" in printed.out
    assert "seconds < 1" in printed.err
    assert main([*command, "seconds < 1", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found == verdicts_json(check(summary, "seconds < 1"))
    assert found["passed"] is False
    assert main([*command, "second < 1"]) == 2
    assert "did you mean 'seconds'" in capsys.readouterr().err
    (run / "summary.json").unlink()
    assert main([*command, "known_before > 0"]) == 0, "a missing summary is computed from the tables"
