"""The routes that show text: the documents behind a number, page by page, and the spans of a text in the corpus."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import replace
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from factcensus.api.bodies import DocumentsBody, TraceBody, scope_of
from factcensus.api.dependencies import JsonBody, LimitsOf, OpenIndex, new_router
from factcensus.api.http.problems import Problem
from factcensus.api.limits import check_entity, check_groups, check_text
from factcensus.api.serving.deadlines import within
from factcensus.api.settings import Limits
from factcensus.indexer import CountIndex, Deadline
from factcensus.indexer.answers import DocumentsAnswer, TraceAnswer

router = new_router("documents")


@router.post(
    "/v1/indexes/{index}/documents",
    summary="Find documents",
    responses={200: {"model": DocumentsAnswer}},
    dependencies=[JsonBody],
)
async def documents(request: Request, index: OpenIndex, limits: LimitsOf, body: DocumentsBody) -> JSONResponse:
    """Return documents with metadata and highlighted passages; ``next`` of a page is the ``cursor`` of the next."""
    if body.limit > limits.max_documents:
        raise Problem(
            "limit-exceeded",
            f"limit is {body.limit}, more than {limits.max_documents} (FACTCENSUS_MAX_DOCUMENTS); "
            'use smaller pages and follow "next"',
        )
    query = _query(body, limits)
    scope = scope_of(body.filter)
    cursors = Cursors(index, body)
    start = 0 if body.cursor is None else cursors.start(body.cursor)

    def found(deadline: Deadline) -> DocumentsAnswer:
        check_groups(index, body.by, limits)
        return index.find_documents(**query, limit=body.limit, start=start, by=body.by, scope=scope, deadline=deadline)

    page = await within(limits.deadline_seconds, request, found)
    return JSONResponse(replace(page, next=cursors.next_of(page)).as_json())


@router.post(
    "/v1/indexes/{index}/trace",
    summary="Find the spans of a text that occur in the corpus",
    responses={200: {"model": TraceAnswer}},
    dependencies=[JsonBody],
)
async def trace(request: Request, index: OpenIndex, limits: LimitsOf, body: TraceBody) -> JSONResponse:
    """Return the longest spans of a text that occur in the corpus, with counts, and documents that contain them."""
    check_text(body.text, "the text", limits)
    scope = scope_of(body.filter)

    def found(deadline: Deadline) -> TraceAnswer:
        return index.trace(
            body.text,
            least_tokens=body.least_tokens,
            limit=body.limit,
            documents=body.documents,
            scope=scope,
            deadline=deadline,
        )

    return JSONResponse((await within(limits.deadline_seconds, request, found)).as_json())


def _query(body: DocumentsBody, limits: Limits) -> dict[str, Any]:
    if body.text is not None:
        check_text(body.text, "the text", limits)
        return {"text": body.text}
    assert body.subject is not None  # the body was checked: either a text or both entities
    assert body.object is not None
    subject, object_ = body.subject.entity(), body.object.entity()
    check_entity(subject, "the subject", limits)
    check_entity(object_, "the object", limits)
    return {"subject": subject, "object": object_, "window": body.window}


class Cursors:
    """Cursors of the pages of one query on one index.

    A page starts after a number of documents. This number stays valid as long as the query is the same and no document
    is deleted from the index; added documents come last. A cursor contains digests of both, and is refused for another
    query or index.
    """

    def __init__(self, index: CountIndex, body: DocumentsBody) -> None:
        question = body.model_dump_json(exclude={"limit", "cursor"})
        self._question = _digest(question)
        # An index built by infini-gram has no digest; use its name and size.
        own = json.dumps([index.name, *(shard.size for shard in index.shards)])
        self._index = _digest(index.digest or own)
        self._held = {_digest(digest or own) for digest in index.held_digests}

    def cursor(self, start: int) -> str:
        """Return the cursor of the page that starts after ``start`` documents."""
        return base64.urlsafe_b64encode(json.dumps([start, self._index, self._question]).encode()).decode()

    def next_of(self, page: DocumentsAnswer) -> str | None:
        """Return the cursor of the page after ``page``; None for the last page."""
        return self.cursor(page.next) if isinstance(page.next, int) else None

    def start(self, cursor: str) -> int:
        """Return the number of documents before a page.

        Raises:
            Problem: The text is not a cursor, or belongs to another query; ``index-changed`` if the index changed.
        """
        try:
            start, of_index, of_question = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
            if not (type(start) is int and 0 <= start < 2**63 and isinstance(of_index, str)):
                raise ValueError
        except (ValueError, TypeError, binascii.Error, RecursionError):
            raise _refused("this service did not create it") from None
        if of_index not in self._held:
            raise Problem(
                "index-changed",
                "the cursor is no longer valid: documents were deleted from its index, or it belongs to another index; "
                "repeat the query without a cursor",
            )
        if of_question != self._question:
            raise _refused(
                "it belongs to another query; keep text, entities, window, filter and by the same on all pages"
            )
        return start


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _refused(reason: str) -> Problem:
    return Problem(
        "invalid-request",
        f'invalid cursor: {reason}. Send "next" of a response with the same query, or no cursor for the first page',
    )
