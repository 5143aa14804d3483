"""The application factory: build a FastAPI application from settings; its lifespan opens and closes the indexes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from time import monotonic

from anyio import CapacityLimiter
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from factcensus.api.decoding.decoders import Decoders
from factcensus.api.decoding.starting import PROCESS
from factcensus.api.dependencies import Service
from factcensus.api.http.access import Access, Key, check_names, read_keys
from factcensus.api.http.application import Application
from factcensus.api.http.headers import UnambiguousHeaders
from factcensus.api.http.intake import Intake, Slots
from factcensus.api.http.metrics import Metrics
from factcensus.api.http.middleware import Compression, Observation
from factcensus.api.http.origins import AllowedHosts, check_addresses, host_names
from factcensus.api.http.problems import add_problem_handlers
from factcensus.api.http.telemetry import Tracing, tracer_provider
from factcensus.api.infini_gram.engines import Models
from factcensus.api.jobs.remote import COUNTING, RemoteJobs, methods_for_peers
from factcensus.api.jobs.runner import JobRunner
from factcensus.api.openapi import openapi_document
from factcensus.api.pages import facts as fact_page
from factcensus.api.pages import problems, reference, traces, uploads
from factcensus.api.routes import admin, completions, counts, documents, facts, indexes, infini_gram, status
from factcensus.api.routes import jobs as job_routes
from factcensus.api.serving.cache import AnswerCache
from factcensus.api.serving.catalog import Catalog
from factcensus.api.serving.fact_tables import FactTables
from factcensus.api.serving.sources import Source, sources_of
from factcensus.api.serving.warming import ShortCounts
from factcensus.api.settings import Settings
from factcensus.api.slices.source import slices_of
from factcensus.api.workers.member import Member
from factcensus.api.workers.peers import Peers
from factcensus.api.workers.rates import RATE_HEADERS, Rates
from factcensus.api.workers.tally import Tally
from factcensus.indexer.errors import InputError


def create_app(settings: Settings, member: Member | None = None) -> FastAPI:
    """Create an application that serves ``settings.indexes`` once its lifespan has started.

    If an index cannot be opened, the others are still served; ``/readyz`` then returns 503 and names the index.

    Args:
        settings: The settings of the whole service.
        member: This process among the workers of the service; by default the only one.

    Raises:
        InputError: Two index folders have the same name, or the key file is unusable or contains an unknown name.
    """
    check_addresses(settings)
    keys = {} if settings.keys_file is None else read_keys(settings.keys_file)
    remote = slices_of(settings)
    check_names(keys, settings.admin_keys, list(_sources(settings, remote)), fixed=settings.indexes_in is None)
    member = member or Member()
    models = Models()
    service, runner = _build(settings, remote, member)
    service.catalog.listeners += [service.cache.clear, partial(models.keep_only, service.catalog)]
    app = Application(
        title="factcensus",
        version=version("factcensus"),
        description="Exact counts of facts in pre-training corpora.",
        lifespan=partial(_lifespan, service, runner, models),
        docs_url=None,  # the framework's page loads scripts from other hosts; pages/reference.py has its own
        redoc_url=None,
        openapi_url=None,  # the framework's route would ignore misspelt parameters; pages/reference.py has its own
        redirect_slashes=False,
    )
    app.openapi = partial(openapi_document, app)  # type: ignore[method-assign]  # as the framework documents
    app.state.service = service
    #: Whether the server prints the URL; it then starts the warm-up itself, so that no log line comes before the URL.
    app.state.announced = False
    #: The time by which the server must have stopped.
    app.state.stop_by = 0.0
    app.state.models = models
    app.state.tracer_provider = None
    app.state.form_secret = member.secret
    app.state.slots = Slots(settings.limits.max_parallel_requests, Tally(member))
    # Requests are matched against one route after another, so the most used routes come first. Routers are not nested,
    # because nested routes are matched twice.
    for part in (
        counts,
        completions,
        facts,
        documents,
        infini_gram,
        status,
        admin,
        fact_page,
        uploads,
        traces,
        reference,
        indexes,
        job_routes,
    ):
        app.router.routes += part.router.routes
    add_problem_handlers(app)
    app.state.problem_page = problems.page_of
    _add_middleware(app, settings, keys, member)
    return app


def _sources(settings: Settings, remote: Mapping[str, Source]) -> dict[str, Source]:
    """Return the index folders now, and the indexes of slices.

    Raises:
        InputError: Two have the same name.
    """
    folders = sources_of(settings)
    if both := sorted(folders.keys() & remote.keys()):
        raise InputError(f"an index folder and an index of --remote are both named {both[0]!r}; names must be unique")
    return {**folders, **remote}


def _build(settings: Settings, remote: Mapping[str, Source], member: Member) -> tuple[Service, JobRunner | None]:
    """Return the shared objects of an application, and the jobs if this worker counts them."""
    limits = settings.limits
    metrics, short_counts, peers = Metrics(member.metrics_folder), ShortCounts(), Peers(member)
    catalog = Catalog(
        partial(_sources, settings, remote),
        lambda outcome: metrics.index_opens.labels(outcome).inc(),
        short_counts.warm_up if settings.warm_up else None,
        settings.poll_seconds,
    )
    metrics.follow(metrics.indexes_open, lambda: len(catalog.names))
    metrics.follow_generations(catalog.generations)
    runner = None
    if member.number == COUNTING:
        # Without a folder of its own, the jobs of several workers outlive a crash of this one.
        folder = settings.jobs_folder or (member.folder / "jobs" if member.folder else None)
        runner = JobRunner(folder, catalog, limits, metrics)
        catalog.listeners.append(runner.drop_outdated)
    service = Service(
        settings=settings,
        catalog=catalog,
        metrics=metrics,
        batch_limiter=CapacityLimiter(member.share(limits.max_parallel_batches)),
        decoders=Decoders(member.share(limits.max_parallel_batches), metrics),
        jobs=runner or RemoteJobs(peers, limits),
        cache=AnswerCache(member.share(limits.cache_bytes), metrics),
        short_counts=short_counts,
        fact_tables=FactTables(settings.fact_tables),
        peers=peers,
    )
    return service, runner


@asynccontextmanager
async def _lifespan(service: Service, runner: JobRunner | None, models: Models, app: FastAPI) -> AsyncIterator[None]:
    catalog, peers = service.catalog, service.peers
    await run_in_threadpool(PROCESS.start)  # it starts while the indexes are opened
    await run_in_threadpool(catalog.open)
    if runner is not None:
        await run_in_threadpool(runner.open)
    await run_in_threadpool(PROCESS.wait)
    peers.answer(
        {
            "reload": catalog.reload,
            "reasons_not_ready": catalog.reasons_not_ready,
            "refresh_metrics": service.metrics.refresh,
            **({} if runner is None else methods_for_peers(runner, catalog)),
        }
    )
    if not app.state.announced:
        catalog.start_warming()
    try:
        yield
    finally:
        if runner is not None:  # the last requests of the other workers may need jobs
            await run_in_threadpool(peers.wait_for_others, app.state.stop_by - monotonic())
        await run_in_threadpool(peers.close)
        if runner is not None:
            await run_in_threadpool(runner.close)
        await run_in_threadpool(models.close)
        await run_in_threadpool(catalog.close)
        if app.state.tracer_provider is not None:
            await run_in_threadpool(app.state.tracer_provider.shutdown)  # sends the last spans


def _add_middleware(app: FastAPI, settings: Settings, keys: Mapping[str, Key], member: Member) -> None:
    """Add the layers around the routes; the one added last is the outermost."""
    app.add_middleware(Intake, limits=settings.limits, slots=app.state.slots)
    if keys or settings.keys_file or settings.requests_per_minute:
        rates = Rates(settings.requests_per_minute, member) if settings.requests_per_minute else None
        app.add_middleware(Access, keys=keys, rates=rates)
    app.add_middleware(Compression)
    if (names := host_names(settings)) is not None:
        app.add_middleware(AllowedHosts, names=names)
    app.add_middleware(UnambiguousHeaders)
    if settings.telemetry:
        app.state.tracer_provider = tracer_provider(app.version)
        app.add_middleware(Tracing, provider=app.state.tracer_provider)
    app.add_middleware(Observation, metrics=app.state.service.metrics, keyed=settings.keys_file is not None)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", "Prefer", "X-API-Key", "X-Request-ID"],
            expose_headers=["ETag", "Location", "Retry-After", "X-Request-ID", *RATE_HEADERS],
        )
