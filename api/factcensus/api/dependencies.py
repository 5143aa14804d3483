"""Dependencies of the routes: the open index named by the path, the limits, and the check for JSON bodies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import APIRouter, Depends, Path, Request

from factcensus.api.decoding.decoders import Decoders
from factcensus.api.http.metrics import Metrics
from factcensus.api.http.routes import DirectRoute, NamedRoute, require_json
from factcensus.api.jobs.remote import Jobs
from factcensus.api.serving.cache import AnswerCache
from factcensus.api.serving.catalog import Catalog, unknown_index
from factcensus.api.serving.fact_tables import FactTables
from factcensus.api.serving.warming import ShortCounts
from factcensus.api.settings import Limits, Settings
from factcensus.api.workers.peers import Peers
from factcensus.indexer import CountIndex


def new_router(tag: str, *, include_in_schema: bool = True, route_class: type[DirectRoute] = NamedRoute) -> APIRouter:
    """Return a group of routes that refuse unknown parameters; each operation is named after its function."""
    return APIRouter(
        tags=[tag],
        include_in_schema=include_in_schema,
        generate_unique_id_function=lambda route: route.name,
        route_class=route_class,
    )


@dataclass(frozen=True)
class Service:
    """The shared objects of one application, at ``app.state.service``."""

    settings: Settings
    catalog: Catalog
    metrics: Metrics
    #: Shared by all requests that count batches.
    batch_limiter: CapacityLimiter
    decoders: Decoders
    jobs: Jobs
    cache: AnswerCache
    short_counts: ShortCounts
    #: Tables with which the page compares a fact.
    fact_tables: FactTables
    #: The other workers of the service.
    peers: Peers

    @property
    def keyed(self) -> bool:
        """Whether requests need an API key."""
        return self.settings.keys_file is not None


async def service_of(request: Request) -> Service:
    """Return the service of the request."""
    service: Service = request.app.state.service
    return service


@dataclass(frozen=True)
class VisibleIndexes:
    """The open indexes that a request may use: all, or those its key is restricted to."""

    catalog: Catalog
    #: Names; None for all.
    only: frozenset[str] | None

    @property
    def names(self) -> list[str]:
        """Names of the open indexes, in the order they were given."""
        return [name for name in self.catalog.names if self.may_ask(name)]

    @property
    def indexes(self) -> list[CountIndex]:
        """The open indexes, in the order they were given."""
        return [index for index in self.catalog.indexes if self.may_ask(index.name)]

    def may_ask(self, name: str) -> bool:
        """Return whether the request may use an index of this name."""
        return self.only is None or name in self.only

    def get(self, name: str) -> CountIndex:
        """Return the open index of this name.

        Raises:
            Problem: ``unknown-index``, also for an index that the key may not use; ``index-not-open``.
        """
        if self.only is None:
            return self.catalog.get(name)
        if name in self.only and self.catalog.serves(name):
            return self.catalog.get(name)
        raise unknown_index(name, self.names)


async def indexes_of(request: Request) -> VisibleIndexes:
    """Return the indexes that the request may use."""
    return VisibleIndexes((await service_of(request)).catalog, getattr(request.state, "indexes", None))


async def opened_index(
    request: Request, index: Annotated[str, Path(description="Name of an open index.")]
) -> CountIndex:
    """Return the open index that the path names."""
    return (await indexes_of(request)).get(index)


def limits_now(request: Request) -> Limits:
    """Return the limits without the cost of a dependency, for routes with thousands of requests per second."""
    limits: Limits = request.app.state.service.settings.limits
    return limits


async def limits_of(request: Request) -> Limits:
    """Return the limits on requests."""
    return limits_now(request)


async def jobs_of(request: Request) -> Jobs:
    """Return the jobs of the service."""
    return (await service_of(request)).jobs


async def holder_of(request: Request) -> str:
    """Return the name of the key that the request carried; empty if API keys are disabled."""
    return str(getattr(request.state, "holder", ""))


IndexesOf = Annotated[VisibleIndexes, Depends(indexes_of)]
ServiceOf = Annotated[Service, Depends(service_of)]
OpenIndex = Annotated[CountIndex, Depends(opened_index)]
LimitsOf = Annotated[Limits, Depends(limits_of)]
JobsOf = Annotated[Jobs, Depends(jobs_of)]
HolderOf = Annotated[str, Depends(holder_of)]
JsonBody = Depends(require_json)
