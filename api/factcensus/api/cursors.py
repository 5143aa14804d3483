"""Cursors of the pages of a query for documents."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable

from factcensus.api.bodies import DocumentsBody
from factcensus.api.http.problems import Problem
from factcensus.indexer import CountIndex
from factcensus.indexer.answers import DocumentsAnswer


class Cursors:
    """Cursors of the pages of one query on one index.

    A page starts after a number of documents. This number stays valid as long as the query is the same and no document
    is deleted from the index; added documents come last. A cursor contains digests of both, and is refused for another
    query or index.

    Args:
        index_digest: Digest of the index, or another text that names its generation.
        held: Digests of generations from which no document was deleted since.
        body: The query.
    """

    def __init__(self, index_digest: str | None, held: Iterable[str | None], body: DocumentsBody) -> None:
        self._question = _digest(body.model_dump_json(exclude={"limit", "cursor"}))
        self._index = _digest(index_digest or "")
        self._held = {_digest(digest or "") for digest in held}

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


def cursors_of(index: CountIndex, body: DocumentsBody) -> Cursors:
    """Return the cursors of a query on an open index."""
    if index.digest is not None:
        return Cursors(index.digest, index.held_digests, body)
    # An index built by infini-gram has no digest; use its name and size.
    own = json.dumps([index.name, *(shard.size for shard in index.shards)])
    return Cursors(own, [own], body)
