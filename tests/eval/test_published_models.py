"""``factcensus reproduce olmo`` and ``pythia``: the files of the full studies, and the same steps with tiny models."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.reproduce.published_models.facts import fact_table, read_pairs
from factcensus.eval.reproduce.published_models.files import steps_of
from factcensus.eval.reproduce.published_models.studies import AUTHOR, CAPITAL, PAPER, RELATIONS, STUDIES
from factcensus.eval.reproduce.published_models.tiny import INDEX_FILES
from factcensus.indexer.cli import main
from factcensus.unlearn.config.files import load_config


def test_full_study_is_written_before_and_completed_after_its_sources_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "study"
    assert main(["reproduce", "olmo", "--size", "paper", "--out", str(out), "--json"]) == 0
    assert "download" in json.loads(capsys.readouterr().out)["next"]
    assert not (out / "facts.jsonl").exists()
    for relation in RELATIONS:
        assert relation.query == (out / "sources" / f"{relation.name}.rq").read_text()
        (out / "sources" / f"{relation.name}.csv").write_text("subject,object\nAtlan,Port\nBrill,Quay\n")
    assert main(["reproduce", "olmo", "--size", "paper", "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["facts"] == len((out / "facts.jsonl").read_text().splitlines())


@pytest.mark.parametrize("study", STUDIES)
def test_configurations_are_valid_and_large_models_are_sharded(study: str, tmp_path: Path) -> None:
    assert main(["reproduce", study, "--size", "paper", "--out", str(tmp_path)]) == 0
    script = (tmp_path / "steps.sh").read_text()
    for model in STUDIES[study]:
        full, lora = (load_config(tmp_path / model.name / f"{kind}.toml") for kind in ("full", "lora"))
        assert (full.model, full.revision, full.template) == (model.model, model.revision, model.template)
        assert full.fsdp == (model.gpus > 1)
        assert not lora.fsdp
        assert all(method.adapter is not None for method in lora.methods)
        assert not {method.name for method in full.methods} & {method.name for method in lora.methods}
        steps = list(steps_of(model, PAPER))
        assert all(step.line in script for step in steps)
        plans = [step.arguments for step in steps if step.arguments[:2] == ("unlearn", "plan")]
        assert {("1" in plan, "8" in plan) for plan in plans} >= {(True, False), (False, True)}
        assert f"accelerate launch --num_processes {model.gpus}" in script or model.gpus == 1
        for url in model.index.urls:
            assert url in script
    assert script.count("--dry-run") == len({model.index.name for model in STUDIES[study]}), "one count per index"


def test_facts_have_one_object_that_their_name_does_not_contain() -> None:
    given = [("Peru", "Lima"), ("Bolivia", "Sucre"), ("Bolivia", "La Paz"), ("Mexico", "Mexico City"), ("Chad", "Chad")]
    table = fact_table({CAPITAL: given, AUTHOR: [("Emma", "Jane Austen")]}, 5).to_pylist()
    real = [row for row in table if row["role"] != "phantom"]
    assert [(row["subject"], row["object"]) for row in real] == [("Peru", "Lima"), ("Emma", "Jane Austen")]
    assert real[0]["question"] == "What is the capital of Peru?"
    assert real[1]["cloze"] == "Emma was written by"
    phantoms = [row for row in table if row["role"] == "phantom"]
    assert len(phantoms) == 10
    assert {row["object"] for row in phantoms} == {"Lima", "Jane Austen"}
    assert len({row["fact_id"] for row in table}) == len(table)


def test_roles_depend_on_the_subject_alone() -> None:
    names = [(f"Land {number}", "Town") for number in range(400)]
    of = {row["subject"]: row["role"] for row in fact_table({CAPITAL: names}, 0).to_pylist()}
    again = {row["subject"]: row["role"] for row in fact_table({CAPITAL: names[::-3]}, 0).to_pylist()}
    assert again.items() <= of.items()
    shares = {role: sum(each == role for each in of.values()) / 400 for role in set(of.values())}
    assert shares["forget"] == pytest.approx(0.45, abs=0.08)
    assert shares["retain"] == pytest.approx(0.45, abs=0.08)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("country,capital\nPeru,Lima\n", "the columns country, capital; expected rows with subject and object"),
        ("subject,object\n", "0 rows"),
    ],
)
def test_invalid_sources_are_refused(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "capital.csv"
    path.write_text(content)
    with pytest.raises(EvaluationInputError, match=said):
        read_pairs(path)
    with pytest.raises(EvaluationInputError, match="no usable fact"):
        fact_table({CAPITAL: [("Chad", "Chad")]})


@pytest.mark.parametrize(
    ("study", "classes"),
    [("pythia", {"gpt_neox"}), pytest.param("olmo", {"olmo", "olmo2"}, marks=pytest.mark.full)],
)
def test_all_steps_run_with_tiny_models_of_the_same_classes(
    study: str, classes: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACTCENSUS_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "study"
    assert main(["reproduce", study, "--out", str(out)]) == 0
    made = {json.loads(path.read_text())["model_type"] for path in out.glob("work/models/*/config.json")}
    assert made == classes
    assert sorted(path.name for path in (out / "work" / "site").iterdir()) == sorted(INDEX_FILES)
    counted = pq.read_table(out / "counts" / "tiny.parquet").to_pylist()
    for row in counted:
        number = int(row["subject"].split()[-1]) if row["role"] != "phantom" else None
        assert row["cooccurrence_documents"] == (0 if number is None else 2 ** (number % 6)), row["subject"]
    log = (out / "work" / "steps.log").read_text()
    assert log.count("in each of 8 processes") == 2 * len(classes)
    folders = [path.parent for path in out.glob("*/full.toml")]
    assert len(folders) == len(classes)
    for folder in folders:
        summary = json.loads((folder / "full" / "summary.json").read_text())
        assert {each["name"] for each in summary["methods"]} == {"grad_diff", "never_seen"}
        assert "never_seen_lora" in (folder / "report.html").read_text()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*/summary.json")}
    assert main(["reproduce", study, "--out", str(out)]) == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}, "finished steps are kept"
