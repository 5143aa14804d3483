"""HTTP caching of responses: clients may store them, but must revalidate before each use.

A digest always stands for the same content of an index, so a response with its ETag never changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from fastapi import Request, Response

from factcensus.api.serving.cache import AnswerCache
from factcensus.api.serving.deadlines import within
from factcensus.indexer import CountIndex, Deadline

#: Caches may store a response but must revalidate it, because documents may have been deleted since.
CACHE_CONTROL = "no-cache"


def cache_headers(request: Request, index: CountIndex) -> dict[str, str]:
    """Return ``ETag`` and ``Cache-Control`` for the response to a GET; empty if the index has no digest."""
    if index.digest is None:
        return {}
    asked = f"{index.digest}\n{index.analyzer.label}\n{request.app.version}\n{request.url.path}?{request.url.query}"
    tag = hashlib.sha256(asked.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return {"ETag": f'"{tag}"', "Cache-Control": CACHE_CONTROL}


def not_modified(request: Request, headers: dict[str, str]) -> Response | None:
    """Return 304 if the client already has the response with these headers (RFC 9110, section 13.1.2)."""
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if not headers or not {"*", headers["ETag"]} & set(known):
        return None
    request.app.state.service.metrics.cache.labels("client").inc()
    return Response(status_code=304, headers=headers)


async def cached(
    request: Request,
    index: CountIndex,
    deadline_s: float,
    count: Callable[[Deadline], dict[str, Any]],
    question: str,
    *,
    forms: Callable[[], Sequence[Sequence[int]]] | None = None,
    of_text: bool = False,
) -> Response:
    """Return the response to a query as JSON, from the cache or by calling ``count`` with a timeout.

    Args:
        question: The query; equal texts have equal answers.
        forms: Returns the token sequences to look up, if the time depends only on their occurrences.
        of_text: Whether only their occurrences and documents are counted.

    Raises:
        DeadlineError: The timeout was reached.
    """
    service = request.app.state.service
    cache: AnswerCache = service.cache
    key = cache.key(index, question)
    answer = cache.get(key)
    if answer is None:
        counted = None if forms is None else service.short_counts.answer(index, forms, count, of_text=of_text)
        if counted is None:
            answer = await within(deadline_s, request, lambda deadline: orjson.dumps(count(deadline)))
        else:
            answer = orjson.dumps(counted)
        cache.put(key, answer)
    return Response(answer, media_type="application/json")
