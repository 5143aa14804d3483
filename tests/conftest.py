"""Fixtures that all parts share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import settings

# No test is timed: on a busy machine any example may take long.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

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
