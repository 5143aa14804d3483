"""Limits on requests per minute, counted over all workers of a service."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from time import monotonic

from factcensus.api.workers.member import Member

#: Maximum number of holders whose requests are tracked.
MOST_HOLDERS = 16_384
#: Number of table slots that may hold a given holder.
PLACES = 8
#: Checksum of the holder, its remaining requests, and the time when this number was computed.
_ENTRY = struct.Struct("<8sdd")
_EMPTY = bytes(8)
#: Headers of every response while requests are limited: the limit, requests left, seconds until none is used.
RATE_HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")


@dataclass(frozen=True)
class Quota:
    """The request quota of one holder (an API key or an address).

    Attributes:
        full_s: Seconds until the holder has all of them again.
        wait_s: Seconds until the next request is allowed; 0 if this one is.
    """

    limit: int
    left: int
    full_s: int
    wait_s: int = 0

    def headers(self) -> dict[str, str]:
        """Return the headers of the response."""
        return dict(zip(RATE_HEADERS, map(str, (self.limit, self.left, self.full_s)), strict=True))


class Rates:
    """A token bucket per holder, in a table that all workers map into memory.

    A holder has :data:`PLACES` places in the table, found by a keyed checksum. If all are taken, the holder that was
    seen least recently is dropped.

    Args:
        per_minute: Requests per minute of each holder, and the most that can be saved up.
        member: This worker.
        holders: Size of the table, a multiple of :data:`PLACES`.
        clock: Returns seconds; by default those of the clock that all processes of the machine share.
    """

    def __init__(
        self, per_minute: int, member: Member, holders: int = MOST_HOLDERS, clock: Callable[[], float] | None = None
    ) -> None:
        self._per_minute, self._member = per_minute, member
        self._clock = clock or monotonic
        self._sets = holders // PLACES
        self._table = member.shared_memory("rates", _ENTRY.size * PLACES * self._sets)

    def take(self, holder: str) -> Quota:
        """Count one request of a holder, unless none is left."""
        text = holder.encode("utf-8", "surrogateescape")
        name = hashlib.blake2b(text, digest_size=8, key=self._member.secret).digest()
        first = int.from_bytes(name, "little") % self._sets * PLACES
        most, per_second = float(self._per_minute), self._per_minute / 60
        with self._member.lock("rates.lock"):
            now = self._clock()
            place, left, before = self._find(name, first, now)
            left = min(most, left + max(0.0, now - before) * per_second)
            allowed = left >= 1
            left -= allowed
            _ENTRY.pack_into(self._table, place * _ENTRY.size, name, left, now)
        wait_s = 0 if allowed else int((1 - left) / per_second) + 1
        return Quota(self._per_minute, int(left), ceil((most - left) / per_second), wait_s)

    def _find(self, name: bytes, first: int, now: float) -> tuple[int, float, float]:
        """Return the place of a holder, its remaining requests, and the time of this number."""
        oldest = (first, 0.0, float("inf"))
        for place in range(first, first + PLACES):
            known, left, seen = _ENTRY.unpack_from(self._table, place * _ENTRY.size)
            if known == name:
                return place, left, seen
            if known == _EMPTY:
                seen = float("-inf")
            if seen < oldest[2]:
                oldest = place, left, seen
        return oldest[0], float(self._per_minute), now
