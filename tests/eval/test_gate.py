from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import planted_facts
from test_run_folder import write_run

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.gate import QUANTITIES, check, verdicts_json, verdicts_text
from factcensus.eval.requirement import Call, Name, Number, evaluate, parse
from factcensus.eval.summary import json_ready, summarise
from factcensus.indexer.cli import main


@pytest.fixture(scope="module")
def facts() -> pd.DataFrame:
    return planted_facts(people=28, methods=("simnpo", "grad-diff"), oracle=True)


@pytest.fixture(scope="module")
def summary(facts: pd.DataFrame) -> dict[str, Any]:
    found: dict[str, Any] = json_ready(summarise(facts, seconds=3.0))
    return found


# --- the language ---


def test_precedence_brackets_signs_and_per_cents() -> None:
    [clause] = parse("1 + 2 * 3 - -4 / (1 + 1) >= 50%")
    assert evaluate(clause.left, lambda _: None) == 1 + 6 + 2
    assert clause.right == Number(0.5)
    [clause] = parse('min(2, max(a.b, "c d".e)) < abs(-3)')
    assert clause.left == Call("min", (Number(2), Call("max", (Name(("a", "b")), Name(("c d", "e"))))))
    assert evaluate(clause.right, lambda _: None) == 3


def test_clauses_are_told_apart_and_keep_how_they_were_written() -> None:
    clauses = parse(" a >= 1,max(b, 2)<3 ")
    assert [clause.text for clause in clauses] == ["a >= 1", "max(b, 2)<3"]


@given(st.recursive(
    st.integers(0, 99).map(str),
    lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda each: f"({each[0]} {each[1]} {each[2]})"),
    max_leaves=12,
))  # fmt: skip
def test_arithmetic_is_that_of_python(text: str) -> None:
    [clause] = parse(f"{text} == 0")
    assert evaluate(clause.left, lambda _: None) == eval(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("retain_accuracy", "expected a comparison such as >=, found the end"),
        ("a >= ", "expected a number or a name, found the end"),
        ("a >= 1 b", "character 8: expected a comma, or the end, found 'b'"),
        ("a ~ 1", "character 2"),
        ("(a >= 1", "expected a closing bracket, found '>='"),
        ("a. >= 1", "expected a name after the dot"),
        ("min(a) > 1", "min() takes two or more"),
        ("__import__('os') > 1", "is nothing that can stand there"),
        ("a => 1", "did you mean '>='?"),
    ],
)
def test_what_cannot_be_read_is_shown_where(text: str, said: str) -> None:
    with pytest.raises(EvaluationInputError) as error:
        parse(text)
    assert said in str(error.value)


def test_division_by_zero_and_what_has_no_value_give_no_number() -> None:
    [clause] = parse("1 / 0 > a + 1")
    assert evaluate(clause.left, lambda _: 1.0) is None
    assert evaluate(clause.right, lambda _: None) is None


# --- the summary ---


def test_a_clause_holds_for_every_method_and_form_and_says_where_it_fails(summary: dict[str, Any]) -> None:
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
        ("retain_accuracy >= 0.9 * base", 0.9 * original["retain_held"]["question"]["value"]),
        ("simnpo.bystander_accuracy > base", original["bystander"]["question"]["value"]),
        ("accuracy.retain.cloze == base.accuracy.retain.cloze", original["retain"]["cloze"]["value"]),
    ):
        [verdict] = check(summary, text)
        assert [each.right for each in verdict.checked] == [pytest.approx(wanted)] * (1 if "simnpo" in text else 2)


@pytest.mark.parametrize(
    ("text", "where", "wanted"),
    [
        ("forgotten_by_stratum.cloze.probability.rarest.low > 0", ("simnpo", None),
         lambda m: m["forgotten_by_stratum"]["cloze"][0]["probability"]["ci95"][0]),
        ("forgotten_by_stratum.question.most_frequent > 0", ("simnpo", None),
         lambda m: m["forgotten_by_stratum"]["question"][-1]["generation"]["value"]),
        ("slope_per_decade.cloze.high < 9", ("simnpo", None), lambda m: m["slope_per_decade"]["cloze"]["ci95"][1]),
        ("slope_per_decade.cloze.p_holm < 9", ("simnpo", None), lambda m: m["slope_per_decade"]["cloze"]["p_holm"]),
        ("misalignment.cloze.hidden < 9", ("simnpo", None), lambda m: m["misalignment"]["by_form"]["cloze"]["hidden"]),
        ("agreement.cloze < 9", ("simnpo", None),
         lambda m: m["misalignment"]["by_form"]["cloze"]["agreement"]["excess"]),
        ("not_finite < 1", ("simnpo", None), lambda m: m["not_finite"]),
    ],
)  # fmt: skip
def test_names_lead_to_the_summarys_numbers(summary: dict[str, Any], text: str, where: Any, wanted: Any) -> None:
    [verdict] = check(summary, text)
    first = verdict.checked[0]
    assert (first.method, first.form) == where
    assert first.left == wanted(summary["methods"][0])
    assert first.left is not None


def test_share_forgotten_over_all_strata_is_that_of_the_facts(summary: dict[str, Any], facts: pd.DataFrame) -> None:
    [verdict] = check(summary, "simnpo.forgotten.cloze > 0")
    rows = facts[(facts["role"] == "forget") & (facts["form"] == "cloze")].set_index("fact_id")
    before, after = rows[rows["method"] == "original"]["match"], rows[rows["method"] == "simnpo"]["match"]
    assert verdict.checked[0].left == pytest.approx(1 - after[before].mean(), abs=1e-5)


def test_methods_with_a_sign_in_their_name_go_in_quotes_and_the_oracle_is_only_named(summary: dict[str, Any]) -> None:
    [verdict] = check(summary, '"grad-diff".retain_accuracy >= retrained.retain_accuracy - 1')
    assert verdict.passed
    assert len(verdict.checked) == 1
    [every] = check(summary, "retain_accuracy >= 0")
    assert [each.method for each in every.checked] == ["simnpo", "grad-diff"]


def test_what_was_not_measured_meets_nothing(summary: dict[str, Any]) -> None:
    empty = json.loads(json.dumps(summary))
    for method in empty["methods"]:
        method["retain_accuracy"] = None
    [verdict] = check(empty, "retain_accuracy >= 0")
    assert not verdict.passed
    assert "(no value)" in verdicts_text([verdict])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retain_acuracy > 0", "did you mean 'retain_accuracy'"),
        ("simmpo.retain_accuracy > 0", "did you mean 'simnpo'"),
        ("forgotten_by_stratum.minimum > 0", "did you mean 'min'"),
        ("forgotten_by_stratum.clozed > 0", "did you mean 'cloze'"),
        ("accuracy > 0", "needs one group"),
        ("accuracy.bystanders > 0", "did you mean 'bystander'"),
        ("slope_per_decade > base", "the original model has no slope_per_decade"),
        ("1 < 2", "names nothing that was measured"),
        ("base > 1", "names nothing that was measured"),
        ("simnpo.seconds > 1", "is of the whole run"),
        ("xyzzy > 1", "there are forgotten, "),
        ("retain_accuracy.low > 1", "nothing may follow it"),
    ],
)
def test_unknown_names_are_refused_with_what_is_near(summary: dict[str, Any], text: str, said: str) -> None:
    with pytest.raises(EvaluationInputError) as error:
        check(summary, text)
    assert said in str(error.value)


def test_every_quantity_is_in_the_module_text_and_in_the_documentation() -> None:
    import factcensus.eval.gate as gate

    page = (Path(__file__).resolve().parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    for name in QUANTITIES:
        assert name.split("_slope")[0] in (gate.__doc__ or "")
        assert f"`{name}`" in page


@pytest.mark.parametrize("verb", ["check", "import"])
def test_commands_have_help_with_a_worked_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["eval", verb, "--help"])
    assert ended.value.code == 0
    assert f"example:\n  factcensus eval {verb} " in capsys.readouterr().out


def test_command_exits_with_3_and_the_failing_clause(
    tmp_path: Path, facts: pd.DataFrame, summary: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run = write_run(tmp_path / "run", facts)
    (run / "summary.json").write_text(json.dumps(summary))
    command = ["eval", "check", str(run), "--require"]
    assert main([*command, "retain_accuracy >= 0.5 * base, seconds < 10"]) == 0
    assert capsys.readouterr().out.count("ok ") == 2
    assert main([*command, "retain_accuracy >= 0.5 * base", "--require", "seconds < 1"]) == 3
    printed = capsys.readouterr()
    assert "FAILED  seconds < 1\n        the run: 3 < 1 is not so" in printed.out
    assert "seconds < 1" in printed.err
    assert main([*command, "seconds < 1", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found == verdicts_json(check(summary, "seconds < 1"))
    assert found["passed"] is False
    assert main([*command, "second < 1"]) == 2
    assert "did you mean 'seconds'" in capsys.readouterr().err
    (run / "summary.json").unlink()
    assert main([*command, "known_before > 0"]) == 0, "the summary is made from the tables where there is none"
