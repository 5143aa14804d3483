"""Answers that a client may keep: an index never changes under its digest, so neither does an answer from it."""

from __future__ import annotations

import hashlib

from fastapi import Request, Response

from factcensus.indexer import CountIndex

#: Seconds for which an answer is used again without asking; the name may stand for another index after that.
MAX_AGE_S = 60


def cache_headers(request: Request, index: CountIndex) -> dict[str, str]:
    """``ETag`` and ``Cache-Control`` of the answer to a GET; none where the index has no digest."""
    if index.digest is None:
        return {}
    asked = f"{index.digest}\n{index.analyzer.label}\n{request.app.version}\n{request.url.path}?{request.url.query}"
    tag = hashlib.sha256(asked.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return {"ETag": f'"{tag}"', "Cache-Control": f"max-age={MAX_AGE_S}"}


def not_modified(request: Request, headers: dict[str, str]) -> Response | None:
    """The answer 304 for a client that has the answer with these headers already (RFC 9110, section 13.1.2)."""
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return Response(status_code=304, headers=headers) if headers and {"*", headers["ETag"]} & set(known) else None
