"""Fixtures that all parts share."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from servers import WebServer

# Examples have no time limit, because a busy machine may be slow. Every run uses the same examples, so a failure can be
# repeated. `make check-full` generates new ones with --hypothesis-profile=others.
settings.register_profile("others", settings.get_profile("ci"), derandomize=False)
settings.load_profile("ci")

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_DATA = Path(os.environ.get("FACTCENSUS_TEST_DATA", REPOSITORY.parent / "shared" / "data"))

# Thousands of tiny indexes are built here, and each waits for the disk; in memory that costs nothing.
_MEMORY_DISK = Path("/dev/shm")  # noqa: S108  (made by tempfile, with its own rights)
if os.access(_MEMORY_DISK, os.W_OK) and shutil.disk_usage(_MEMORY_DISK).free > 4 << 30:
    tempfile.tempdir = str(_MEMORY_DISK)


@pytest.fixture(scope="session")
def missing() -> Callable[[str], NoReturn]:
    """Skip a test that needs something this machine lacks; fail it if ``REQUIRE_ALL_TESTS`` is 1, as in ``.ci/run``.

    The variable is our own: ``CI`` is also set where a fork is tested, which has no real corpora.
    """

    def skip_or_fail(message: str) -> NoReturn:
        if os.environ.get("REQUIRE_ALL_TESTS") == "1":
            pytest.fail(message)
        pytest.skip(message)

    return skip_or_fail


@pytest.fixture(scope="session")
def real_data(missing: Callable[[str], NoReturn]) -> Path:
    """The folder with real corpora and fact tables; absent on a plain clone."""
    if not REAL_DATA.is_dir():
        missing(f"no real corpora at {REAL_DATA}: set FACTCENSUS_TEST_DATA to their folder")
    return REAL_DATA


@pytest.fixture(scope="module")
def browser(missing: Callable[[str], NoReturn]) -> Iterator[Browser]:
    """Start Chromium, which stays offline by itself."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # no test is timed
    programs = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    if (path := next(filter(None, programs), None)) is None:
        missing("Chromium is not installed (Debian: apt-get install chromium)")
    flags = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update "
    flags += "disable-sync"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=[f"--{flag}" for flag in flags.split()])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def violations() -> Callable[[Page], list[str]]:
    """Return the function that checks a page with axe-core: all rules of WCAG 2.2 A and AA, and good practice."""
    from axe_playwright_python.sync_playwright import Axe

    def check(page: Page) -> list[str]:
        found = Axe().run(page).response
        assert len(found["passes"]) > 5, "axe ran"
        return [
            f"{each['id']} ({each['impact']}): {node['html'][:200]} {node.get('failureSummary', '')}"
            for each in found["violations"]
            for node in each["nodes"]
        ]

    return check


@pytest.fixture(scope="session")
def _s3_address() -> Iterator[str]:
    from servers import s3_server

    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(_s3_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new, empty bucket of an S3 server on loopback, as ``s3://NAME``; processes started by the test reach it too."""
    for name, value in {
        "AWS_ENDPOINT_URL": _s3_address,
        "AWS_ACCESS_KEY_ID": "test-key",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    from factcensus.indexer.system.places.protocols import NO_OPTIONS, file_system_of

    name = f"bucket-{uuid.uuid4().hex[:12]}"
    file_system_of(f"s3://{name}", "s3", NO_OPTIONS)[0].mkdir(name)
    return f"s3://{name}"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    """A web server on loopback for the folder ``web`` of this test; its attributes make it slow or let it fail."""
    from servers import web_server

    folder = tmp_path / "web"
    folder.mkdir()
    with web_server(folder) as server:
        yield server
