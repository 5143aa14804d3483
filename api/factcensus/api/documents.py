"""Finding the documents behind a number, page by page."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from factcensus.api.answers import DocumentsAnswer
from factcensus.api.bodies import DocumentsBody
from factcensus.api.dependencies import JsonBody, LimitsOf, OpenIndex
from factcensus.api.limits import check_entity, check_text
from factcensus.api.problems import Problem
from factcensus.api.settings import Limits
from factcensus.indexer import CountIndex

router = APIRouter(tags=["documents"])


@router.post(
    "/v1/indexes/{index}/documents",
    summary="Find documents",
    responses={200: {"model": DocumentsAnswer}},
    dependencies=[JsonBody],
)
async def documents(index: OpenIndex, limits: LimitsOf, body: DocumentsBody) -> JSONResponse:
    """Documents with their metadata and highlighted passages; ``next`` of one page is the ``cursor`` of the next."""
    if body.limit > limits.max_documents:
        raise Problem(
            "limit-exceeded",
            f"limit is {body.limit}, more than {limits.max_documents} (FACTCENSUS_MAX_DOCUMENTS); "
            'take smaller pages and follow "next"',
        )
    query = _query(body, limits)
    fingerprint = _fingerprint(index, body)
    start = _start(body.cursor, fingerprint) if body.cursor is not None else 0
    page = await run_in_threadpool(index.find_documents, **query, limit=body.limit, start=start)
    following = None if page["next"] is None else _cursor(page["next"], fingerprint)
    answer = {"index": index.name, "analyzer": index.analyzer.label, **page, "next": following, "exact": True}
    return JSONResponse(answer)


def _query(body: DocumentsBody, limits: Limits) -> dict[str, Any]:
    if body.text is not None:
        check_text(body.text, "the text", limits)
        return {"text": body.text}
    assert body.subject is not None  # the body's own check: either a text or both entities
    assert body.object is not None
    subject, object_ = body.subject.entity(), body.object.entity()
    check_entity(subject, "the subject", limits)
    check_entity(object_, "the object", limits)
    return {"subject": subject, "object": object_, "window": body.window}


def _fingerprint(index: CountIndex, body: DocumentsBody) -> str:
    """Of the question and the index's content: a cursor goes on with its own question or not at all."""
    question = body.model_dump_json(exclude={"limit", "cursor"})
    return hashlib.sha256(f"{index.digest}\n{question}".encode()).hexdigest()[:16]


def _cursor(start: int, fingerprint: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([start, fingerprint]).encode()).decode()


def _start(cursor: str, fingerprint: str) -> int:
    try:
        start, of_query = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        if isinstance(start, int) and 0 <= start < 2**63 and of_query == fingerprint:
            return start
    except (ValueError, TypeError, binascii.Error, RecursionError):
        pass
    raise Problem(
        "invalid-request",
        'the cursor does not belong to this query and index; send "next" of an answer with the same query, '
        "or no cursor for the first page",
    )
