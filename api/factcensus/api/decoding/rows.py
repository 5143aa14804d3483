"""Converting row numbers in messages about a piece to row numbers of the whole table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from factcensus.indexer.errors import InputError

#: The rows in the remark of :func:`factcensus.indexer.numbers.also_rows`.
_FURTHER = re.compile(r"(?<=\(also in )rows? \d+(?:, \d+)*")


@contextmanager
def counted_from(before: int) -> Iterator[None]:
    """Add the number of rows before a piece to the row numbers in an error."""
    try:
        yield
    except InputError as error:
        raise type(error)(moved(str(error), before)) from error


def moved(message: str, before: int) -> str:
    """Return the message with the row number of the whole table, and those of further rows with the same error."""
    message = re.sub(r"\brow \d+\b", lambda found: _added(found[0], before), message, count=1)
    return _FURTHER.sub(lambda found: _added(found[0], before), message)


def _added(numbers: str, before: int) -> str:
    return re.sub(r"\d+", lambda found: str(int(found[0]) + before), numbers)
