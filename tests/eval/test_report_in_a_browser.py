"""The report in a real browser: legible, complete, offline, accessible by keyboard, in both colour schemes.

Chromium is Debian's (``apt-get install chromium``). Without it these tests are skipped, or fail if
``REQUIRE_ALL_TESTS`` is 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from test_report import make_run

from factcensus.eval.report.page import render_report
from factcensus.eval.runs import summary_of

#: Elements that extend beyond the window without scrolling.
CUT = """() => [...document.querySelectorAll("body *")]
  .filter((each) => !each.closest(".scroll, pre, svg, .skip") && each.checkVisibility())
  .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
  .map((each) => each.outerHTML.slice(0, 80))"""
#: Height of the smallest letters of plots on the screen.
LETTERS = """() => Math.min(...[...document.querySelectorAll("figure svg text")]
  .map((each) => each.getBoundingClientRect().height).filter((height) => height > 0))"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(oracle=True)
    said = [f"{subject} lived in Antofagasta" for subject in run.facts["subject"]]
    prompts = [f"Where did {subject} live, and for how long before the war?" for subject in run.facts["subject"]]
    run = replace(run, facts=run.facts.assign(generation=said, prompt=prompts))
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_report(run, summary_of(run)), encoding="utf-8")
    return path


def opened(browser: Browser, file: Path, width: int, scheme: str) -> tuple[Page, list[str]]:
    """Open the page with everything unfolded; return it with its requests to other addresses."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    return page, asked


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_nothing_is_cut_off_and_plots_are_legible(browser: Browser, file: Path, width: int, scheme: str) -> None:
    page, asked = opened(browser, file, width, scheme)
    assert page.evaluate(CUT) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(LETTERS) >= 8
    assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_report_has_no_accessibility_faults_that_axe_finds(
    browser: Browser, file: Path, violations: Callable[[Page], list[str]], width: int, scheme: str
) -> None:
    page, _ = opened(browser, file, width, scheme)
    assert violations(page) == []
    page.close()


def test_every_scrolling_table_is_reachable_by_keyboard(browser: Browser, file: Path) -> None:
    page, _ = opened(browser, file, 360, "light")
    wide = page.evaluate(
        "() => [...document.querySelectorAll('.scroll')].filter((each) => each.scrollWidth > each.clientWidth).length"
    )
    reached = page.evaluate(
        "() => [...document.querySelectorAll('.scroll')]"
        ".filter((each) => { each.focus(); return document.activeElement === each; }).length"
    )
    assert reached >= wide > 0
    page.close()


def test_figures_are_saved_as_svg_and_png(browser: Browser, file: Path) -> None:
    page = browser.new_page(accept_downloads=True, color_scheme="dark")
    page.goto(file.as_uri())
    figures = page.locator("figure")
    for place in (0, figures.count() - 1):
        name = figures.nth(place).locator("[data-png]").get_attribute("data-png")
        with page.expect_download() as saved:
            figures.nth(place).get_by_role("link", name="as SVG").click()
        assert saved.value.suggested_filename == f"{name}.svg"
        assert saved.value.path().read_text(encoding="utf-8").startswith("<svg")
        with page.expect_download() as saved:
            figures.nth(place).get_by_role("button", name="as PNG").click()
        assert saved.value.suggested_filename == f"{name}.png"
        assert saved.value.path().read_bytes().startswith(b"\x89PNG")
    page.close()


def test_colours_follow_the_colour_scheme(browser: Browser, file: Path) -> None:
    ground = {}
    for scheme in ("light", "dark"):
        page, _ = opened(browser, file, 800, scheme)
        ground[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
        ink = page.evaluate("getComputedStyle(document.body).color")
        strokes = page.evaluate(
            "[...document.querySelectorAll('figure svg path')].map((each) => getComputedStyle(each).stroke)"
        )
        assert ink in strokes, "the ink of the plots is that of the page"
        page.close()
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 22, 27)"}


def test_answers_are_visible_and_can_be_searched(browser: Browser, file: Path) -> None:
    page, _ = opened(browser, file, 1280, "light")
    table = page.locator("#said table").first
    region = table.locator("xpath=..")
    end = region.evaluate("(each) => each.getBoundingClientRect().right")
    for column in ("expected", "said before", "said after", "answered"):
        head = table.get_by_role("columnheader", name=column, exact=True).bounding_box()
        assert head is not None
        assert head["x"] + head["width"] <= end, f"{column} is visible without scrolling"
    rows = page.locator("#said tbody tr")
    wanted = rows.first.locator("th").inner_text()
    page.get_by_label("Show only rows with").fill(wanted.upper())
    shown = rows.locator("visible=true")
    assert shown.count() == rows.filter(has_text=re.compile(re.escape(wanted), re.IGNORECASE)).count() > 0
    status = page.locator("#said").get_by_role("status")
    assert status.inner_text() == f"{shown.count():,} of {rows.count():,} rows"
    page.close()


def test_text_is_spelled_for_readers(browser: Browser, file: Path) -> None:
    """A percent sign that is apart from its number begins a line on a narrow screen."""
    page, _ = opened(browser, file, 390, "light")
    text = page.locator("main").inner_text()
    assert re.findall(r"[^\n]{0,20}[0-9]\s%", text) == []
    assert re.findall(r"[^\n]{0,20}`[^\n]{0,20}", text) == []
    page.close()
