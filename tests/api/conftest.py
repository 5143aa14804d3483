"""Fixtures with the tiny index, opened and served."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from loopback import serving, write_corpus

from factcensus.api.settings import Limits, Settings
from factcensus.indexer import CountIndex, build_index

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# No test is timed: on a busy machine, the first request of a service may wait minutes for its compiled code.
DEFAULT_TIMEOUT_CONFIG.read = 600.0


@pytest.fixture(scope="session")
def index_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the index ``tiny`` and return its folder."""
    folder = tmp_path_factory.mktemp("indexes")
    build_index([write_corpus(folder / "corpus")], folder / "tiny", jobs=1)
    return folder / "tiny"


@pytest.fixture(scope="session")
def index(index_folder: Path) -> Iterator[CountIndex]:
    """Open the same index directly, to compare responses with it."""
    with CountIndex.open(index_folder) as opened:
        yield opened


@pytest.fixture(scope="session")
def low_limits() -> Limits:
    """Return limits that tests can exceed cheaply."""
    return Limits(
        max_job_facts=50,
        max_job_body_bytes=20_000,
        max_body_bytes=20_000,
        max_text_chars=1_000,
        max_aliases=5,
        max_facts=50,
        max_windows=3,
        max_documents=20,
    )


@pytest.fixture(scope="session")
def url(index_folder: Path) -> Iterator[str]:
    """Start a service with the index ``tiny`` and the default limits."""
    with serving(Settings(indexes=(index_folder,))) as base_url:
        yield base_url


@pytest.fixture(scope="session")
def limited_url(index_folder: Path, low_limits: Limits) -> Iterator[str]:
    """Start a service with low limits."""
    with serving(Settings(indexes=(index_folder,), limits=low_limits)) as base_url:
        yield base_url


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    """Return an HTTP client of the service."""
    with httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture
def limited(limited_url: str) -> Iterator[httpx.Client]:
    """Return an HTTP client of the service with low limits."""
    with httpx.Client(base_url=limited_url) as client:
        yield client


@pytest.fixture
def opened(browser: Browser, base: str) -> Iterator[Callable[..., Page]]:
    """Return a function that opens a page of the service ``base``; the console must stay free of messages."""
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
