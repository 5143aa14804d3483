"""Routes for the open indexes and their properties."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from factcensus.api.answers import IndexList
from factcensus.api.dependencies import IndexesOf, OpenIndex, new_router
from factcensus.indexer.answers import IndexInfo

router = new_router("indexes")


@router.get("/v1/indexes", summary="List the open indexes", responses={200: {"model": IndexList}})
async def indexes(open_indexes: IndexesOf) -> JSONResponse:
    """Return name, digest, generation, analyzer, documents and tokens of each open index."""
    infos = [await run_in_threadpool(index.info) for index in open_indexes.indexes]
    return JSONResponse({"indexes": [info.summary().as_json() for info in infos]})


@router.get("/v1/indexes/{index}", summary="Describe an index", responses={200: {"model": IndexInfo}})
async def describe(index: OpenIndex) -> JSONResponse:
    """Return the size, the sources and the other properties of one index."""
    return JSONResponse((await run_in_threadpool(index.info)).as_json())
