"""Routes for operators: health, readiness, version and metrics."""

from __future__ import annotations

import platform
from importlib.metadata import version

from fastapi import Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool

from factcensus.api.answers import Health, Ready, Version
from factcensus.api.dependencies import Service, ServiceOf, new_router
from factcensus.api.http.problems import Problem
from factcensus.api.workers.peers import PeerError

router = new_router("status")


@router.get("/healthz", summary="Check that the process is running", responses={200: {"model": Health}})
async def healthz() -> JSONResponse:
    """Return 200 as long as the process is running."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", summary="Check that every index is open and warm", responses={200: {"model": Ready}})
async def readyz(service: ServiceOf) -> JSONResponse:
    """Return 200 and the served generation of each index, or a problem with status 503 and the reasons."""
    reasons = service.catalog.reasons_not_ready()
    if service.peers.others:
        reasons += await run_in_threadpool(_reasons_of_others, service)
    if reasons:
        errors = [{"detail": reason} for reason in reasons]
        raise Problem("not-ready", "; ".join(reasons), errors=errors, headers={"Retry-After": "1"})
    catalog = service.catalog
    return JSONResponse({"status": "ready", "indexes": catalog.names, "generations": catalog.generations()})


def _reasons_of_others(service: Service) -> list[str]:
    """Return the reasons why other workers are not ready; their requests would fail now."""
    answers = service.peers.ask_others("reasons_not_ready")
    found = [
        f"worker {number}: {reason}"
        for number, answer in answers.items()
        for reason in ([str(answer)] if isinstance(answer, PeerError) else answer)
    ]
    return list(dict.fromkeys(found))


@router.get("/version", summary="Show the version", responses={200: {"model": Version}})
async def version_() -> JSONResponse:
    """Return the versions of the service, of its API and of Python."""
    return JSONResponse(
        {"name": "factcensus", "version": version("factcensus"), "api": "v1", "python": platform.python_version()}
    )


@router.get(
    "/metrics",
    summary="Show metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(service: ServiceOf) -> Response:
    """Return the number and latency of requests by route, method and status, open indexes and other metrics."""
    if service.peers.others:
        await run_in_threadpool(service.peers.ask_others, "refresh_metrics")
    return Response(service.metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})
