"""For those who run the service: is it alive, is it ready, what is it, how is it doing."""

from __future__ import annotations

import platform
from importlib.metadata import version

from fastapi import Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from factcensus.api.answers import Health, Ready, Version
from factcensus.api.dependencies import ServiceOf, new_router
from factcensus.api.http.problems import Problem

router = new_router("status")


@router.get("/healthz", summary="Is the process alive?", responses={200: {"model": Health}})
async def healthz() -> JSONResponse:
    """Always 200: whoever gets this answer has reached a living process."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", summary="Is every index open and warm?", responses={200: {"model": Ready}})
async def readyz(service: ServiceOf) -> JSONResponse:
    """200 and the generation that each index answers with, or a problem with status 503 and the reasons."""
    if reasons := service.catalog.reasons_not_ready():
        errors = [{"detail": reason} for reason in reasons]
        raise Problem("not-ready", "; ".join(reasons), errors=errors, headers={"Retry-After": "1"})
    catalog = service.catalog
    return JSONResponse({"status": "ready", "indexes": catalog.names, "generations": catalog.generations()})


@router.get("/version", summary="What is running?", responses={200: {"model": Version}})
async def version_() -> JSONResponse:
    """The versions of the service, of its interface and of Python."""
    return JSONResponse(
        {"name": "factcensus", "version": version("factcensus"), "api": "v1", "python": platform.python_version()}
    )


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(service: ServiceOf) -> Response:
    """Requests by route, method and status, their latency, those in flight, open indexes; Prometheus' text format."""
    return Response(service.metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})
