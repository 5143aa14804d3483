"""Sections of the report from real runs: two models of different sizes, unlearned, attacked, with a served corpus."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_report import Page

from factcensus.eval.attacks.target import AttackSettings
from factcensus.eval.evaluator import StandardEvaluator
from factcensus.eval.extras import Extras
from factcensus.eval.model_run import extend_run
from factcensus.eval.report.cost import cost
from factcensus.eval.report.extreme_facts import extreme_facts
from factcensus.eval.report.section import ReportData
from factcensus.eval.runs import parameters_of, read_run, summary_of, with_passages
from factcensus.eval.service import serving
from factcensus.indexer import CountIndex, build_index, count_facts, read_facts, stratify, write_table
from factcensus.indexer.cli import main
from factcensus.unlearn import PretrainSettings, WorldSettings, pretrain, run_unlearning, write_world
from factcensus.unlearn.config.run_config import check_config
from factcensus.unlearn.models import parameter_count
from factcensus.unlearn.progress import Progress
from factcensus.unlearn.selection import read_fact_table, select

WIDTHS = {"small": 16, "large": 32}


@dataclass(frozen=True)
class Made:
    """The folders of the index and of each run."""

    index: Path
    runs: dict[str, Path]

    def table(self, name: str) -> pd.DataFrame:
        """Read a table of the larger run."""
        return pd.read_parquet(self.runs["large"] / f"{name}.parquet")


class Powercap:
    """A machine with energy counters that add half a joule at every progress report."""

    def __init__(self, folder: Path) -> None:
        package = folder / "intel-rapl:0"
        package.mkdir(parents=True)
        (package / "name").write_text("package-0\n")
        (package / "max_energy_range_uj").write_text("262143328850")
        self._microjoules, self._file = 0, package / "energy_uj"
        self.progress()

    def progress(self, _: Progress | None = None) -> None:
        """Record the progress of a run."""
        self._microjoules += 500_000
        self._file.write_text(str(self._microjoules))


class Asking(StandardEvaluator):
    """The standard evaluator without a report for each run."""

    def finish(self, run_folder: Path) -> None:
        pass


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("real")
    people = WorldSettings(people=24, exposures=(4, 16), objects=3, phantoms=8, question_copies=2)
    world = write_world(folder / "world", people, 0)
    build_index([world / "corpus"], folder / "corpus-index")
    with CountIndex.open(folder / "corpus-index") as index:
        counted = count_facts(index, read_facts(world / "facts.jsonl"))
    strata = folder / "strata.parquet"
    write_table(stratify(counted, bins="edges:1,8"), strata)
    runs = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, width in WIDTHS.items():
            sizes = PretrainSettings(width=width, layers=1, heads=2, feed_forward=64, epochs=3, learning_rate=1e-2)
            model = pretrain(world, folder / f"model-{name}", sizes, 0)
            config = check_config(
                {
                    "model": str(model),
                    "facts": str(strata),
                    "out": str(folder / name),
                    "device": "cpu",
                    "save_models": True,
                    "threads": 1,
                    "methods": ["simnpo", "idk"],
                    "training": {"learning_rate": 2e-3, "passes": 1, "batch_forget": 16, "batch_retain": 16},
                }
            )
            meter = Powercap(folder / f"powercap-{name}")
            patch.setattr("factcensus.unlearn.planning.energy.POWERCAP", folder / f"powercap-{name}")
            runs[name] = run_unlearning(config, Asking(forms=("question", "cloze"), labels=False), meter.progress)
    facts = select(read_fact_table(strata), config.selection, 0).facts
    settings = AttackSettings(relearn_rate=1e-3, relearn_steps=(2, 4), bits=(4,), samples=8)
    extras = Extras(("relearn", "quantise", "membership"), settings, ("Where was Ada born?", "Where did Ada study?"))
    extend_run(runs["large"], facts, extras, methods=["simnpo", "idk"])
    return Made(folder / "corpus-index", runs)


@pytest.fixture(scope="module")
def page(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Page:
    out = tmp_path_factory.mktemp("report") / "report.html"
    assert main(["report", str(made.runs["large"]), str(made.runs["small"]), "--out", str(out)]) == 0
    return Page(out.read_text())


def test_hidden_knowledge_is_shown_by_model_size(made: Made, page: Page) -> None:
    panels = [each["aria-label"] for each in page.of("svg") if each.get("role") == "img"]
    assert "Threshold-free index by model size and method." in panels
    rows = page.download(f"side-by-side-{panels.index('Threshold-free index by model size and method.') + 1}.csv")
    found = {(float(row["parameters"]), row["method"]): float(row["value"]) for row in rows}
    expected = {}
    for name, run in made.runs.items():
        read = read_run(run)
        size = parameters_of(read)
        assert size == parameter_count(str(run.parent / f"model-{name}"), None)
        for method in summary_of(read)["methods"]:
            expected[float(size or 0), method["name"]] = method["misalignment"]["agreement"]["excess"]
    assert found == pytest.approx(expected, rel=1e-5)
    assert len({size for size, _ in found}) == len(WIDTHS)


def test_cost_is_measured_for_every_cell(made: Made) -> None:
    run = read_run(made.runs["large"])
    section = cost(ReportData(run, {}, {}))
    assert section is not None
    assert "rapl:package-0" in section.lead
    for row in section.tables[0].rows:
        done = json.loads((made.runs["large"] / "cells" / row[0] / "done.json").read_text())
        assert row[2] == str(done["steps"])
        assert row[7] == f"{done['training']['peak_memory_bytes'] / 2**20:,.0f} MiB"
        joules = done["training"]["energy_joules"]
        assert row[8] == f"{joules:.3g} J"
        assert joules >= 0.5
        [planned] = [each for each in run.records[0]["costs"] if each["method"] == row[0]]
        mega = planned["estimated_flop"] / 1e6
        assert row[6] in (f"{mega:.3g} MFLOP", f"{mega / 1e3:.3g} GFLOP")
    assert {row[0] for row in section.tables[0].rows} == {"simnpo", "idk"}


def test_attacks_by_stratum_agree_with_their_facts(made: Made, page: Page) -> None:
    facts = made.table("attack_facts")
    relearned = facts[(facts["attack"] == "relearn") & (facts["part"] == "held_out") & (facts["form"] == "question")]
    strongest = relearned[relearned["level"] == 4]
    expected = strongest.groupby(["method", "stratum_label"])["score"].mean().to_dict()
    rows = [row for row in page.download("attacks-1.csv") if row["part"] == "held_out"]
    assert {(row["method"], row["stratum_label"]): float(row["value"]) for row in rows} == pytest.approx(
        expected, rel=1e-5
    )
    assert {row["stratum_label"] for row in rows} == {"1–7", "8+"}
    by_level = {(row["method"], float(row["level"])): float(row["value"]) for row in page.download("attacks-2.csv")}
    assert by_level == pytest.approx(relearned.groupby(["method", "level"])["score"].mean().to_dict(), rel=1e-5)
    shown = page.download("attacks-table-1.csv")
    assert {row["attack"] for row in shown} == {"relearn 4 steps", "quantise 4 bits", "membership"}


def test_utility_by_distance_agrees_with_the_facts(made: Made, page: Page) -> None:
    facts = made.table("facts")
    near = facts[(facts["neighbour_distance"] == 2) & (facts["form"] == "question") & (facts["method"] == "idk")]
    [row] = [
        each for each in page.download("utility-table-1.csv") if (each["model"], each["form"]) == ("idk", "question")
    ]
    assert row["same object"] == f"{near['match'].mean():.0%}"
    texts = {each["measure"]: each for each in page.download("utility-table-2.csv")}
    measured = made.table("utility").set_index(["method", "measure"])["value"]
    assert texts["perplexity, neutral text"]["idk"].startswith(f"{measured['idk', 'perplexity']:.3g} [")


def test_passages_come_from_the_served_corpus(made: Made, tmp_path: Path) -> None:
    run = read_run(made.runs["large"])
    with serving([made.index], tmp_path / "service.log") as url:
        section = extreme_facts(ReportData(with_passages(run, url, None), {"methods": [{"name": "simnpo"}]}, {}))
    assert section is not None
    shown: list[Any] = [row for table in section.tables for row in table.rows]
    assert shown
    assert all(row[0].casefold() in row[-1] and row[1].casefold() in row[-1] for row in shown)
