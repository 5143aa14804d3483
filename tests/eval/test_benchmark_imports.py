"""Import of the result files of TOFU, OpenUnlearning and MUSE, with hand-computed benchmark numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from planted import planted_facts
from test_runs import write_run

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.imports import Source, import_results
from factcensus.eval.report.page import render_report
from factcensus.eval.report.side_by_side import experiments, side_by_side
from factcensus.eval.runs import read_run, summary_of


def tofu_set(losses: list[float], *, paraphrase: float, wrong: list[float], recall: float = 0.5) -> dict[str, Any]:
    """Return one set of eval_log_aggregated.json; answers have four tokens."""
    indices = [str(number) for number in range(len(losses))]
    return {
        "avg_gt_loss": dict(zip(indices, losses, strict=True)),
        "gt_loss": {index: 4 * loss for index, loss in zip(indices, losses, strict=True)},
        "num_token_gt": dict.fromkeys(indices, 4),
        "generated_text": {
            index: [f"[INST] Who is P{index}? [/INST]", f" P{index}", f"P{index} "] for index in indices
        },
        "rouge1_recall": dict.fromkeys(indices, 1.0),
        "rougeL_recall": dict.fromkeys(indices, recall),
        "average_perturb_loss": dict.fromkeys(indices, wrong),
        "avg_paraphrased_loss": dict.fromkeys(indices, paraphrase),
        "truth_ratio": dict.fromkeys(indices, math.exp(paraphrase - sum(wrong) / len(wrong))),
    }


def tofu_file(folder: Path, *, forget: float = 1.0) -> Path:
    path = folder / "eval_log_aggregated.json"
    path.parent.mkdir(parents=True)
    kept = {"paraphrase": 1.0, "wrong": [1.0 + math.log(2), 1.0 + math.log(8)]}
    logs = {
        "eval_log_forget.json": tofu_set([forget, forget, 0.0], paraphrase=forget, wrong=[1.0, 2.0]),
        "eval_log.json": tofu_set([math.log(2)], **kept),
        "eval_real_author_wo_options.json": tofu_set([1.0], **kept),
        "eval_real_world_wo_options.json": tofu_set([1.0, 1.0], **kept),
    }
    path.write_text(json.dumps(logs))
    return path


def test_tofu_results_give_their_utility_in_both_means(tmp_path: Path) -> None:
    sources = [
        Source(tofu_file(tmp_path / "full"), "original"),
        Source(tofu_file(tmp_path / "retain").parent, "retrained"),
        Source(tofu_file(tmp_path / "npo", forget=3.0), "npo"),
    ]
    run = read_run(import_results(sources, tmp_path / "run"))
    row = run.facts[(run.facts["method"] == "npo") & (run.facts["fact_id"] == "forget/1")].iloc[0]
    assert (row["log_probability"], row["log_probability_mean"], row["answer_tokens"]) == (-12.0, -3.0, 4)
    assert (row["answer"], row["match"], row["exact_match"]) == ("P1", True, True)
    assert row["truth_ratio"] == pytest.approx(math.exp(3 - 1.5))
    assert row["truth_ratio_arithmetic"] == pytest.approx((math.exp(2) + math.exp(1)) / 2)

    summary = summary_of(run)
    original, npo = summary["original"]["published"], summary["methods"][0]["published"]
    # R is 1/4 (geometric) or (1/2 + 1/8) / 2 (arithmetic); the normalised probability is 1 / (1 + 1/2 + 1/8).
    for name, ratio in (("model_utility", 0.25), ("model_utility_arithmetic", 0.3125)):
        parts = [0.5, 0.5, 1 - ratio, *2 * [1 / 1.625, 0.5, 1 - ratio]]
        assert original[name]["value"] == pytest.approx(9 / sum(1 / part for part in parts), rel=1e-5)
        assert original[name]["per_seed"][0]["n"] == 4
    assert original["forget_quality"]["value"] == 1
    assert npo["forget_quality_distance"]["value"] == 1
    assert npo["forget_truth_ratio"]["value"] == pytest.approx(math.exp(-1.5), rel=1e-5)
    assert "Imported from the TOFU code" in render_report(run, summary)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "its entries: none"),
        ('{"eval_log.json": {"rougeL_recall": {}}}', "its entries: eval_log.json"),
        ('{"eval_log.json": {"avg_gt_loss": [1.0]}}', "lists without question numbers"),
        ("[", "is not JSON"),
    ],
)
def test_invalid_tofu_files_are_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "eval_log_aggregated.json"
    path.write_text(content)
    with pytest.raises(EvaluationInputError, match=said):
        import_results([Source(path, "npo")], tmp_path / "out")
    with pytest.raises(EvaluationInputError, match="retrained=PATH"):
        import_results([Source(path)], tmp_path / "out")


def test_open_unlearning_truth_ratios_come_from_the_losses_of_the_wrong_answers(tmp_path: Path) -> None:
    def metric(value: Any) -> dict[str, Any]:
        return {"agg_value": 0.5, "value_by_index": {"0": value}}

    wrong = {"prob": [0.25, 0.0625], "avg_loss": [math.log(4), math.log(16)]}
    metrics = {
        "forget_Q_A_Prob": metric({"prob": 0.9, "avg_loss": 0.1}),
        "forget_Q_A_PARA_Prob": metric({"prob": 0.5, "avg_loss": math.log(2)}),
        "forget_Q_A_PERT_Prob": metric(wrong),
        "ra_Q_A_Prob": metric({"prob": 0.5, "avg_loss": math.log(2)}),
        "ra_Q_A_PERT_Prob": metric(wrong),
        "ra_Q_A_Prob_normalised": metric({"prob": 0.5 / 0.8125}),
        "retain_Q_A_PERT_Prob": metric(wrong),
        "model_utility": {"agg_value": 0.61},
        "forget_quality": {"agg_value": None},
    }
    path = tmp_path / "TOFU_EVAL.json"
    path.write_text(json.dumps(metrics))
    run = read_run(import_results([Source(path, "original")], tmp_path / "run"))
    questions = run.facts[run.facts["form"] == "question"].to_dict("records")
    rows = {str(each["fact_id"]): each for each in questions}
    forget, author = rows["forget/0"], rows["ra/0"]
    assert forget["truth_ratio"] == pytest.approx(2 / 8), "against the paraphrase"
    assert forget["truth_ratio_arithmetic"] == pytest.approx(2 * (0.25 + 0.0625) / 2)
    assert author["truth_ratio"] == pytest.approx(2 / 8), "against the answer itself"
    assert author["probability_normalised"] == pytest.approx(0.5 / 0.8125)
    assert "retain/0" not in rows, "wrong answers alone are no result"
    means = dict(zip(run.aggregates["measure"], run.aggregates["value"], strict=True))
    assert means["model_utility"] == 0.61
    assert "forget_quality" not in means
    page = render_report(run, summary_of(run))
    assert "Imported means" in page
    assert "model_utility" in page


def muse_file(path: Path, *, forget: float, auc: float) -> Path:
    def rouge(value: float) -> dict[str, Any]:
        texts = {"input": "Q", "ground_truth": "the answer", "generation": "the answer"}
        return {"agg_value": value, "value_by_index": {"0": {"rougeL_f1": value, "rougeL_recall": value, **texts}}}

    metrics = {
        "forget_knowmem_ROUGE": rouge(forget),
        "forget_verbmem_ROUGE": rouge(forget / 2),
        "retain_knowmem_ROUGE": rouge(0.75),
        "mia_min_k": {"agg_value": auc, "auc": auc, "forget": {}, "holdout": {}},
        "privleak": {"agg_value": 12.0},
        "extraction_strength": {"agg_value": 0.1, "value_by_index": {"0": {"score": 0.1}}},
    }
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(metrics))
    return path


def test_muse_results_have_four_criteria_next_to_our_own(tmp_path: Path) -> None:
    sources = [
        Source(muse_file(tmp_path / "target" / "MUSE_EVAL.json", forget=1.0, auc=0.99), "original"),
        Source(muse_file(tmp_path / "retrain" / "MUSE_EVAL.json", forget=0.25, auc=0.5), "retrained"),
        Source(muse_file(tmp_path / "npo" / "MUSE_EVAL.json", forget=0.5, auc=0.25).parent, "npo"),
    ]
    imported = read_run(import_results(sources, tmp_path / "run"))
    summary = summary_of(imported)
    [npo, _] = summary["methods"]
    found = {name: npo["published"][name]["value"] for name in npo["published"]}
    assert found["knowledge_memorisation"] == 0.5
    assert found["verbatim_memorisation"] == 0.25
    assert found["utility_preservation"] == 0.75
    assert found["privacy_leakage"] == pytest.approx(100 * (0.75 - 0.5) / 0.5)
    assert summary["original"]["published"]["privacy_leakage"]["value"] == pytest.approx(-98, abs=0.01)

    ours = read_run(write_run(tmp_path / "ours", planted_facts(people=14).assign(rouge_l_f1=0.5)))
    section = side_by_side(experiments([ours, imported]))
    assert section is not None
    rows = {(cells[0], cells[1]): cells for cells in section.tables[1].rows}
    assert set(rows) == {
        ("ours", "original"),
        ("ours", "simnpo"),
        *(("run", name) for name in ("original", "npo", "retrained")),
    }
