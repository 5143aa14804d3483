"""Converting row numbers in messages about a piece to row numbers of the whole table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from factcensus.indexer.errors import InputError


@contextmanager
def counted_from(before: int) -> Iterator[None]:
    """Add the number of rows before a piece to the row number in an error."""
    try:
        yield
    except InputError as error:
        raise type(error)(moved(str(error), before)) from error


def moved(message: str, before: int) -> str:
    """Return the message with the row number of the whole table."""
    return re.sub(r"\brow (\d+)\b", lambda found: f"row {int(found[1]) + before}", message, count=1)
