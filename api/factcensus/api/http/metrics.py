"""Metrics of the service for Prometheus, with one registry per application so that tests can create several."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

#: Seconds, from a lookup in a cached index to a table of thousands of facts.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
#: Problem types for requests that are refused because of keys, rates, sizes, load or timeouts.
REJECTIONS = frozenset(
    {
        "unauthorized",
        "forbidden",
        "body-too-slow",
        "body-too-large",
        "limit-exceeded",
        "too-many-requests",
        "overloaded",
        "too-many-jobs",
        "jobs-full",
        "deadline-exceeded",
    }
)
JOB_BUCKETS = (0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Generations(Collector):
    """One sample per index with its current digest as a label, so no series of older generations remain."""

    def __init__(self, generations: Callable[[], Mapping[str, Mapping[str, Any]]]) -> None:
        self._generations = generations

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the generations in service."""
        family = GaugeMetricFamily(
            "factcensus_index_generation",
            "Number of changes of a served index since it was built; its digest is a label.",
            labels=["index", "digest"],
        )
        for name, served in self._generations().items():
            if served["generation"] is not None:
                family.add_metric([name, served["digest"]], served["generation"])
        yield family


class Metrics:
    """Requests by route, method and status, their latency, requests in flight, and open indexes.

    A route is labelled with its template (``/v1/indexes/{index}/count``), or ``unmatched`` without one, so that clients
    cannot create new series by guessing URLs. For the same reason an unusual method is labelled ``other``.

    Args:
        folder: The folder to which the workers of the service write their metrics, which are shown together. The
            library must have been imported with ``PROMETHEUS_MULTIPROC_DIR`` set to it. None for a single worker.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.registry = CollectorRegistry()
        self._folder = folder
        self._followed: list[tuple[Gauge, Callable[[], float]]] = []
        self._generations: _Generations | None = None
        self._requests = Counter(
            "factcensus_http_requests",
            "Answered requests.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "factcensus_http_request_seconds",
            "Time from the first byte of a request to the end of its response.",
            ["route", "method"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        #: Cached by route, method and status, because looking them up by labels is slower than counting.
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        #: Requests being answered by this worker.
        self.in_flight = 0
        self.follow(
            self._gauge("factcensus_http_requests_in_flight", "Requests being answered."), lambda: self.in_flight
        )
        self.indexes_open = self._gauge("factcensus_indexes_open", "Open indexes.", over_workers="livemin")
        self.facts_counted = Counter(
            "factcensus_facts_counted", "Facts counted by facts:count and jobs.", registry=self.registry
        )
        self.rejected = Counter(
            "factcensus_requests_rejected",
            "Refused requests by kind of problem: keys, rates, sizes, load, timeouts.",
            ["reason"],
            registry=self.registry,
        )
        self.undecodable = Counter(
            "factcensus_bodies_undecodable",
            "Bodies that crashed the decoder or were damaged.",
            registry=self.registry,
        )
        self.broken_off = Counter(
            "factcensus_answers_broken_off",
            "Tables whose sending ended early, at the timeout or because the client did not read.",
            registry=self.registry,
        )
        self.connections = self._gauge("factcensus_connections", "Open connections.")
        self.connections_closed = Counter(
            "factcensus_connections_closed",
            "Closed connections by reason: evicted (to make room), too-slow, refused (no room).",
            ["reason"],
            registry=self.registry,
        )
        self.index_opens = Counter(
            "factcensus_index_opens", "Indexes opened, by outcome.", ["outcome"], registry=self.registry
        )
        self.cache = Counter(
            "factcensus_cache_lookups",
            "Single counts from the cache (hit), counted (miss), or unchanged at the client (client).",
            ["result"],
            registry=self.registry,
        )
        self.cache_bytes = self._gauge("factcensus_cache_bytes", "Size of the cached responses.")
        self.jobs = self._gauge("factcensus_jobs", "Jobs by state: queued, running.", ["state"])
        self.jobs_bytes = self._gauge("factcensus_jobs_bytes", "Storage used by all jobs.")
        self.jobs_finished = Counter(
            "factcensus_jobs_finished", "Jobs by outcome: done, failed, cancelled.", ["outcome"], registry=self.registry
        )
        self.job_seconds = Histogram(
            "factcensus_job_seconds",
            "Time from the start of a job, or its continuation after a restart, to its end.",
            buckets=JOB_BUCKETS,
            registry=self.registry,
        )
        build = self._gauge(
            "factcensus_build_info", "Version of the service; always 1.", ["version"], over_workers="livemax"
        )
        build.labels(version("factcensus")).set(1)

    def _gauge(
        self,
        name: str,
        help: str,
        labels: Sequence[str] = (),
        over_workers: Literal["livesum", "livemin", "livemax"] = "livesum",
    ) -> Gauge:
        return Gauge(name, help, labels, registry=self.registry, multiprocess_mode=over_workers)

    def follow(self, gauge: Gauge, value: Callable[[], float]) -> None:
        """Set a gauge to a value whenever the metrics are shown."""
        self._followed.append((gauge, value))

    def refresh(self) -> None:
        """Update the gauges that show a current value."""
        for gauge, value in self._followed:
            gauge.set(value())

    def follow_generations(self, generations: Callable[[], Mapping[str, Mapping[str, Any]]]) -> None:
        """Report the served generation of each index in the metrics.

        Args:
            generations: Returns ``generation`` and ``digest`` by index name.
        """
        self._generations = _Generations(generations)
        self.registry.register(self._generations)

    def observe(self, route: str, method: str, status: int, seconds: float, problem: str | None = None) -> None:
        """Record one answered request and its problem type, if any."""
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
        """Return all metrics in the Prometheus text format; the other workers must have refreshed theirs."""
        self.refresh()
        if self._folder is None:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._folder))  # type: ignore[no-untyped-call]  # the library has no types here
        if self._generations is not None:
            registry.register(self._generations)
        return generate_latest(registry)
