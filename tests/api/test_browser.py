"""The pages in a real browser: with and without scripts, by keyboard, on a narrow screen, in light and dark mode.

They use Debian's Chromium (``apt-get install chromium``). Without it, these tests are skipped, or fail if
``REQUIRE_ALL_TESTS`` is 1.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import DOCUMENTS, serving
from playwright.sync_api import Browser, Page, Route

from factcensus.api.settings import Settings
from factcensus.indexer import CountIndex, build_index, facts_from_rows, read_facts, write_table

ATTACK = '"><img src=x onerror="window.attacked=1"><script>window.attacked=1</script>'
FACT = "/?index=tiny&subject=Curie&object=Warsaw&window=9"

#: Script that returns the visible texts whose WCAG 2 contrast with their background is too low.
LOW_CONTRAST = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => channels(color).slice(0, 3)
    .map((value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);
  const below = (element) => {
    for (; element; element = element.parentElement) {
      const color = getComputedStyle(element).backgroundColor;
      if ((channels(color)[3] ?? 1) > 0.99) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("script, style, title")) continue;
    const style = getComputedStyle(element);
    const drawn = element.namespaceURI.endsWith("svg") ? style.fill : style.color;
    const [one, other] = [light(drawn), light(below(element))].sort((a, b) => b - a);
    const limit = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
    if ((one + 0.05) / (other + 0.05) < limit) found.push(`${element.tagName}: ${walker.currentNode.data.trim()}`);
  }
  return found;
}"""
#: Script that returns the fields, buttons and links without an accessible name.
NAMELESS = """() => [...document.querySelectorAll("input, select, textarea, button, a, progress, [role=img]")]
  .filter((element) => element.checkVisibility())
  .filter((element) => !element.labels?.length && !element.getAttribute("aria-label")
    && !element.getAttribute("aria-labelledby") && !element.textContent.trim())
  .map((element) => element.outerHTML)"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve the tiny corpus with a script injection in it, and a table to compare facts with."""
    folder = tmp_path_factory.mktemp("browser")
    rows: list[dict[str, Any]] = [{"id": id_, "source": source, "text": text} for id_, source, text in DOCUMENTS]
    rows += [{"id": ATTACK, "source": ATTACK, "text": f"Curie Warsaw {ATTACK}", "note": ATTACK, "url": "javascript:0"}]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build_index([folder / "corpus.jsonl"], folder / "tiny", jobs=1)
    names = ("Curie", "Warsaw", "Paris", "France")
    facts = facts_from_rows([{"subject": one, "object": other} for one in names for other in names])
    with CountIndex.open(folder / "tiny") as index:
        write_table(index.count_facts(facts, windows=[9]), folder / "pairs.parquet")
    with serving(Settings(indexes=(folder / "tiny",), fact_tables=(folder / "pairs.parquet",))) as url:
        yield url


Opened = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, base: str) -> Iterator[Opened]:
    """Return a function that opens a page in a new context; the console must stay free of messages."""
    contexts, reported = [], list[str]()

    def tell(message: str) -> None:
        if "the server responded with a status of 4" not in message:  # expected for invalid requests
            reported.append(message)

    def open_page(path: str, **options: Any) -> Page:
        contexts.append(browser.new_context(base_url=base, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: tell(message.text))
        page.on("pageerror", lambda error: reported.append(str(error)))
        page.on("dialog", lambda dialog: reported.append(dialog.message))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not reported


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
    states = iter([("running", 3), ("running", 7), ("done", 9)])

    def state(route: Route) -> None:
        name, counted = next(states)
        route.fulfill(json={"state": name, "counted": counted, "facts": 9})

    page.route("**/v1/jobs/x", state)
    source = page.content()
    script = source[source.index("<script") :]
    body = '<div data-job="v1/jobs/x"><progress max="9" value="0"></progress><p role="status"></p></div>'
    page.route(
        f"{base}/made-up",
        lambda route: route.fulfill(body=f"<!doctype html><body>{body}{script}", content_type="text/html"),
    )
    page.goto("/made-up")
    for counted in (3, 7):
        page.get_by_text(f"{counted} of 9 facts counted").wait_for()
        assert page.locator("progress").get_attribute("value") == str(counted)
    with page.expect_navigation():  # when the job is done, the page reloads and shows the strata
        pass


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


@pytest.mark.parametrize("path", ["/", FACT, "/tables", "/docs", "/?index=absent&subject=a&object=b"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_readable(opened: Opened, path: str, scheme: str) -> None:
    page = opened(path, color_scheme=scheme, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360, "the page itself does not scroll sideways"
    assert page.evaluate(LOW_CONTRAST) == []
    assert page.evaluate(NAMELESS) == []


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
        "A table of facts",
        "A text",
        "Reference",
        "index",
        "window",
        "subject",
        "subject_alias",
        "object",
        "object_alias",
        "Counts by another column",
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
