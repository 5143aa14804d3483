"""The pages in a real browser: with and without scripts, by keyboard, on a narrow screen, in light and dark mode.

They use Debian's Chromium (``apt-get install chromium``). Without it, these tests are skipped, or fail if
``REQUIRE_ALL_TESTS`` is 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from loopback import DOCUMENTS, serving, until
from playwright.sync_api import Page, expect

from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex, build_index, facts_from_rows, read_facts, write_table

ATTACK = '"><img src=x onerror="window.attacked=1"><script>window.attacked=1</script>'
FACT = "/?index=tiny&subject=Curie&object=Warsaw&window=9"
TRACE = "/trace?index=tiny&text=They+say+Curie+was+born+in+Warsaw+in+1867"
#: Every kind of page but those of a table, which is uploaded first.
PAGES = ("/", FACT, f"{FACT}&compare=other", "/?index=tiny&subject=Paris", "/tables", TRACE, "/docs", "/nothing/here")
ARABIC = "القاهرة"
ERROR = "/?index=absent&subject=a&object=b"

#: Script that returns the elements with content outside the window that no scrolling reaches.
CUT = """() => [...document.querySelectorAll("body *")]
  .filter((each) => !each.closest(".scroll, .skip, .unseen, [hidden]") && each.checkVisibility())
  .filter((each) => each.getBoundingClientRect().right > innerWidth + 1)
  .map((each) => each.outerHTML.slice(0, 120))"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the tiny corpus with dates and a script injection in it, a second index, and a table of facts."""
    folder = tmp_path_factory.mktemp("browser")
    rows: list[dict[str, Any]] = [
        {"id": id_, "source": source, "text": text, "created": f"{2001 + place}-05-01"}
        for place, (id_, source, text) in enumerate(DOCUMENTS)
    ]
    rows += [{"id": ATTACK, "source": ATTACK, "text": f"Curie Warsaw {ATTACK}", "note": ATTACK, "url": "javascript:0"}]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build_index([folder / "corpus.jsonl"], folder / "tiny", jobs=1)
    (folder / "other.jsonl").write_text('{"id": "o", "source": "wiki", "text": "Curie, Warsaw"}\n', encoding="utf-8")
    build_index([folder / "other.jsonl"], folder / "other", jobs=1)
    names = ("Curie", "Warsaw", "Paris", "France")
    facts = facts_from_rows([{"subject": one, "object": other} for one in names for other in names])
    with CountIndex.open(folder / "tiny") as index:
        write_table(index.count_facts(facts, windows=[9]), folder / "pairs.parquet")
    with serving(Settings(indexes=(folder / "tiny", folder / "other"), fact_tables=(folder / "pairs.parquet",))) as url:
        yield url


Opened = Callable[..., Page]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = "".join(f"name{number},Paris\n" for number in range(30))
    (tmp_path / "facts.csv").write_text(f"subject,object\nCurie,Warsaw\n{rows}", encoding="utf-8")
    return tmp_path / "facts.csv"


@pytest.mark.parametrize("scripts", [True, False])
def test_a_fact_can_be_entered_and_is_counted(opened: Opened, scripts: bool) -> None:
    page = opened("/", java_script_enabled=scripts)
    page.get_by_role("group", name="Subject").get_by_label("Name").fill("Marie Curie")
    page.get_by_role("group", name="Subject").get_by_label("Aliases").fill("Curie\nMaria Skłodowska")
    page.get_by_role("group", name="Object").get_by_label("Name").fill("Warsaw")
    with page.expect_navigation():
        page.get_by_role("button", name="Count", exact=True).click()
    heading = page.get_by_role("heading", name="Marie Curie and Warsaw in tiny")
    assert heading.is_visible()
    assert page.locator(".large").all_inner_texts() == ["4", "5", "5"]
    with page.expect_navigation():
        page.get_by_role("link", name="books").click()
    assert page.locator(".large").first.inner_text() == "2"
    page.go_back()
    assert page.get_by_label("Aliases").first.input_value() == "Curie\nMaria Skłodowska"
    assert page.get_by_role("button", name="Copy as curl").count() == int(scripts)


@pytest.mark.parametrize("scripts", [True, False])
def test_a_table_can_be_uploaded_watched_and_downloaded(opened: Opened, table: Path, scripts: bool) -> None:
    page = opened("/tables", java_script_enabled=scripts, accept_downloads=True)
    page.get_by_label("Windows").fill("9")
    page.get_by_label("Facts:").set_input_files(table)
    page.get_by_role("button", name="Count the table").click()
    page.get_by_role("heading", name="Strata").wait_for()  # the progress page redirects here
    assert page.get_by_role("img", name="Facts by cooccurrence documents").is_visible()
    assert page.get_by_role("heading", level=1).inner_text() == "facts.csv: 31 facts in tiny"
    assert page.get_by_role("heading", name="Facts that never occur").is_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").first.click()
    counts = read_facts(download.value.path(), "csv").to_pylist()
    assert len(counts) == 31
    assert (counts[0]["subject"], int(counts[0]["cooccurrence_documents_w9"])) == ("Curie", 4)
    page.get_by_label("Bins").fill("edges:1,4")
    with page.expect_navigation():
        page.get_by_role("button", name="Show").click()
    assert page.get_by_role("list", name="Strata").get_by_role("listitem").count() == 2
    with page.expect_navigation():
        page.get_by_role("link", name="Curie").click()
    assert page.get_by_role("heading", name="Curie and Warsaw in tiny").is_visible()


def test_progress_is_updated(opened: Opened, base: str) -> None:
    """The job is simulated, so that every step can be checked."""
    page = opened("/tables")
    job: dict[str, Any] = {"state": "running", "counted": 3, "facts": 9}
    page.route("**/v1/jobs/x", lambda route: route.fulfill(json=job))
    source = page.content()
    script = source[source.index("<script") :]
    body = '<div data-job="v1/jobs/x"><progress max="9" value="0"></progress><p role="status"></p></div>'
    page.route(
        f"{base}/made-up",
        lambda route: route.fulfill(body=f"<!doctype html><body>{body}{script}", content_type="text/html"),
    )
    page.goto("/made-up")
    for counted in (3, 7):
        job["counted"] = counted
        page.get_by_text(f"{counted} of 9 facts counted").wait_for()
        assert page.locator("progress").get_attribute("value") == str(counted)
    with page.expect_navigation():  # when the job is done, the page reloads and shows the strata
        job["state"] = "done"


def test_typed_and_corpus_text_is_never_executed(opened: Opened) -> None:
    page = opened("/")
    for path in (
        FACT,
        f"/?index=tiny&subject=Curie&object={ATTACK}",
        f"/?index={ATTACK}&subject=Curie&object=Warsaw",
        f"/?index=tiny&subject=Curie&object=Warsaw&only={ATTACK}",
        f"/?index=tiny&subject=Curie&object=Warsaw&by={ATTACK}",
        f"/tables/{ATTACK.replace('/', '')}",
    ):
        page.goto(path)
        assert page.evaluate("window.attacked") is None
        assert page.locator("img").count() == 0
    page.goto(FACT)
    page.get_by_text("Metadata").last.click()
    assert page.get_by_role("definition").filter(has_text="window.attacked").is_visible()
    assert page.locator("a[href^='javascript:']").count() == 0


@pytest.mark.parametrize("path", [*PAGES, ERROR])
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light"), (390, "light"), (1280, "dark")])
def test_pages_are_accessible_and_fit_the_window(
    opened: Opened, violations: Callable[[Page], list[str]], path: str, width: int, scheme: str
) -> None:
    page = opened(path, color_scheme=scheme, viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page itself does not scroll sideways"
    assert page.evaluate(CUT) == []
    assert violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_counted_table_is_accessible_and_fits_a_phone(
    opened: Opened, violations: Callable[[Page], list[str]], table: Path, scheme: str
) -> None:
    page = opened("/tables", color_scheme=scheme, viewport={"width": 390, "height": 800})
    page.get_by_label("Facts:").set_input_files(table)
    page.get_by_role("button", name="Count the table").click()
    page.get_by_role("heading", name="Strata").wait_for()
    assert page.evaluate(CUT) == []
    assert violations(page) == []
    page.goto("/tables")
    page.get_by_role("link", name="facts.csv").first.wait_for()
    assert violations(page) == []


def test_wide_tables_show_that_they_scroll(opened: Opened) -> None:
    page = opened(FACT, viewport={"width": 390, "height": 800})
    region = page.get_by_role("region", name="Counts by source")
    wide, seen = region.evaluate("(each) => [each.scrollWidth, each.clientWidth]")
    assert wide > seen
    assert "linear-gradient" in region.evaluate("(each) => getComputedStyle(each).backgroundImage")
    region.evaluate("(each) => { each.scrollLeft = each.scrollWidth; }")
    first = region.locator("tbody th").first
    assert first.bounding_box()["width"] >= 90, "names are legible"  # type: ignore[index]
    assert first.bounding_box()["x"] >= region.bounding_box()["x"] - 1, "the first column stays in place"  # type: ignore[index]


def test_names_are_completed_by_keyboard(opened: Opened, violations: Callable[[Page], list[str]]) -> None:
    page = opened("/")
    field = page.locator("#subject")
    field.focus()
    page.keyboard.type("Marie Cu")
    options = page.get_by_role("listbox", name="Suggestions for the subject").get_by_role("option")
    expect(options.first).to_have_text(re.compile("^Marie Curie"))  # the list of fewer letters may come first
    assert field.get_attribute("aria-expanded") == "true"
    page.keyboard.press("ArrowDown")
    assert field.get_attribute("aria-activedescendant") == options.first.get_attribute("id")
    assert options.first.get_attribute("aria-selected") == "true"
    assert violations(page) == []
    page.keyboard.press("Enter")
    assert field.input_value() == "Marie Curie"
    assert field.get_attribute("aria-expanded") == "false"
    page.keyboard.type(" ")
    page.keyboard.press("Backspace")
    page.keyboard.press("Backspace")
    options.first.wait_for()
    page.keyboard.press("Escape")
    assert field.get_attribute("aria-expanded") == "false"
    assert field.input_value() == "Marie Curi"
    with page.expect_navigation():  # without a chosen name, Enter sends the form
        page.keyboard.press("Enter")


def test_a_name_can_be_chosen_with_the_pointer(opened: Opened) -> None:
    page = opened("/")
    page.locator("#object").press_sequentially("war")
    page.get_by_role("option", name="warsaw").click()
    assert page.locator("#object").input_value() == "warsaw"
    assert page.locator("#object").evaluate("(each) => each === document.activeElement")


def test_examples_can_be_clicked(opened: Opened) -> None:
    page = opened("/")
    examples = page.locator(".examples a")
    assert examples.count() == 5
    name, documents = examples.last.inner_text(), page.locator(".examples .hint").last.inner_text()
    with page.expect_navigation():
        examples.last.click()
    assert page.get_by_role("heading", name=f"{name} in tiny").is_visible()
    assert page.locator(".large").first.inner_text() == documents.split(" ")[0]


def test_figures_are_saved_as_svg_and_png(opened: Opened) -> None:
    page = opened(FACT, accept_downloads=True)
    names = page.locator("figure").evaluate_all("(all) => all.map((each) => each.id)")
    assert names == ["by-value", "documents-by-year", "share-by-year", "facts-by-count"]
    for name in names:
        figure = page.locator(f"figure#{name}")
        with page.expect_download() as saved:
            figure.get_by_role("link", name="as SVG").click()
        assert saved.value.suggested_filename == f"{name}.svg"
        root = ElementTree.fromstring(saved.value.path().read_text(encoding="utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert "var(" not in ElementTree.tostring(root, "unicode"), "the file does not need the page"
        shown = figure.locator("svg.chart rect").count()
        svg = "{http://www.w3.org/2000/svg}"
        assert len(root.findall(f"{svg}svg/{svg}rect")) == shown
        with page.expect_download() as saved:
            figure.get_by_role("button", name="as PNG").click()
        assert saved.value.suggested_filename == f"{name}.png"
        assert saved.value.path().read_bytes().startswith(b"\x89PNG")


def test_two_indexes_are_compared_side_by_side(opened: Opened) -> None:
    page = opened("/")
    page.get_by_text("More options: another column, dates, a second index").click()
    page.get_by_label("Compare with another index").select_option("other")
    page.locator("#subject").fill("Curie")
    with page.expect_navigation():
        page.get_by_role("button", name="Count", exact=True).click()
    section = page.locator("section", has=page.get_by_role("heading", name="tiny and other side by side"))
    rows = section.locator(".scroll").last.locator("tr").all_inner_texts()
    assert rows[0].split() == ["tiny", "other"]
    assert rows[1].split() == ["documents", "5", "1"]
    assert rows[2].split("\t")[1:] == ["714,286", "1,000,000"]


def test_the_links_of_a_result_copy_its_command(opened: Opened) -> None:
    page = opened(FACT, permissions=["clipboard-read", "clipboard-write"])
    for name, id_ in (("Copy as curl", "command"), ("Copy as Python", "python")):
        page.get_by_role("link", name=name).click()
        page.get_by_role("status").filter(has_text="copied").first.wait_for()
        wanted = page.locator(f"#{id_}").inner_text()
        until(lambda wanted=wanted: page.evaluate("navigator.clipboard.readText()") == wanted)
    page.get_by_role("link", name="Cite").click()
    assert "urldate" in page.locator("#citation").inner_text()


def test_every_route_can_be_tried_in_the_reference(opened: Opened, base: str) -> None:
    facts = {"facts": [{"subject": "Curie", "object": "Warsaw"}]}
    sent = httpx.post(f"{base}/v1/indexes/tiny/facts:count", json=facts, headers={"Prefer": "respond-async"})
    job = sent.json()["id"]
    until(lambda: httpx.get(f"{base}/v1/jobs/{job}").json()["state"] == "done")
    page = opened("/docs")
    routes = page.evaluate("fetch('openapi.json').then((answer) => answer.json())")["paths"]
    forms = page.locator("details.try form")
    assert forms.count() == sum(map(len, routes.values()))
    order = sorted(range(forms.count()), key=lambda place: forms.nth(place).get_attribute("data-method") == "DELETE")
    for place in order:
        form = forms.nth(place)
        form.locator("xpath=..").evaluate("(each) => { each.open = true; }")
        if form.locator("[name=job]").count():
            form.locator("[name=job]").fill(job)
        form.get_by_role("button", name="Send").click()
        status = form.get_by_role("status")
        status.filter(has_text=re.compile("^[1-5]")).wait_for()
        assert status.inner_text()[:3] in ("200", "202", "204"), (form.get_attribute("data-path"), form.inner_text())
    assert httpx.get(f"{base}/v1/jobs/{job}").status_code == 404


def test_the_contents_of_the_reference_lead_to_every_route(opened: Opened) -> None:
    page = opened("/docs")
    contents = page.get_by_role("navigation", name="Contents").get_by_role("link")
    assert contents.count() == page.locator("details.try").count() + 1, "every route, and the data types"
    contents.nth(1).click()
    assert page.locator(page.evaluate("location.hash")).is_visible()


def test_a_missing_page_links_to_the_start(opened: Opened) -> None:
    page = opened("/no/such/page")
    assert page.get_by_role("heading", name="This page does not exist").is_visible()
    with page.expect_navigation():
        page.get_by_role("link", name="Count a fact").click()
    assert page.get_by_role("heading", name="How often does a fact occur").is_visible()


def test_a_printed_page_is_dark_on_light_and_not_cut(opened: Opened) -> None:
    page = opened(FACT, viewport={"width": 390, "height": 800}, color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    colours = page.evaluate("getComputedStyle(document.documentElement).getPropertyValue('--ink')")
    assert colours.strip() == "#1d2126"
    for hidden in ("nav", "form", ".tools", ".files", "#machines"):
        assert not page.locator(hidden).first.is_visible(), hidden
    assert page.get_by_role("heading", name="Cite these counts").is_visible()
    assert page.locator(".scroll").evaluate_all(
        "(all) => all.every((each) => getComputedStyle(each).overflowX == 'visible')"
    )
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_names_from_right_to_left_leave_the_order_of_their_neighbours(opened: Opened) -> None:
    page = opened(f"/?index=tiny&subject=Curie&object={ARABIC}")
    heading = page.get_by_role("heading", name=f"Curie and {ARABIC} in tiny")
    assert heading.locator("bdi").inner_text() == ARABIC
    for name in ("subject", "object", "subject_alias"):
        assert page.locator(f"#{name}").get_attribute("dir") == "auto"
    assert page.goto(FACT) is not None
    assert page.locator("bdi").count() == 0


def test_the_keyboard_reaches_all_controls_in_order(opened: Opened) -> None:
    page = opened("/")
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert reached == [
        "Skip to the content",
        "factcensus",
        "One fact",
        "Table of facts",
        "Trace a text",
        "Reference",
        "index",
        "window",
        "subject",
        "subject_alias",
        "object",
        "object_alias",
        "More options: another column, dates, a second index",
        "Count",
    ]
    page.locator("#subject").focus()
    page.keyboard.type("Curie")
    page.locator("#object").focus()
    page.keyboard.type("Warsaw")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Curie and Warsaw in tiny").wait_for()
    assert page.evaluate("location.hash") == "#answer"


def test_the_skip_link_skips_the_navigation(opened: Opened) -> None:
    page = opened("/")
    page.keyboard.press("Tab")
    assert page.get_by_role("link", name="Skip to the content").is_visible()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "index"
