"""States of the pages in a real browser: slow responses, refused input, missing keys, overlapping spans."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from loopback import DOCUMENTS, serving
from playwright.sync_api import Browser, Page, Route, expect

from factcensus.api.http.access import new_key
from factcensus.api.settings import Limits, Settings
from factcensus.indexer import build_index

Opened = Callable[..., Page]

FACT = "/?index=tiny&subject=Curie&object=Warsaw"
TRACE = "/trace?index=tiny&least_tokens=2&text=Today+Curie+was+born+in+(Warsaw)+is+the+capital+of+Poland"

#: Script that returns the message next to the button of a form, whether "Stop" is visible, and the focused button.
STATE = """() => ({
  status: document.querySelector("[data-waiting]").textContent,
  stops: document.querySelector("[data-stop]").checkVisibility(),
  focus: document.activeElement.textContent,
})"""
#: Script that sends the form, stops once the request is held, and returns both states. It is a single script, because
#: commands of Playwright wait until the next page has loaded.
STOPPED = f"""async () => {{
  document.querySelector("form button").click();
  const sent = ({STATE})();
  while (!(await (await fetch("held")).json())) {{}}
  document.querySelector("[data-stop]").click();
  return [sent, ({STATE})()];
}}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("states")
    rows = [{"id": id_, "source": source, "text": text} for id_, source, text in DOCUMENTS]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    build_index([folder / "corpus.jsonl"], folder / "tiny", jobs=1)
    build_index([folder / "corpus.jsonl"], folder / "letters", jobs=1, analyzer="bytes")
    return folder


@pytest.fixture(scope="module")
def base(folder: Path) -> Iterator[str]:
    """Serve an index of words and one of bytes, which has no completions."""
    settings = Settings(indexes=(folder / "tiny", folder / "letters"), limits=Limits(max_text_chars=80_000))
    with serving(settings) as url:
        yield url


@pytest.mark.parametrize(
    ("path", "button", "waiting"), [(FACT, "Count", "Counting"), (TRACE, "Trace", "Searching the corpus")]
)
def test_a_slow_response_can_be_stopped(opened: Opened, path: str, button: str, waiting: str) -> None:
    page = opened(path)
    held = list[Route]()

    def hold(route: Route) -> None:
        """Leave the request without a response; /held returns the number of such requests."""
        if route.request.url.endswith("/held"):
            route.fulfill(json=len(held))
        else:
            held.append(route)

    page.route("**/*", hold)
    sent, stopped = page.evaluate(STOPPED)
    assert (sent["status"], sent["stops"]) == (waiting, True)
    assert stopped == {"status": "", "stops": False, "focus": button}
    page.unroute("**/*")
    assert page.url.endswith(path)
    with page.expect_navigation():
        page.get_by_role("button", name=button, exact=True).click()
    page.go_back()
    assert page.evaluate(STATE)["stops"] is False


def test_the_number_of_a_span_shows_its_extent(opened: Opened, violations: Callable[[Page], list[str]]) -> None:
    page = opened(TRACE)
    traced = page.locator(".traced")
    assert traced.evaluate("(each) => each.textContent.replace(/[0-9]/g, '')") == (
        "Today Curie was born in (Warsaw) is the capital of Poland"
    )
    spans = page.locator("article h3").all_inner_texts()
    assert len(spans) >= 2
    for number, span in enumerate(spans, 1):
        traced.get_by_role("link", name=f"span {number}", exact=True).focus()
        assert "".join(traced.locator("mark.whole-span").all_text_contents()) == span.partition(". ")[2]
    assert violations(page) == []


def test_the_reason_for_missing_completions_belongs_to_the_chosen_index(opened: Opened) -> None:
    page = opened("/")
    reason = page.get_by_text("Names are not completed in letters")
    expect(reason).to_be_hidden()
    page.locator("#index").select_option("letters")
    expect(reason).to_be_visible()
    page.locator("#index").select_option("tiny")
    expect(reason).to_be_hidden()


@pytest.mark.parametrize(
    ("text", "message"),
    [("a" * 80_001, "The text has 80001 characters; the limit is 80000."), ("居里" * 5000, "too long for the address")],
)
def test_a_text_that_is_too_long_is_not_sent(opened: Opened, text: str, message: str) -> None:
    page = opened("/trace")
    area = page.get_by_label("Text, at most 80,000 characters")
    area.fill(text)
    page.get_by_role("button", name="Trace").click()
    assert message in area.evaluate("(each) => each.validationMessage")
    assert page.url.endswith("/trace")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    area.fill("Curie was born in Warsaw")
    with page.expect_navigation():
        page.get_by_role("button", name="Trace").click()


def test_invalid_bins_can_be_corrected(opened: Opened, tmp_path: Path, violations: Callable[[Page], list[str]]) -> None:
    (tmp_path / "facts.csv").write_text("subject,object\nCurie,Warsaw\n", encoding="utf-8")
    page = opened("/tables")
    page.get_by_label("Facts:").set_input_files(tmp_path / "facts.csv")
    page.get_by_role("button", name="Count the table").click()
    page.get_by_role("heading", name="Strata").wait_for()
    page.get_by_label("Bins").fill("log11")
    with page.expect_navigation():
        page.get_by_role("button", name="Show").click()
    assert "invalid bins 'log11'" in page.get_by_role("alert").inner_text()
    assert page.get_by_label("Bins").input_value() == "log11"
    assert violations(page) == []
    page.get_by_label("Bins").fill("log10")
    with page.expect_navigation():
        page.get_by_role("button", name="Show").click()
    assert page.get_by_role("list", name="Strata").is_visible()


def test_with_keys_the_page_explains_how_to_enter_one_and_the_commands_have_it(
    browser: Browser, folder: Path, tmp_path: Path
) -> None:
    key = new_key("reader", tmp_path / "keys.txt")
    with serving(Settings(indexes=(folder / "tiny",), keys_file=tmp_path / "keys.txt")) as url:
        cancelled = httpx.get(url, headers={"Accept": "text/html"}).text  # shown when the prompt is cancelled
        assert "Enter any user name, and the key as the password." in cancelled
        assert '<a href="">Try again</a>' in cancelled
        context = browser.new_context(base_url=url, http_credentials={"username": "any", "password": key})
        page = context.new_page()
        for path, id_ in ((FACT, "command"), (TRACE, "command"), ("/docs", "example-count")):
            page.goto(path)
            program, option, header, address, *json_option, body = shlex.split(page.locator(f"#{id_}").inner_text())
            assert (program, option, json_option) == ("curl", "-H", ["--json"])
            name, _, value = header.replace("$FACTCENSUS_API_KEY", key).partition(": ")
            sent = httpx.post(address, headers={name: value}, json=json.loads(body), timeout=60)
            assert sent.json()["index"] == "tiny"
        context.close()
