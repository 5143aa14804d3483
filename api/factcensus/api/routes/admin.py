"""The route for operators that reloads the indexes without a restart."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from factcensus.api.answers import ReloadAnswer
from factcensus.api.dependencies import HolderOf, ServiceOf, new_router
from factcensus.api.http.access import is_loopback
from factcensus.api.http.negotiation import media_type_of
from factcensus.api.http.origins import FORM_TYPES
from factcensus.api.http.problems import Problem
from factcensus.api.workers.peers import LONG_S, PeerError

log = logging.getLogger("factcensus.api")
router = new_router("status")


@router.post("/v1/admin/reload", summary="Reload the indexes", responses={200: {"model": ReloadAnswer}})
async def reload(request: Request, service: ServiceOf, holder: HolderOf) -> JSONResponse:
    """Open new and changed indexes, and close removed ones; requests in flight are not affected.

    If API keys are enabled, only the keys in `FACTCENSUS_ADMIN_KEYS` may use this route; otherwise it works only if the
    service listens on loopback. The signal SIGHUP has the same effect.
    """
    media_type = media_type_of(request.headers.get("content-type"))
    if media_type and media_type in FORM_TYPES:
        raise Problem("unsupported-format", f"this route does not accept forms ({media_type}); send no body")
    settings = service.settings
    allowed = holder in settings.admin_keys if settings.keys_file is not None else is_loopback(settings.host)
    if not allowed:
        raise Problem(
            "forbidden", "this route needs a key named in FACTCENSUS_ADMIN_KEYS; or send SIGHUP to the process"
        )
    done = await run_in_threadpool(service.catalog.reload)
    others = await run_in_threadpool(partial(service.peers.ask_others, "reload", seconds=LONG_S))
    for number, answer in others.items():
        if isinstance(answer, PeerError):  # it opens the indexes again when it starts
            log.warning("worker %d was not reloaded: %s", number, answer)
    return JSONResponse(asdict(done) | {"indexes": service.catalog.names})
