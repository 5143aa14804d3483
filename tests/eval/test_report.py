from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from planted import planted_facts

from factcensus.eval.findings import findings
from factcensus.eval.printed import summary_text
from factcensus.eval.report import render_report
from factcensus.eval.run_folder import Run, summary_of

METHODS = ("simnpo", "simnpo_count")
VOID = {"meta", "br", "path", "use", "rect", "circle", "line", "link", "input", "img"}


def make_run(slope: float = 0.5, **options: Any) -> Run:
    facts = pd.concat([planted_facts(seed=seed, people=28, slope=slope, methods=METHODS, **options) for seed in (0, 1)])
    facts = facts.assign(index="world", index_digest="sha256:abc", analyzer="words/1")
    steps = pd.DataFrame(
        [
            {"seed": seed, "method": method, "step": step, "forget_loss_nats": 3 * np.exp(-step / 9),
             "retain_loss_nats": 0.1, "lost_update_share": 0.01}
            for seed in (0, 1) for method in METHODS for step in range(1, 20)
        ]
    )  # fmt: skip
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
    """What stands on a page: ids, links, tags, and whether every element is closed in order."""

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

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_page_is_well_formed_and_loads_nothing(page: str) -> None:
    parsed = Page(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert all(link.startswith("#") and link[1:] in parsed.ids for link in parsed.links)
    assert not re.search(r"url\(\s*['\"]?(?!#)", page)
    assert "@import" not in page


def test_every_plot_has_a_text_alternative_and_every_table_a_caption(page: str) -> None:
    parsed = Page(page)
    drawings = parsed.of("svg")
    assert len(drawings) > 10
    assert all(each.get("aria-hidden") == "true" or (each["role"] == "img" and each["aria-label"]) for each in drawings)
    assert len(parsed.of("table")) == len(parsed.of("caption")) > 6
    assert [each["lang"] for each in parsed.of("html")] == ["en"]


def test_what_users_wrote_cannot_become_markup(run: Run, summary: dict[str, Any], page: str) -> None:
    assert "</pre><script>x" not in page
    titled = render_report(run, summary, title="<b>Mine & yours</b>")
    assert "<title>&lt;b&gt;Mine &amp; yours&lt;/b&gt;</title>" in titled


def test_page_says_where_its_numbers_come_from_and_how_many_facts_they_rest_on(
    page: str, summary: dict[str, Any]
) -> None:
    for text in ("sha256:abc", "sha256:def", "words/1", "torch"):
        assert text in page
    for stratum in summary["methods"][0]["forgotten_by_stratum"]["cloze"]:
        assert f"n={stratum['generation']['n']}" in page


def test_the_same_run_gives_the_same_page(run: Run, summary: dict[str, Any], page: str) -> None:
    assert render_report(run, summary) == page


def test_findings_name_a_planted_effect_and_the_oracle(summary: dict[str, Any]) -> None:
    said = dict(findings(summary))
    assert any("frequent facts lost less with" in sentence for sentence in said["Asked as a cloze"])
    assert any("a model that never read about" in sentence for sentence in said["Asked as a cloze"])
    assert any("Two seeds are pooled" in sentence for sentence in said["Beyond that"])


def test_a_null_result_says_how_large_an_effect_would_have_been_found() -> None:
    run = make_run(slope=0.0)
    summary = summary_of(run)
    effect = summary["methods"][0]["slope_per_decade"]["question"]["minimum_detectable_effect"]
    said = dict(findings(summary))["Asked as a question"]
    assert any(
        "no effect was shown" in sentence and "would have been found 4 times in 5" in sentence for sentence in said
    )
    assert f"±{effect:.2f}" in render_report(run, summary)


def test_a_negative_slope_is_said_to_be_one() -> None:
    said = dict(findings(summary_of(make_run(slope=-1.0))))
    assert any("frequent facts lost more with" in sentence for sentence in said["Asked as a cloze"])


def test_one_model_alone_has_a_report_too(run: Run) -> None:
    alone = Run(run.folders, ({},), run.facts[run.facts["method"] == "original"], pd.DataFrame())
    page = render_report(alone, summary_of(alone))
    Page(page)
    assert "What the original model knew" in page
    assert "Does frequency protect a fact?" not in page


def test_plain_table_has_a_row_a_method_a_column_a_stratum_and_every_seeds_slope(summary: dict[str, Any]) -> None:
    text = summary_text(summary)
    lines = [line for line in text.splitlines() if line.startswith("simnpo ")]
    assert len(lines) == 2, "one a form"
    assert all(line.count("%") == 3 for line in lines)
    assert "seed 0  seed 1" in " ".join(text.split("  ")) or re.search(r"seed 0\s+seed 1", text)
    slope = summary["methods"][0]["slope_per_decade"]["question"]
    for value in (slope["value"], *(seed["value"] for seed in slope["per_seed"])):
        assert f"{value:+.2f}" in lines[0]
    assert len({len(line.rstrip()) for line in lines}) == 1
