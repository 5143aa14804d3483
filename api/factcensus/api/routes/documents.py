"""Finding the documents behind a number, page by page."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from factcensus.api.answers import DocumentsAnswer
from factcensus.api.bodies import DocumentsBody, scope_of
from factcensus.api.dependencies import JsonBody, LimitsOf, OpenIndex, new_router
from factcensus.api.http.problems import Problem
from factcensus.api.limits import check_entity, check_groups, check_text
from factcensus.api.serving.deadlines import within
from factcensus.api.settings import Limits
from factcensus.indexer import CountIndex, Limit

router = new_router("documents")


@router.post(
    "/v1/indexes/{index}/documents",
    summary="Find documents",
    responses={200: {"model": DocumentsAnswer}},
    dependencies=[JsonBody],
)
async def documents(request: Request, index: OpenIndex, limits: LimitsOf, body: DocumentsBody) -> JSONResponse:
    """Documents with their metadata and highlighted passages; ``next`` of one page is the ``cursor`` of the next."""
    if body.limit > limits.max_documents:
        raise Problem(
            "limit-exceeded",
            f"limit is {body.limit}, more than {limits.max_documents} (FACTCENSUS_MAX_DOCUMENTS); "
            'take smaller pages and follow "next"',
        )
    query = _query(body, limits)
    scope = scope_of(body.filter)
    cursors = Cursors(index, body)
    start = 0 if body.cursor is None else cursors.start(body.cursor)

    def found(deadline: Limit) -> dict[str, Any]:
        check_groups(index, body.by, limits)
        return index.find_documents(**query, limit=body.limit, start=start, by=body.by, scope=scope, deadline=deadline)

    page = await within(limits.deadline_seconds, request, found)
    following = None if page["next"] is None else cursors.cursor(page["next"])
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


class Cursors:
    """Where the pages of one question begin, as text that fits this question to this index and no other.

    A page's place is a number of documents. It means the same as long as the question is the same and the index has
    lost no document: added ones come last. A cursor carries a digest of both, so that it goes on with them or is
    refused.
    """

    def __init__(self, index: CountIndex, body: DocumentsBody) -> None:
        question = body.model_dump_json(exclude={"limit", "cursor"})
        self._question = _digest(question)
        # An index of infini-gram's has no digest: its name and size have to do.
        own = json.dumps([index.name, *(shard.size for shard in index.shards)])
        self._index = _digest(index.digest or own)
        self._held = {_digest(digest or own) for digest in index.held_digests}

    def cursor(self, start: int) -> str:
        """The cursor of the page that begins behind so many documents."""
        return base64.urlsafe_b64encode(json.dumps([start, self._index, self._question]).encode()).decode()

    def start(self, cursor: str) -> int:
        """Where a page begins.

        Raises:
            Problem: the text is not a cursor, or one of another question; ``index-changed`` for one of another content.
        """
        try:
            start, of_index, of_question = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
            if not (type(start) is int and 0 <= start < 2**63 and isinstance(of_index, str)):
                raise ValueError
        except (ValueError, TypeError, binascii.Error, RecursionError):
            raise _refused("it is not one that this service gives") from None
        if of_index not in self._held:
            raise Problem(
                "index-changed",
                "the cursor cannot be used: documents of its index were deleted since, or it is of another index. Ask "
                "again without a cursor",
            )
        if of_question != self._question:
            raise _refused(
                "it is of another query; a query keeps its text, entities, window, filter and by on all pages"
            )
        return start


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _refused(reason: str) -> Problem:
    return Problem(
        "invalid-request",
        f'the cursor cannot be used: {reason}. Send "next" of an answer with the same query, or no cursor for the '
        "first page",
    )
