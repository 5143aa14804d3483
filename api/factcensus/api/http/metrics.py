"""What the service measures of itself, for Prometheus: one registry an application, so tests can build several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

#: Seconds; from a lookup in a cached index to a table of thousands of facts.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
#: Kinds of problems that say: not you, not now, or not so much.
REJECTIONS = frozenset(
    {
        "unauthorized", "forbidden", "body-too-slow", "body-too-large", "limit-exceeded", "too-many-requests",
        "overloaded", "too-many-jobs", "jobs-full", "deadline-exceeded",
    }
)  # fmt: skip
JOB_BUCKETS = (0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Generations(Collector):
    """One sample for each index, with its current digest as a label: no series is left of an older generation."""

    def __init__(self, generations: Callable[[], Mapping[str, Mapping[str, Any]]]) -> None:
        self._generations = generations

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the generations that are served now."""
        family = GaugeMetricFamily(
            "factcensus_index_generation",
            "Changes of a served index since it was built; its digest is a label.",
            labels=["index", "digest"],
        )
        for name, served in self._generations().items():
            if served["generation"] is not None:
                family.add_metric([name, served["digest"]], served["generation"])
        yield family


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
        #: By route, method and status: looking them up by labels takes longer than counting.
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.in_flight = Gauge("factcensus_http_requests_in_flight", "Requests being answered.", registry=self.registry)
        self.indexes_open = Gauge("factcensus_indexes_open", "Indexes that are open.", registry=self.registry)
        self.facts_counted = Counter(
            "factcensus_facts_counted", "Facts counted by facts:count and jobs.", registry=self.registry
        )
        self.rejected = Counter(
            "factcensus_requests_rejected",
            "Requests that were not answered, by the kind of problem: keys, rates, sizes, load, deadlines.",
            ["reason"],
            registry=self.registry,
        )
        self.undecodable = Counter(
            "factcensus_bodies_undecodable",
            "Bodies whose decoding ended without a table or a reason: damaged ones, or hostile ones.",
            registry=self.registry,
        )
        self.broken_off = Counter(
            "factcensus_answers_broken_off",
            "Tables whose sending ended early: at the deadline, or because the client took nothing.",
            registry=self.registry,
        )
        self.connections = Gauge("factcensus_connections", "Open connections.", registry=self.registry)
        self.connections_closed = Counter(
            "factcensus_connections_closed",
            "Connections closed for others' sake: evicted (to make room), too-slow, refused (no room).",
            ["reason"],
            registry=self.registry,
        )
        self.index_opens = Counter(
            "factcensus_index_opens", "Indexes opened, by outcome.", ["outcome"], registry=self.registry
        )
        self.cache = Counter(
            "factcensus_cache_lookups",
            "Answers that were looked for among those kept (hit, miss), or that the client had already (client).",
            ["result"],
            registry=self.registry,
        )
        self.cache_bytes = Gauge("factcensus_cache_bytes", "Answers that are kept.", registry=self.registry)
        self.jobs = Gauge("factcensus_jobs", "Jobs by state: queued, running.", ["state"], registry=self.registry)
        self.jobs_bytes = Gauge("factcensus_jobs_bytes", "What all jobs take.", registry=self.registry)
        self.jobs_finished = Counter(
            "factcensus_jobs_finished", "Jobs by outcome: done, failed, cancelled.", ["outcome"], registry=self.registry
        )
        self.job_seconds = Histogram(
            "factcensus_job_seconds",
            "Time from a job's begin, or its going on after a restart, to its end.",
            buckets=JOB_BUCKETS,
            registry=self.registry,
        )
        build = Gauge("factcensus_build_info", "Version of the service; always 1.", ["version"], registry=self.registry)
        build.labels(version("factcensus")).set(1)

    def follow_generations(self, generations: Callable[[], Mapping[str, Mapping[str, Any]]]) -> None:
        """Show which generation of each index is served, whenever the metrics are asked for.

        Args:
            generations: gives ``generation`` and ``digest`` by the name of the index.
        """
        self.registry.register(_Generations(generations))

    def observe(self, route: str, method: str, status: int, seconds: float, problem: str | None = None) -> None:
        """Record one answered request, and the kind of problem that was its answer."""
        if problem in REJECTIONS:
            self.rejected.labels(problem).inc()
        method = method if method in METHODS else "other"
        series = self._series.get((route, method, status))
        if series is None:
            series = self._requests.labels(route, method, str(status)), self._seconds.labels(route, method)
            self._series[route, method, status] = series
        series[0].inc()
        series[1].observe(seconds)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)
