"""Fixtures with the tiny index, opened and served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from loopback import serving, write_corpus

from factcensus.api.settings import Limits, Settings
from factcensus.indexer import CountIndex, build_index

# No test is timed: on a busy machine, the first request of a service waits for its compiled code.
DEFAULT_TIMEOUT_CONFIG.read = 60.0


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
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture
def limited(limited_url: str) -> Iterator[httpx.Client]:
    """Return an HTTP client of the service with low limits."""
    with httpx.Client(base_url=limited_url, timeout=30) as client:
        yield client
