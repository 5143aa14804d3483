"""Answers that a client may keep, as long as it asks each time whether they still hold.

An index never changes under its digest, so neither does an answer from it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from fastapi import Request, Response

from factcensus.api.serving.cache import AnswerCache
from factcensus.api.serving.deadlines import within
from factcensus.indexer import CountIndex, Limit

#: An answer may be kept, and used again only after asking: documents may have been deleted since.
CACHE_CONTROL = "no-cache"


def cache_headers(request: Request, index: CountIndex) -> dict[str, str]:
    """``ETag`` and ``Cache-Control`` of the answer to a GET; none where the index has no digest."""
    if index.digest is None:
        return {}
    asked = f"{index.digest}\n{index.analyzer.label}\n{request.app.version}\n{request.url.path}?{request.url.query}"
    tag = hashlib.sha256(asked.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return {"ETag": f'"{tag}"', "Cache-Control": CACHE_CONTROL}


def not_modified(request: Request, headers: dict[str, str]) -> Response | None:
    """The answer 304 for a client that has the answer with these headers already (RFC 9110, section 13.1.2)."""
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if not headers or not {"*", headers["ETag"]} & set(known):
        return None
    request.app.state.service.metrics.cache.labels("client").inc()
    return Response(status_code=304, headers=headers)


async def cached(
    request: Request,
    index: CountIndex,
    deadline_s: float,
    count: Callable[[Limit], dict[str, Any]],
    *question: Any,
    forms: Callable[[], Sequence[Sequence[int]]] | None = None,
) -> Response:
    """The answer to a question as JSON: one that is kept, or what ``count`` gives within the deadline.

    Args:
        forms: gives the token sequences that are looked for, where the time depends on nothing but their occurrences.

    Raises:
        DeadlineError: the deadline was reached.
    """
    service = request.app.state.service
    cache: AnswerCache = service.cache
    key = cache.key(index, *question)
    answer = cache.get(key)
    if answer is None:
        counted = None if forms is None else service.short_counts.answer(index, forms, count)
        if counted is None:
            answer = await within(deadline_s, request, lambda limit: orjson.dumps(count(limit)))
        else:
            answer = orjson.dumps(counted)
        cache.put(key, answer)
    return Response(answer, media_type="application/json")
