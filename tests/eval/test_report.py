from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from planted import planted_facts
from test_runs import write_run

from factcensus.eval.passages import Passages
from factcensus.eval.report.balance import front
from factcensus.eval.report.extreme_facts import extreme_facts
from factcensus.eval.report.findings import findings, headline
from factcensus.eval.report.page import render_report
from factcensus.eval.report.printed import summary_text
from factcensus.eval.report.said import MOST_ROWS, said
from factcensus.eval.report.section import ReportData
from factcensus.eval.runs import Run, summary_of
from factcensus.eval.statistics.intervals import wilson
from factcensus.indexer.cli import main

METHODS = ("simnpo", "simnpo_count")
VOID = {"meta", "br", "path", "use", "rect", "circle", "line", "link", "input", "img"}


def make_run(slope: float = 0.5, **options: Any) -> Run:
    facts = pd.concat([planted_facts(seed=seed, people=28, slope=slope, methods=METHODS, **options) for seed in (0, 1)])
    facts = facts.assign(index="world", index_digest="sha256:abc", analyzer="words/2")
    steps = pd.DataFrame(
        [
            {
                "seed": seed,
                "method": method,
                "step": step,
                "forget_loss_nats": 3 * np.exp(-step / 9),
                "retain_loss_nats": 0.1,
                "lost_update_share": 0.01,
            }
            for seed in (0, 1)
            for method in METHODS
            for step in range(1, 20)
        ]
    )
    record = {"seed": 0, "versions": {"torch": "2.13"}, "model": {"digest": "sha256:def"}, "note": "</pre><script>x"}
    return Run((Path("a"),), (record,), facts, steps)


@pytest.fixture(scope="module")
def run() -> Run:
    return make_run(oracle=True)


@pytest.fixture(scope="module")
def summary(run: Run) -> dict[str, Any]:
    return summary_of(run, seconds=61.0)


@pytest.fixture(scope="module")
def page(run: Run, summary: dict[str, Any]) -> str:
    return render_report(run, summary)


class Page(HTMLParser):
    """The elements of a page: ids, links and tags, and whether all elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.links += [value for name, value in attrs if name in ("href", "xlink:href", "src") and value]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def download(self, name: str) -> list[dict[str, str]]:
        """Return the rows of a CSV file that the page offers."""
        return list(csv.DictReader(io.StringIO(self.file(name))))

    def file(self, name: str) -> str:
        """Return the content of a file that the page offers."""
        [link] = [each for each in self.of("a") if each.get("download") == name]
        return unquote(str(link["href"]).partition(",")[2])

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_page_is_well_formed_and_loads_nothing(page: str) -> None:
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    inside = [link for link in parsed.links if not link.startswith(("data:text/csv", "data:image/svg+xml"))]
    assert all(link.startswith("#") and link[1:] in parsed.ids for link in inside)
    assert not re.search(r"url\(\s*['\"]?(?!#)", page)
    assert "@import" not in page


def test_data_of_every_plot_and_table_can_be_downloaded(page: str, summary: dict[str, Any]) -> None:
    parsed = Page(page)
    links = [each for each in parsed.of("a") if (each.get("href") or "").startswith("data:text/csv")]
    names = [each["download"] for each in links]
    assert len(names) == len(set(names)) > 20
    plots = [each for each in parsed.of("svg") if each.get("role") == "img"]
    assert sum("table" not in str(name) for name in names) == len(plots)
    rows = parsed.download("forgetting-1.csv")
    found = summary["methods"][0]["forgotten_by_stratum"]["question"]
    assert [float(row["generation_value"]) for row in rows if row["method"] == "simnpo"] == pytest.approx(
        [stratum["generation"]["value"] for stratum in found], rel=1e-5
    )


def test_every_plot_can_be_saved_as_an_svg_file_that_stands_alone(page: str) -> None:
    parsed = Page(page)
    plots = [each for each in parsed.of("svg") if each.get("role") == "img"]
    names = [str(each["download"]) for each in parsed.of("a") if str(each.get("download")).endswith(".svg")]
    assert len(names) == len(set(names)) == len(plots)
    for name in names:
        text = parsed.file(name)
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.findtext("{http://www.w3.org/2000/svg}title")
        assert "var(" not in text, "the file does not need the style sheet of the page"
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= set(re.findall(r'\bid="([^"]+)', text))
    legend = ElementTree.fromstring(parsed.file("forgetting-1.svg"))
    assert {*METHODS} <= {each.text for each in legend.iter("{http://www.w3.org/2000/svg}text")}


def test_drawings_use_the_colours_of_the_page_so_that_dark_mode_is_legible(page: str) -> None:
    assert "prefers-color-scheme: dark" in page
    for name in ("--ink", "--m1", "--m2", "--line"):
        assert f"var({name}, #" in page
        assert page.count(f"{name}: #") == 2, "once for each background"
    assert not re.search(r"(?<!, )#1b1f24(?=[;\"])(?!;)", page.partition("<body>")[2])


def test_headline_has_the_numbers_of_the_method_that_forgot_most(summary: dict[str, Any]) -> None:
    said = headline(summary)
    assert said is not None
    assert said.startswith("Asked as a cloze, simnpo")
    assert re.search(r"the odds of forgetting fell [\d.,e+]+-fold \[[\d.,e+]+, [\d.,e+]+\]\. ", said)
    assert re.search(r"\d+% \[\d+%, \d+%\]", said)
    assert "for 2 of 2 methods" in said
    null = headline(summary_of(make_run(slope=0.0)))
    assert null is not None
    assert null.endswith("cannot be estimated: there are too few facts, or all had the same outcome.")


def test_pareto_points_are_not_dominated() -> None:
    assert front([(0.5, 0.5), (0.6, 0.4), (0.4, 0.4), (0.6, 0.3), (0.5, 0.5)]) == [(0.5, 0.5), (0.6, 0.4)]
    assert front([]) == []


class Told(Passages):
    """A service that answers with the names it is asked for."""

    def of(self, subject: str, thing: str) -> str:
        return f"{subject} of {thing} at {self.index}"


def test_extreme_facts_are_named_with_passages_from_the_service() -> None:
    run = make_run()
    rows = (run.facts["fact_id"] == "forget-0-city") & (run.facts["point"] == "after")
    run.facts.loc[rows, ["log_probability", "log_probability_mean"]] = -90.0, -45.0
    phantoms = run.facts["role"] == "phantom"
    run.facts.loc[phantoms, "log_probability_mean"] += np.linspace(-0.5, 0.5, int(phantoms.sum()))
    told = replace(run, passages=Told("http://127.0.0.1:1", "world"))
    section = extreme_facts(ReportData(told, summary_of(run), {}))
    assert section is not None
    resisted, over = section.tables
    assert all(row[6].endswith("of 2") and row[7] == f"{row[0]} of {row[1]} at world" for row in resisted.rows)
    assert [row[0] for row in over.rows] == ["forget 0"] * len(over.rows) != []


def test_the_report_shows_what_the_model_said_before_and_after() -> None:
    run = make_run()
    facts = run.facts.assign(generation=[f"said {number}" for number in range(len(run.facts))], prompt="Where?")
    section = said(ReportData(replace(run, facts=facts), summary_of(run), {}))
    assert section is not None
    for method, table in zip(METHODS, section.tables, strict=True):
        rows = [dict(zip(table.head, row, strict=True)) for row in table.rows]
        after = facts[(facts["method"] == method) & facts["role"].isin(["forget", "phantom"])]
        assert {row["said after"] for row in rows} <= set(after["generation"])
        assert len(rows) == min(MOST_ROWS, len(after))
        before = facts[facts["method"] == "original"].set_index("generation")
        known = after.set_index("generation")
        for row in rows:
            one, other = before.loc[row["said before"]], known.loc[row["said after"]]
            assert [one[key] for key in ("seed", "fact_id", "form")] == [
                other[key] for key in ("seed", "fact_id", "form")
            ]
            assert (row["answered"] == "yes") == bool(other["match"])
            assert (row["group"] == "never seen") == (other["role"] == "phantom")
        answered = [row["answered"] for row in rows if row["group"] == "to forget"]
        assert answered == sorted(answered, reverse=True), "facts that are still answered come first"
        answers = int(after["match"].fillna(False).sum())
        assert table.caption.endswith(f"{answers:,} of {len(after):,} questions answered")


def test_a_run_without_generated_answers_has_no_section_about_them() -> None:
    run = make_run()
    assert said(ReportData(replace(run, facts=run.facts.drop(columns="generation", errors="ignore")), {}, {})) is None


def test_unmeasured_parts_have_no_section(page: str) -> None:
    for title in ("What attacks recover", "What the model can still do", "<h2>Cost</h2>"):
        assert title not in page


def test_runs_of_other_models_are_shown_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = planted_facts(people=21, forms=("cloze",))
    large = planted_facts(people=21, forms=("cloze",), slope=0.8)
    large["log_probability"] += 0.7
    folders = [write_run(tmp_path / name, facts) for name, facts in (("small", small), ("large", large))]
    out = tmp_path / "both.html"
    assert main(["report", *map(str, folders), "--out", str(out)]) == 0
    page = out.read_text()
    Page(page)
    assert "Runs side by side" in page
    assert "large: simnpo" in page
    assert "Hidden knowledge and the size of the model" not in page, "the records state no size"
    assert main(["report", str(folders[0]), str(folders[0]), "--out", str(out)]) == 2
    assert "is given twice" in capsys.readouterr().err


def test_every_plot_has_a_text_alternative_and_every_table_a_caption(page: str) -> None:
    parsed = Page(page)
    drawings = parsed.of("svg")
    assert len(drawings) > 10
    assert all(each.get("aria-hidden") == "true" or (each["role"] == "img" and each["aria-label"]) for each in drawings)
    assert len(parsed.of("table")) == len(parsed.of("caption")) > 6
    assert [each["lang"] for each in parsed.of("html")] == ["en"]


def test_text_of_users_is_escaped(run: Run, summary: dict[str, Any], page: str) -> None:
    assert "</pre><script>x" not in page
    titled = render_report(run, summary, title="<b>Mine & yours</b>")
    assert "<title>&lt;b&gt;Mine &amp; yours&lt;/b&gt;</title>" in titled


def test_page_states_the_source_of_its_numbers_and_the_number_of_facts(page: str, summary: dict[str, Any]) -> None:
    for text in ("sha256:abc", "sha256:def", "words/2", "torch"):
        assert text in page
    for stratum in summary["methods"][0]["forgotten_by_stratum"]["cloze"]:
        assert f"n={stratum['generation']['n']}" in page


def test_the_same_run_gives_the_same_page(run: Run, summary: dict[str, Any], page: str) -> None:
    assert render_report(run, summary) == page


def test_findings_name_a_planted_effect_and_the_oracle(summary: dict[str, Any]) -> None:
    said = dict(findings(summary))
    assert any("frequent facts lost less with" in sentence for sentence in said["Asked as a cloze"])
    assert any("a model that never read about" in sentence for sentence in said["Asked as a cloze"])
    assert any("Two seeds are pooled" in sentence for sentence in said["Overall"])


def test_null_result_states_the_minimum_detectable_effect() -> None:
    run = make_run(slope=0.0)
    summary = summary_of(run)
    effect = summary["methods"][0]["slope_per_decade"]["question"]["minimum_detectable_effect"]
    said = dict(findings(summary))["Asked as a question"]
    assert any("no effect was found" in sentence and "minimum detectable slope" in sentence for sentence in said)
    assert f"±{effect:.2f}" in render_report(run, summary)


def test_negative_slope_is_reported_as_negative() -> None:
    said = dict(findings(summary_of(make_run(slope=-1.0))))
    assert any("frequent facts lost more with" in sentence for sentence in said["Asked as a cloze"])


def test_single_model_has_a_report(run: Run) -> None:
    alone = Run(run.folders, ({},), run.facts[run.facts["method"] == "original"], pd.DataFrame())
    page = render_report(alone, summary_of(alone))
    Page(page)
    assert "What the original model knew" in page
    assert "Does frequency protect a fact?" not in page


def test_plain_table_has_methods_strata_and_the_slope_of_every_seed(summary: dict[str, Any]) -> None:
    text = summary_text(summary)
    lines = [line for line in text.splitlines() if line.startswith("simnpo ")]
    assert len(lines) == 2, "one per form"
    assert all(line.count("%") == 3 for line in lines)
    assert "seed 0  seed 1" in " ".join(text.split("  ")) or re.search(r"seed 0\s+seed 1", text)
    slope = summary["methods"][0]["slope_per_decade"]["question"]
    for value in (slope["value"], *(seed["value"] for seed in slope["per_seed"])):
        assert f"{value:+.2f}" in lines[0]
    assert len({len(line.rstrip()) for line in lines}) == 1


@pytest.mark.parametrize("lost", [20.0, 0.0], ids=["all forgotten", "none forgotten"])
@pytest.mark.parametrize("people", [28, 1])
def test_outcomes_without_variation_are_reported_without_intervals_of_width_0(lost: float, people: int) -> None:
    """Every fact changes by the same number, so no slope or mean can have an interval."""
    facts = planted_facts(people=people, known=1.0, noise=0.0, subject_noise=0.0)
    after = (facts["method"] == "simnpo") & (facts["role"] == "forget")
    facts.loc[after, "log_probability"] = -0.5 - lost
    facts.loc[after, "log_probability_mean"] = (-0.5 - lost) / 2
    facts.loc[after, "match"] = lost == 0
    run = Run((Path("a"),), ({"seed": 0},), facts, pd.DataFrame())
    found = summary_of(run)
    [method] = found["methods"]
    for form in ("question", "cloze"):
        change, misaligned = method["slope_per_decade"][form], method["misalignment"]["by_form"][form]
        assert change["ci95"] is None
        assert change["value"] == (0.0 if people > 1 else None)
        assert misaligned["excess_ci95"] is None
        low, high = misaligned["ci95"]
        assert (low, high) == (0.0, pytest.approx(wilson(0, people)[1], abs=1e-6)), (
            "three facts of a person count as one"
        )
        assert misaligned["agreement"]["ci95"] is None
    assert summary_text(found)
    assert render_report(run, found)
