"""Messages about rows of a piece, told with the rows' numbers in the whole table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from factcensus.indexer.errors import InputError


@contextmanager
def counted_from(before: int) -> Iterator[None]:
    """Add the number of rows before a piece to the row that an error in it names."""
    try:
        yield
    except InputError as error:
        raise type(error)(moved(str(error), before)) from error


def moved(message: str, before: int) -> str:
    """The message with its row's number in the whole table."""
    return re.sub(r"\brow (\d+)\b", lambda found: f"row {int(found[1]) + before}", message, count=1)
