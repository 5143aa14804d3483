"""Fixtures that all parts share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_DATA = Path(os.environ.get("FACTCENSUS_TEST_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real corpora and fact tables; absent on a plain clone, demanded in CI."""
    if not REAL_DATA.is_dir():
        message = f"no real corpora at {REAL_DATA}: set FACTCENSUS_TEST_DATA to their folder"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return REAL_DATA
