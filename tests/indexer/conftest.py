"""Fixtures that several modules of these tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .interrupting import Interrupter


@pytest.fixture(scope="module")
def interrupt() -> Iterator[Interrupter]:
    """Start the process that changes indexes and is killed at a chosen step."""
    interrupter = Interrupter()
    yield interrupter
    interrupter.close()
