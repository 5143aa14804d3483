"""Estimates of the reads of a query to a remote index, from landmarks only, before the first read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from factcensus.indexer.errors import RequestLimitError
from factcensus.indexer.remote.landmarks import Bound
from factcensus.indexer.remote.locate import BLOCK_DOCUMENTS
from factcensus.indexer.remote.reader import MOST_BYTES
from factcensus.indexer.remote.search import KEY_BYTES, WINDOW_BYTES, WINDOW_ROWS, grid_rows, probes_per_round
from factcensus.indexer.remote.shard import Ngram, RemoteShard

#: Prices of the large object stores, in dollars per request and per byte, and assumed speeds.
REQUEST_DOLLARS, BYTE_DOLLARS = 0.4e-6, 0.09e-9
ROUND_S, REQUESTS_PER_S, BYTES_PER_S = 0.05, 500, 20e6
#: Reads per n-gram when its two ends were found apart, relative to those for one end; measured on natural text.
_BOTH_ENDS = 1.5
#: Assumed number of occurrences of an n-gram between two landmarks; their documents must be found.
_RARE = 8


@dataclass(frozen=True, slots=True)
class Estimate:
    """The expected reads of one query.

    Attributes:
        rounds: Reads that wait for one another.
        requests: Number of requests.
        bytes: Number of bytes.
    """

    rounds: int
    requests: int
    bytes: int

    @property
    def dollars(self) -> float:
        """The cost at the usual prices of object stores: $0.40 per million requests and $0.09 per gigabyte."""
        return self.requests * REQUEST_DOLLARS + self.bytes * BYTE_DOLLARS

    @property
    def seconds(self) -> float:
        """The time at 50 ms per round, 500 requests per second and 20 MB per second."""
        return self.rounds * ROUND_S + max(self.requests / REQUESTS_PER_S, self.bytes / BYTES_PER_S)

    def __str__(self) -> str:
        return (
            f"{self.requests:,} requests in {self.rounds} rounds, {self.bytes / 1e6:,.1f} MB, "
            f"${self.dollars:.2f}, {self.seconds:,.0f} s"
        )

    def rows(self) -> list[tuple[str, str]]:
        """Return the rows of a table for people."""
        return [
            ("rounds", f"{self.rounds:,}"),
            ("requests", f"{self.requests:,}"),
            ("megabytes", f"{self.bytes / 1e6:,.1f}"),
            ("dollars ($0.40 per million requests, $0.09 per GB)", f"{self.dollars:,.2f}"),
            ("seconds (50 ms per round, 500 requests/s, 20 MB/s)", f"{self.seconds:,.0f}"),
        ]

    def check(self, most_requests: int | None) -> None:
        """Check the expected requests.

        Raises:
            RequestLimitError: There are more than allowed.
        """
        if most_requests is not None and self.requests > most_requests:
            raise RequestLimitError(
                f"this would take about {self}, and at most {most_requests:,} requests are allowed; give a larger "
                "--most-requests or fewer facts; for many facts, reading the corpus once with --scan is cheaper"
            )


def estimate(shards: Sequence[RemoteShard], ngrams: Sequence[Ngram]) -> Estimate:
    """Estimate the reads for gathering n-grams in all shards."""
    parts = [_estimate_shard(shard, ngrams) for shard in shards]
    return Estimate(
        max((part.rounds for part in parts), default=0),
        sum(part.requests for part in parts),
        sum(part.bytes for part in parts),
    )


def _estimate_shard(shard: RemoteShard, ngrams: Sequence[Ngram]) -> Estimate:
    table = shard.table
    intervals: set[tuple[int, int]] = set()
    occurrences = inside = 0
    pairs = list(_bounds(shard, ngrams))
    for begin, end in pairs:
        intervals |= {(bound.low, bound.high) for bound in (begin, end) if bound.is_open}
        inside += max(0, end.low - begin.high)
        occurrences += max(0, end.low - begin.high) + (_RARE if begin.is_open else 0)
    searches = sum(begin.is_open or end.is_open for begin, end in pairs)
    rounds = requests = size = 0
    rows = max((high - low for low, high in intervals), default=0)
    fits = sum(high - low for low, high in intervals) * table.width <= WINDOW_BYTES
    while rows > WINDOW_ROWS and not fits:  # all searches divide their rows until windows fit
        probed = len(grid_rows(0, rows))
        rounds, requests, size = rounds + 2, requests + 2 * probed * len(intervals), size + KEY_BYTES * probed
        rows //= max(1, probed)
    if intervals:
        per_round = probes_per_round(rows, len(intervals))
        levels = 1
        while (per_round + 1) ** levels < rows + 1:
            levels += 1
        probes = int(searches * per_round * levels * _BOTH_ENDS)
        rounds += 1 + levels
        requests += len(intervals) + probes
        size += len(intervals) * rows * table.width + probes * KEY_BYTES
    size += inside * table.width
    requests += inside * table.width // MOST_BYTES
    if occurrences and shard.offsets.whole is None:
        blocks = min(occurrences, -(-shard.documents // BLOCK_DOCUMENTS))
        rounds, requests, size = rounds + 1, requests + blocks, size + 8 * BLOCK_DOCUMENTS * blocks
    return Estimate(rounds, requests, size)


def _bounds(shard: RemoteShard, ngrams: Sequence[Ngram]) -> Iterator[tuple[Bound, Bound]]:
    for query in shard.queries(ngrams):
        pair = Bound(query, False, 0, shard.size), Bound(query, True, 0, shard.size)
        for bound in pair:
            bound.narrow(shard.table.sample)
            bound.narrow(shard.table.grid)
        yield pair
