"""The application factory: build a FastAPI application from settings; its lifespan opens and closes the indexes."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from anyio import CapacityLimiter
from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.middleware.cors import CORSMiddleware

from factcensus.api.decoding.decoders import Decoders
from factcensus.api.decoding.starting import PROCESS
from factcensus.api.dependencies import Service
from factcensus.api.http.access import Access, check_names, read_keys
from factcensus.api.http.headers import UnambiguousHeaders
from factcensus.api.http.intake import Intake, Slots
from factcensus.api.http.metrics import Metrics
from factcensus.api.http.middleware import Compression, Observation
from factcensus.api.http.origins import AllowedHosts, check_addresses, host_names
from factcensus.api.http.problems import add_problem_handlers
from factcensus.api.infini_gram.engines import Models
from factcensus.api.jobs.runner import JobRunner
from factcensus.api.openapi import openapi_document
from factcensus.api.pages import facts as fact_page
from factcensus.api.pages import uploads
from factcensus.api.routes import admin, counts, documents, facts, indexes, infini_gram, status
from factcensus.api.routes import jobs as job_routes
from factcensus.api.serving.cache import AnswerCache
from factcensus.api.serving.catalog import Catalog, index_folders
from factcensus.api.serving.fact_tables import FactTables
from factcensus.api.serving.warming import ShortCounts
from factcensus.api.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """Create an application that serves ``settings.indexes`` once its lifespan has started.

    If an index cannot be opened, the others are still served; ``/readyz`` then answers 503 and names the index.

    Raises:
        InputError: Two index folders have the same name, or the key file is unusable or contains an unknown name.
    """
    check_addresses(settings)
    served = index_folders(settings)
    keys = {} if settings.keys_file is None else read_keys(settings.keys_file)
    check_names(keys, settings.admin_keys, list(served), fixed=settings.indexes_in is None)
    models = Models()
    metrics = Metrics()
    short_counts = ShortCounts()
    catalog = Catalog(
        partial(index_folders, settings),
        lambda outcome: metrics.index_opens.labels(outcome).inc(),
        short_counts.warm_up if settings.warm_up else None,
        settings.poll_seconds,
    )
    metrics.indexes_open.set_function(lambda: len(catalog.names))
    metrics.follow_generations(catalog.generations)
    decoders = Decoders(settings.limits.max_parallel_batches, metrics)
    jobs = JobRunner(settings.jobs_folder, catalog, settings.limits, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(PROCESS.start)  # it starts while the indexes are opened
        await run_in_threadpool(catalog.open)
        await run_in_threadpool(jobs.open)
        await run_in_threadpool(PROCESS.wait)
        if not app.state.announced:
            catalog.start_warming()
        try:
            yield
        finally:
            await run_in_threadpool(jobs.close)
            await run_in_threadpool(models.close)
            await run_in_threadpool(catalog.close)

    app = FastAPI(
        title="factcensus",
        version=version("factcensus"),
        description="Exact counts of facts in pre-training corpora.",
        lifespan=lifespan,
        docs_url=None,  # the framework's page loads scripts from other hosts; pages/facts.py has its own
        redoc_url=None,
        openapi_url=None,  # the framework's route would ignore misspelt parameters; pages/facts.py has its own
        redirect_slashes=False,
    )
    app.openapi = partial(openapi_document, app)  # type: ignore[method-assign]  # as the framework documents
    cache = AnswerCache(settings.limits.cache_bytes, metrics)
    catalog.listeners += [cache.clear, partial(models.keep_only, catalog), jobs.drop_outdated]
    batch_limiter = CapacityLimiter(settings.limits.max_parallel_batches)
    app.state.service = Service(
        settings, catalog, metrics, batch_limiter, decoders, jobs, cache, short_counts, FactTables(settings.fact_tables)
    )
    #: Whether the server prints the URL; it then starts the warm-up itself, so that no log line comes before the URL.
    app.state.announced = False
    app.state.models = models
    app.state.form_secret = secrets.token_bytes(32)
    app.state.slots = slots = Slots(settings.limits.max_parallel_requests)
    # Requests are matched against one route after another, so the most used routes come first. Routers are not nested,
    # because nested routes are matched twice.
    for part in (counts, facts, documents, infini_gram, status, admin, fact_page, uploads, indexes, job_routes):
        app.router.routes += part.router.routes
    add_problem_handlers(app)
    # The middleware added last is the outermost.
    app.add_middleware(Intake, limits=settings.limits, slots=slots)
    if keys or settings.keys_file or settings.requests_per_minute:
        app.add_middleware(Access, keys=keys, requests_per_minute=settings.requests_per_minute)
    app.add_middleware(Compression)
    if (names := host_names(settings)) is not None:
        app.add_middleware(AllowedHosts, names=names)
    app.add_middleware(UnambiguousHeaders)
    app.add_middleware(Observation, metrics=metrics, keyed=settings.keys_file is not None)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match", "Prefer", "X-API-Key", "X-Request-ID"],
            expose_headers=["ETag", "Location", "Retry-After", "X-Request-ID"],
        )
    return app
