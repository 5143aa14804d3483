"""Routes that help to ask: completions of a name while it is typed, and examples."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator, Field

from factcensus.api.dependencies import LimitsOf, OpenIndex, new_router
from factcensus.api.http.parameters import as_number
from factcensus.api.limits import check_text
from factcensus.api.serving.deadlines import within
from factcensus.api.serving.examples import examples_of
from factcensus.indexer.answers import CompletionAnswer, ExamplesAnswer
from factcensus.indexer.counting.completion import MOST_COMPLETIONS

router = new_router("counts")
#: Default number of completions.
SHOWN = 10
#: The bounds are inside, so that the OpenAPI document has them as ``minimum`` and ``maximum``.
Limit = Annotated[Annotated[int, Field(ge=1, le=MOST_COMPLETIONS)], BeforeValidator(as_number)]


@router.get("/v1/indexes/{index}/complete", summary="Complete a name", responses={200: {"model": CompletionAnswer}})
async def complete(
    request: Request,
    index: OpenIndex,
    limits: LimitsOf,
    text: Annotated[
        str, Query(description="The beginning of a name; its last word is completed.", examples=["Marie Cu"])
    ],
    limit: Annotated[Limit, Query(description="Maximum number of completions.")] = SHOWN,
) -> JSONResponse:
    """Return completions of the last word that occur in the corpus, most frequent first, with exact counts."""
    check_text(text, "the text", limits)
    found: Any = await within(
        limits.deadline_seconds, request, lambda deadline: index.complete(text, limit=limit, deadline=deadline)
    )
    return JSONResponse(found.as_json())


@router.get("/v1/indexes/{index}/examples", summary="Show examples", responses={200: {"model": ExamplesAnswer}})
async def examples(request: Request, index: OpenIndex, limits: LimitsOf) -> JSONResponse:
    """Return five names and pairs that occur in the corpus, from frequent to rare, with exact counts."""
    found = await within(limits.deadline_seconds, request, lambda deadline: examples_of(index, deadline))
    return JSONResponse(ExamplesAnswer(index.name, list(found)).as_json())
