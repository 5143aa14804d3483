"""Import of results of other code, in its original formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from planted import planted_facts
from test_runs import write_run

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.imports import Source, import_results, source_of
from factcensus.eval.report.page import render_report
from factcensus.eval.runs import pool_runs, read_run, summary_of
from factcensus.indexer.cli import main

PEOPLE = 30
CITIES = ("Rome", "Oslo", "New York", "Lima", "Cairo", "Quito", "Paris", "Hanoi", "Lagos")


def tofu(path: Path, *, forgets_below: int | None) -> Path:
    """Make a TOFU_EVAL.json; the facts below ``forgets_below`` are forgotten, and the others are still answered."""
    prob, rouge = {}, {}
    for i in range(PEOPLE):
        kept = forgets_below is None or i >= forgets_below
        prob[str(i)] = {"prob": 0.9 if kept else 0.01, "avg_loss": 0.1 if kept else 4.6}
        rouge[str(i)] = {
            "rouge1_recall": 1.0,
            "rougeL_f1": 0.5,
            "rougeL_recall": 1.0 if kept else 0.0,
            "input": f"Where was P{i} born?",
            "ground_truth": f"P{i} was born in {CITIES[i % 9]}.",
            "generation": f"P{i} was born in {CITIES[i % 9]}, it is said." if kept else "I cannot say.",
        }
    retain = {"7": {"prob": 0.8, "avg_loss": 0.2}, "8": None}
    metrics = {
        "forget_Q_A_Prob": {"agg_value": 0.5, "value_by_index": prob},
        "forget_Q_A_ROUGE": {"agg_value": 0.5, "value_by_index": rouge},
        "forget_truth_ratio": {"agg_value": 0.5, "value_by_index": {"0": {"score": 0.4}}},
        "retain_Q_A_Prob": {"agg_value": 0.8, "value_by_index": retain},
        "extraction_strength": {"agg_value": 0.1, "value_by_index": {"0": {"score": 0.1}}},
        "exact_memorization": {"agg_value": 0.1, "value_by_index": {"0": {"score": 0.75}}},
        "forget_quality": {"agg_value": None},
        "model_utility": {"agg_value": 0.6},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(metrics))
    return path


def counts(path: Path) -> Path:
    facts = pd.DataFrame(
        {
            "fact_id": [str(i) for i in range(PEOPLE)],
            "subject": [f"P{i}" for i in range(PEOPLE)],
            "object": [CITIES[i % 9] for i in range(PEOPLE)],
            "cooccurrence_documents": [2 ** (i // 6) for i in range(PEOPLE)],
        }
    )
    facts.to_csv(path, index=False)
    return path


def test_open_unlearning_results_become_a_run_with_slopes(tmp_path: Path) -> None:
    sources = [
        Source(tofu(tmp_path / "base" / "TOFU_EVAL.json", forgets_below=None), "original"),
        Source(tofu(tmp_path / "npo" / "TOFU_EVAL.json", forgets_below=20).parent, "npo"),
    ]
    out = import_results(sources, tmp_path / "run", facts=counts(tmp_path / "counts.csv"))
    run = read_run(out)
    row = run.facts[(run.facts["method"] == "npo") & (run.facts["fact_id"] == "forget/0")].iloc[0]
    assert (row["form"], row["subject"], row["object"], row["match"]) == ("question", "P0", "Rome", False)
    assert row["log_probability"] == pytest.approx(-4.6)
    assert row["exact_memorisation"] == 0.75
    assert (run.facts["role"] == "retain").sum() == 2, "null where their tokenizer left no answer"
    summary = summary_of(run)
    assert summary["known_before"] == PEOPLE
    [method] = summary["methods"]
    assert method["slope_per_decade"]["question"]["value"] > 0
    assert method["forgotten_odds_per_decade"]["question"]["generation"]["value"] < 0
    page = render_report(run, summary)
    assert "nats per token" in page


def test_match_requires_the_object_if_counts_have_one_or_the_whole_answer(tmp_path: Path) -> None:
    path = tofu(tmp_path / "TOFU_EVAL.json", forgets_below=None)
    with_object = read_run(import_results([Source(path, "original")], tmp_path / "a", facts=counts(tmp_path / "c.csv")))
    assert with_object.facts["match"].dropna().all()
    alone = read_run(import_results([Source(path, "original")], tmp_path / "b"))
    row = alone.facts[alone.facts["fact_id"] == "forget/3"].iloc[0]
    assert row["match"], "the generation contains the whole answer and continues after it"
    assert row["object"] == "P3 was born in Lima."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ('{"forget_quality": 0.3}', "its metrics: forget_quality"),
        ("[]", "its metrics: none"),
    ],
)
def test_invalid_open_unlearning_files_are_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "TOFU_SUMMARY.json"
    path.write_text(content)
    with pytest.raises(EvaluationInputError, match=said):
        import_results([Source(path, "npo")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def paper(folder: Path, split: str, *, loss: str = "simnpo_gd", after: float = 0.3) -> Path:
    """Write the folder of the paper's training script, with results of two checkpoints."""
    place = folder / f"{loss}_1.0_42" / split / "checkpoints"
    place.mkdir(parents=True)
    (place / "config.yaml").write_text(f"loss_type: {loss}\nseed: 42\ndataset:\n  forget_split: {split}\n")
    lines: list[dict[str, Any]] = [
        {"checkpoint": "checkpoint_60", "eval_tinyMMLU": 0.5, "eval_forget_paraphrased": after, "eval_retain": 0.9},
        {"checkpoint": "checkpoint_0", "eval_tinyMMLU": 0.6, "eval_forget_paraphrased": 0.8, "eval_retain": 0.9},
    ]
    (place / "results.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return place


def test_means_of_the_paper_get_a_separate_section(tmp_path: Path) -> None:
    for split, after in (("forget_low_count", 0.1), ("forget_high_count", 0.5)):
        paper(tmp_path / "models", split, after=after)
    run = read_run(import_results([Source(tmp_path / "models")], tmp_path / "run"))
    last = run.aggregates[run.aggregates["is_last"] & (run.aggregates["measure"] == "forget_paraphrased")]
    assert sorted(last[["method", "seed", "stratum", "value"]].itertuples(index=False, name=None)) == [
        ("simnpo_gd", 42, 0, 0.1),
        ("simnpo_gd", 42, 2, 0.5),
    ]
    summary = summary_of(run)
    assert summary["methods"] == []
    page = render_report(run, summary)
    assert "Imported means" in page
    ours = read_run(write_run(tmp_path / "ours", planted_facts(people=14)))
    both = pool_runs([ours, run])
    page = render_report(both, summary_of(both))
    assert "Does frequency protect a fact?" in page
    assert "simnpo_gd" in page


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "line 1"), ('{"step": 3}', "line 1"), ('{"checkpoint": "last"}', "checkpoint_N"), ("", "is empty")],
)
def test_invalid_files_of_the_paper_are_refused(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(EvaluationInputError, match=said):
        import_results([Source(path)], tmp_path / "out")


def test_long_and_wide_tables_give_the_same_run(tmp_path: Path) -> None:
    facts = planted_facts(people=14, forms=("question",))
    facts = facts[facts["role"] == "forget"]
    columns = [
        "fact_id",
        "method",
        "match",
        "log_probability",
        "cooccurrence_documents",
        "subject",
        "object",
        "relation",
    ]
    facts[columns].to_csv(tmp_path / "long.csv", index=False)
    before = facts[facts["method"] == "original"].set_index("fact_id")
    after = facts[facts["method"] == "simnpo"].set_index("fact_id")
    wide = before[["cooccurrence_documents", "subject", "object", "relation"]].assign(
        method="simnpo",
        match_before=before["match"].map({True: "yes", False: "no"}),
        match_after=after["match"].astype(int),
        log_probability_before=before["log_probability"],
        log_probability_after=after["log_probability"],
    )
    wide.reset_index().to_json(tmp_path / "wide.jsonl", orient="records", lines=True)
    summaries = [
        summary_of(read_run(import_results([Source(tmp_path / name)], tmp_path / f"run {name}")))
        for name in ("long.csv", "wide.jsonl")
    ]
    assert summaries[0]["methods"] == summaries[1]["methods"]
    assert summaries[0]["methods"][0]["slope_per_decade"]["question"]["ci95"] is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,match\n1,1\n", "no column 'fact_id'"),
        ("fact_id,score\n1,1\n", "needs 'match' or 'log_probability'"),
        ("fact_id,match\n1,1\n", "no column 'method'"),
        ("fact_id,method,match\n1,original,maybe\n", "fact '1': match is 'maybe'"),
        ("fact_id,method,match\n1,original,1\n1,original,0\n", "several different outcomes for fact '1'"),
        ("fact_id,method,match,seed\n1,original,1,two\n", "column 'seed' contains values that are not integers"),
        ("fact_id,method,log_probability\n1,original,low\n", "'log_probability' contains values that are not numbers"),
        ("fact_id,match_before\n1,1\n", "lacks the column 'match_after'"),
        ("fact_id,method,match\n1,npo,1\n", "no rows of the original model"),
    ],
)
def test_invalid_tables_are_refused_with_the_reason(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "outcomes.csv"
    path.write_text(text)
    with pytest.raises(EvaluationInputError, match=said):
        import_results([Source(path)], tmp_path / "out")


def test_command_imports_and_reports_and_keeps_existing_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = tofu(tmp_path / "base_EVAL.json", forgets_below=None)
    npo = tofu(tmp_path / "npo_EVAL.json", forgets_below=15)
    out = tmp_path / "run"
    command = ["eval", "import", f"original={base}", f"npo={npo}", "--facts", str(counts(tmp_path / "counts.csv"))]
    assert main([*command, "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["methods"][0]["name"] == "npo"
    assert (out / "report.html").is_file()
    assert json.loads((out / "run.json").read_text())["imported"]["sources"][0]["digest"].startswith("sha256:")
    assert main([*command, "--out", str(out)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["eval", "import", str(base), "--out", str(tmp_path / "new")]) == 2
    assert "does not name its model" in capsys.readouterr().err
    assert main(["eval", "import", "nowhere.csv", "--out", str(tmp_path / "new")]) == 2
    assert main(["eval", "import", str(base), str(tmp_path / "counts.csv"), "--out", str(tmp_path / "new")]) == 2
    assert "different formats" in capsys.readouterr().err


def test_source_may_name_its_method_and_paths_may_contain_an_equals_sign(tmp_path: Path) -> None:
    odd = tmp_path / "lr=1e-5.csv"
    odd.write_text("")
    assert source_of(str(odd)) == Source(odd)
    assert source_of("npo=a/b.json") == Source(Path("a/b.json"), "npo")


OUTCOMES = (
    "fact_id,method,match,log_probability\n007,original,true,-1\n007,npo,false,-5\n8,original,true,-1\n8,npo,true,-2\n"
)


@pytest.mark.parametrize(
    ("outcomes", "ids", "message"),
    [
        (OUTCOMES, ("7", "08"), "no result has a fact_id of .*'007'.*'7'"),
        (OUTCOMES.replace("-5", "5"), ("007", "8"), "fact '007': log_probability is 5, and .* at most 0"),
        (OUTCOMES.replace("match", "form").replace("true", "qestion"), ("007", "8"), "unknown form .*'qestion'"),
        (
            OUTCOMES.replace("match", "point").replace("true", "before").replace("false", "aftr"),
            ("007", "8"),
            "row 2 has the point 'aftr' for the method 'npo'",
        ),
    ],
)
def test_outcome_that_would_be_lost_silently_is_refused(
    outcomes: str, ids: tuple[str, str], message: str, tmp_path: Path
) -> None:
    (tmp_path / "o.csv").write_text(outcomes)
    (tmp_path / "f.csv").write_text("fact_id,subject,object\n" + "".join(f"{each},a,b\n" for each in ids))
    with pytest.raises(ValueError, match=message):
        import_results([source_of(str(tmp_path / "o.csv"))], tmp_path / "run", facts=tmp_path / "f.csv")
    assert not (tmp_path / "run").exists()


def test_results_without_a_counted_fact_are_noted_and_other_counts_stay_integers(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text(OUTCOMES)
    (tmp_path / "f.csv").write_text("fact_id,subject,object,cooccurrence_documents\n7,a,b,3\n8,c,d,9\n")
    out = import_results([source_of(str(tmp_path / "o.csv"))], tmp_path / "run", facts=tmp_path / "f.csv")
    (note,) = [each for each in json.loads((out / "run.json").read_text())["notes"] if "no counts" in each]
    assert note.startswith("1 of 2 facts are not in the fact table")
    assert "'007'" in note
    counts = pq.read_table(out / "facts.parquet")["cooccurrence_documents"]
    assert (str(counts.type), sorted(set(counts.to_pylist()), key=str)) == ("int64", [9, None])


def test_null_of_a_joined_fact_is_not_the_word_nan_and_missing_facts_are_noted(tmp_path: Path) -> None:
    base, npo = tofu(tmp_path / "a_EVAL.json", forgets_below=None), tofu(tmp_path / "b_EVAL.json", forgets_below=3)
    (tmp_path / "f.csv").write_text("fact_id,subject,object,relation\n0,P0,Rome,\n1,P1,Oslo,city\n")
    sources = [Source(base, "original"), Source(npo, "npo")]
    out = import_results(sources, tmp_path / "run", facts=tmp_path / "f.csv")
    rows = pq.read_table(out / "facts.parquet", columns=["relation", "object"]).to_pylist()
    assert "nan" not in {value for row in rows for value in row.values()}
    notes = json.loads((out / "run.json").read_text())["notes"]
    assert any(note.startswith(f"{PEOPLE - 2} of {PEOPLE} facts are not in the fact table") for note in notes)
    (tmp_path / "f.csv").write_text("fact_id,subject,object\nq-0,P0,Rome\n")
    with pytest.raises(EvaluationInputError, match=r"no result has a fact_id of the fact table.*'0'.*'q-0'"):
        import_results(sources, tmp_path / "other", facts=tmp_path / "f.csv")
