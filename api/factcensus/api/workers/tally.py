"""Numbers that all workers of a service add up, such as the requests in progress."""

from __future__ import annotations

from zlib import crc32

from factcensus.api.workers.member import Member

#: Columns for bytes by address; addresses with the same checksum share one.
ADDRESSES = 4096
#: The columns: requests in progress, bytes of their bodies, and these bytes by address.
REQUESTS, BODY_BYTES, FIRST_ADDRESS = range(3)
COLUMNS = FIRST_ADDRESS + ADDRESSES


def column_of_address(address: str) -> int:
    """Return the column for the body bytes of one address."""
    return FIRST_ADDRESS + crc32(address.encode()) % ADDRESSES


class Tally:
    """A table of int64 with one row per worker, which only that worker changes.

    A new worker starts with zeros, so the numbers of one that crashed do not stay. Reading needs no lock: two workers
    may at most admit a request each at the same moment.
    """

    def __init__(self, member: Member) -> None:
        self._numbers = memoryview(member.shared_memory("tally", 8 * COLUMNS * member.workers)).cast("q")
        self._first = COLUMNS * member.number
        for column in range(COLUMNS):
            self._numbers[self._first + column] = 0

    def add(self, column: int, number: int) -> None:
        """Add a number to this worker's row."""
        self._numbers[self._first + column] += number

    def total(self, column: int) -> int:
        """Return the sum over all workers."""
        return sum(self._numbers[column::COLUMNS])
