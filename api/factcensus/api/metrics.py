"""What the service measures of itself, for Prometheus: one registry an application, so tests can build several."""

from __future__ import annotations

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

#: Seconds; from a lookup in a cached index to a table of thousands of facts.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Requests by route, method and status, their latency, those in flight, and the open indexes.

    A route is its template (``/v1/indexes/{index}/count``), ``unmatched`` where there is none, so that a client
    that tries addresses cannot make new series; an unusual method is ``other`` for the same reason.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "factcensus_http_requests",
            "Answered requests.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "factcensus_http_request_seconds",
            "Time from the first byte of a request to the end of its answer.",
            ["route", "method"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge("factcensus_http_requests_in_flight", "Requests being answered.", registry=self.registry)
        self.indexes_open = Gauge("factcensus_indexes_open", "Indexes that are open.", registry=self.registry)
        self.facts_counted = Counter(
            "factcensus_facts_counted", "Facts counted by facts:count.", registry=self.registry
        )
        build = Gauge("factcensus_build_info", "Version of the service; always 1.", ["version"], registry=self.registry)
        build.labels(version("factcensus")).set(1)

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record one answered request."""
        method = method if method in METHODS else "other"
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route, method).observe(seconds)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
