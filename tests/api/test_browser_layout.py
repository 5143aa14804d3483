"""The layout of the pages in a real browser with long names, large numbers and many years."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from loopback import serving
from playwright.sync_api import Page

from factcensus.api.settings import Settings
from factcensus.indexer import build_index

Opened = Callable[..., Page]

INDEX = "encyclopaedia-2021-deduplicated-and-filtered"
LONG = "Llanfairpwllgwyngyll " * 8 + "station"
FACT = "/?" + urlencode({"index": INDEX, "subject": LONG, "object": "Wales", "compare": "web-crawl-of-2019-cleaned"})

#: Script that replaces all counts by numbers of 10 digits, in figures as well.
LARGE = """() => document.querySelectorAll(".large, td, text.value").forEach((each) => {
  if (/^[0-9,]+$/.test(each.textContent.trim())) each.textContent = "1,234,567,890";
})"""
#: Script that returns the visible words and numbers of up to 16 characters that are broken over two lines.
BROKEN = """() => {
  const found = [];
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    if (!node.parentElement.checkVisibility() || node.parentElement.closest("pre, svg")) continue;
    for (const word of node.data.matchAll(/[\\p{L}\\p{N},_]{2,}/gu)) {
      if (word[0].length > 16) continue;
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map((each) => Math.round(each.top))).size > 1) found.push(word[0]);
    }
  }
  return found;
}"""
#: Script that returns the texts of figures that extend beyond the figure.
OUTSIDE = """() => [...document.querySelectorAll("svg.chart text")].filter((each) => {
  const [text, figure] = [each.getBoundingClientRect(), each.closest("svg.chart").getBoundingClientRect()];
  return text.left < figure.left - 1 || text.right > figure.right + 1;
}).map((each) => each.textContent)"""


#: Script that returns left, top, right and bottom of elements.
BOXES = "(all) => all.map((each) => each.getBoundingClientRect()).map((box) => [box.x, box.y, box.right, box.bottom])"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve two indexes with long names, whose documents have dates of 50 years and two sources."""
    folder = tmp_path_factory.mktemp("layout")
    rows = [
        {"text": f"{LONG} in Wales", "source": "a source" if year % 3 else "wiki", "created": f"{year}-02-03"}
        for year in range(1971, 2021)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for name in (INDEX, "web-crawl-of-2019-cleaned"):
        build_index([folder / "corpus.jsonl"], folder / name, jobs=1)
    with serving(Settings(indexes=(folder / INDEX, folder / "web-crawl-of-2019-cleaned"))) as url:
        yield url


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / f"{'facts_about_everything_' * 4}.csv"
    path.write_text("subject,object\nstation,Wales\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("path", ["/", FACT, "/docs"])
def test_no_word_or_number_is_broken_over_two_lines(opened: Opened, path: str, width: int) -> None:
    page = opened(path, viewport={"width": width, "height": 800})
    page.evaluate(LARGE)
    assert page.evaluate(BROKEN) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_long_file_name_leaves_room_for_the_other_columns(opened: Opened, table: Path) -> None:
    page = opened("/tables", viewport={"width": 1280, "height": 800})
    page.get_by_label("Facts:").set_input_files(table)
    page.get_by_role("button", name="Count the table").click()
    page.get_by_role("heading", name="Strata").wait_for()
    page.goto("/tables")
    region = page.get_by_role("region", name="List of earlier tables")
    assert region.evaluate("(each) => each.scrollWidth <= each.clientWidth")
    assert region.get_by_role("cell", name="done").is_visible()
    assert page.evaluate(BROKEN) == []


@pytest.mark.parametrize("width", [390, 1280])
def test_the_labels_of_figures_lie_inside_them(opened: Opened, width: int) -> None:
    page = opened(FACT, viewport={"width": width, "height": 800})
    assert page.locator("svg.chart").count() >= 4
    page.evaluate(LARGE)
    assert page.evaluate(OUTSIDE) == []


def test_the_texts_of_saved_figures_fit_and_do_not_overlap(opened: Opened) -> None:
    page = opened(FACT, viewport={"width": 760, "height": 800})
    addresses = page.get_by_role("link", name="as SVG").evaluate_all("(all) => all.map((each) => each.href)")
    assert len(addresses) >= 4
    for address in addresses:
        page.goto(address)
        boxes = page.locator("text").evaluate_all(BOXES)
        assert all(x >= 0 and right <= 760 for x, _, right, _ in boxes)
        height = float(page.locator("svg").first.get_attribute("height") or 0)
        assert all(y >= 0 and bottom <= height for _, y, _, bottom in boxes)
        pairs = [(one, other) for n, one in enumerate(boxes) for other in boxes[:n]]
        assert not [
            (one, other)
            for one, other in pairs
            if min(one[2], other[2]) - max(one[0], other[0]) > 1 and min(one[3], other[3]) - max(one[1], other[1]) > 4
        ]


def test_the_fields_of_a_row_are_level(opened: Opened) -> None:
    page = opened(FACT, viewport={"width": 1280, "height": 800})
    tops = (
        page.locator("details .grid")
        .locator("input, select")
        .evaluate_all("(all) => all.map((each) => each.getBoundingClientRect().top)")
    )
    assert len(tops) == 3
    assert max(tops) - min(tops) < 1
