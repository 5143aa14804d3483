"""Reading spans of remote files: many at once, without repetitions, counted and limited."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from factcensus.indexer.errors import IndexFormatError, RequestLimitError
from factcensus.indexer.remote.rounds import RemoteFile, Span

#: Maximum gap in bytes between two spans of a file that one request reads.
GAP_BYTES = 4096
#: Maximum number of bytes of one request.
MOST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Usage:
    """The reads of an index: consecutive rounds, requests, and bytes."""

    rounds: int = 0
    requests: int = 0
    bytes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.rounds + other.rounds, self.requests + other.requests, self.bytes + other.bytes)

    def __sub__(self, other: Usage) -> Usage:
        return Usage(self.rounds - other.rounds, self.requests - other.requests, self.bytes - other.bytes)


@dataclass(frozen=True, slots=True)
class Reads:
    """All reads of an open index: those that opened it, and those of later queries."""

    opening: Usage
    asked: Usage

    def as_json(self) -> dict[str, Any]:
        """Return ``rounds``, ``requests`` and ``bytes`` of the queries, and the same numbers in ``opening``."""
        return {**asdict(self.asked), "opening": asdict(self.opening)}


class RangeSource(Protocol):
    """The files of an index, wherever they are."""

    def fetch(self, spans: Sequence[Span]) -> Sequence[bytes]:
        """Return the bytes of each span, with parallel requests, one per span; the source handles retries."""
        ...


class Reader:
    """Reads the spans of one query in rounds.

    Args:
        source: Fetches the bytes.
        most_requests: Maximum number of requests; None for no limit.
        most_bytes: Maximum number of bytes; None for no limit.

    Attributes:
        usage: All reads so far.
    """

    def __init__(self, source: RangeSource, most_requests: int | None = None, most_bytes: int | None = None) -> None:
        self._source = source
        self.most_requests = most_requests
        self.most_bytes = most_bytes
        self.usage = Usage()

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """Return the bytes of each span; this is one round.

        Raises:
            RequestLimitError: The query needs more requests or bytes than allowed.
            IndexFormatError: A span ends after the end of its file.
        """
        wanted = [span for span in spans if span.begin < span.end]
        if not wanted:
            return [b""] * len(spans)
        for span in wanted:
            if span.end > span.file.size:
                raise IndexFormatError(f"{span.file} has {span.file.size} bytes, too few; copy the index again")
        requests = _requests(wanted)
        self._check(len(requests))
        self.check_bytes(sum(request.end - request.begin for request in requests))
        found = self._source.fetch(requests)
        self.usage += Usage(1, len(requests), sum(map(len, found)))
        pieces: dict[RemoteFile, list[tuple[int, int, bytes]]] = {}
        for request, data in zip(requests, found, strict=True):
            pieces.setdefault(request.file, []).append((request.begin, request.end, data))
        return [_cut(pieces.get(span.file, []), span) for span in spans]

    def _check(self, requests: int) -> None:
        needed = self.usage.requests + requests
        if self.most_requests is not None and needed > self.most_requests:
            raise RequestLimitError(
                f"this query needs at least {needed:,} requests, and at most {self.most_requests:,} are "
                "allowed; query rarer names, or give a larger --most-requests"
            )

    def check_bytes(self, size: int) -> None:
        """Check that another ``size`` bytes may be read.

        Raises:
            RequestLimitError: They would exceed the limit of the query.
        """
        needed = self.usage.bytes + size
        if self.most_bytes is not None and needed > self.most_bytes:
            raise RequestLimitError(
                f"this query reads at least {needed / 1e6:,.1f} MB of texts over the network, and at most "
                f"{self.most_bytes / 1e6:,.1f} MB are allowed; search for a rarer or shorter text, restrict the "
                "documents, or copy the index to this machine"
            )


def _requests(spans: Iterable[Span]) -> list[Span]:
    """Return spans that cover all the given ones: joined if they are close, cut if they are long."""
    joined: list[Span] = []
    for span in sorted(set(spans), key=lambda span: (id(span.file), span.begin, span.end)):
        last = joined[-1] if joined else None
        if last is not None and last.file is span.file and span.begin <= last.end + GAP_BYTES:
            joined[-1] = replace(last, end=max(last.end, span.end))
        else:
            joined.append(span)
    return [
        Span(span.file, begin, min(begin + MOST_BYTES, span.end))
        for span in joined
        for begin in range(span.begin, span.end, MOST_BYTES)
    ]


def _cut(pieces: list[tuple[int, int, bytes]], span: Span) -> bytes:
    """Return the bytes of a span from the pieces of its file, which are in order and cover it."""
    if span.begin == span.end:
        return b""
    low, high = 0, len(pieces)
    while low < high:
        middle = (low + high) // 2
        if pieces[middle][1] <= span.begin:
            low = middle + 1
        else:
            high = middle
    parts = []
    at = span.begin
    while at < span.end:
        begin, end, data = pieces[low]
        parts.append(data[at - begin : span.end - begin])
        at = min(end, span.end)
        low += 1
    return parts[0] if len(parts) == 1 else b"".join(parts)
