"""The client of the service: requests, retries, and the methods of :class:`Client`.

Requests change nothing, so they can be repeated safely: connection errors and the statuses 429 and 503 are retried with
increasing pauses. Read timeouts are not retried, because the service may still be working.

>>> with Client("http://127.0.0.1:8080") as client:                                          # doctest: +SKIP
...     client.count("pile", "Marie Curie").documents
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import monotonic, sleep
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx
import pyarrow as pa
import stamina

from factcensus.api.client.jobs import RemoteJob, count_as_job, submit, take_counts
from factcensus.api.client.replies import LONGEST_PAUSE_S, answer_of, error_of, json_of
from factcensus.api.client.tables import batches, counted_batch
from factcensus.api.errors import (
    AddressError,
    NotReadyError,
    RejectedError,
    ServiceError,
    UnknownIndexError,
    UnreachableError,
)
from factcensus.indexer.answers import (
    CooccurrenceAnswer,
    CountAnswer,
    DocumentsAnswer,
    IndexInfo,
    IndexSummary,
    TraceAnswer,
)
from factcensus.indexer.records import Entity, as_entity, windows_of
from factcensus.indexer.tables.added import countable
from factcensus.indexer.tables.facts import Facts

Json = dict[str, Any]
#: Values that documents must have to be counted, by column of the document table or metadata field (nested: ``a.b``):
#: one value, a list of values, or ``{"min": …, "max": …}``; None or "" selects documents without the column.
Filter = Mapping[str, Any]
#: Pause before the second attempt; it doubles with each further attempt.
FIRST_PAUSE_S = 0.2
#: Maximum facts of a table that is not counted as a job; the default limit of the service.
JOB_FACTS = 10_000
NDJSON = "application/x-ndjson"

# Otherwise every retry of a program without logging would print "stamina.retry_scheduled".
logging.getLogger("stamina").addHandler(logging.NullHandler())


class Client:
    """A client of one service. Use it as a context manager or call :meth:`close`; several threads may share a client.

    Args:
        base_url: URL of the service, such as ``http://127.0.0.1:8080``; it may have a path.
        timeout_s: Timeout for a connection, and for each response.
        attempts: Maximum number of attempts for a request if the service does not respond or is busy.
        api_key: API key, if the service needs one; ``$FACTCENSUS_API_KEY`` by default.

    Every method may raise a :class:`~factcensus.api.errors.ServiceError`: ``UnreachableError`` if nothing responds,
    ``UnknownIndexError`` and ``RejectedError`` for a refused request, ``NotReadyError`` for a service that is busy or
    not ready, and ``ServerFailureError`` for a failure of the service.
    """

    def __init__(
        self, base_url: str, timeout_s: float = 30.0, *, attempts: int = 5, api_key: str | None = None
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise AddressError(f"invalid service URL {base_url!r}; give one such as http://127.0.0.1:8080")
        self.base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._attempts = attempts
        key = os.environ.get("FACTCENSUS_API_KEY") if api_key is None else api_key
        headers = {"User-Agent": "factcensus"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._http = httpx.Client(timeout=timeout_s, headers=headers)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until every index of the service is open and warm.

        Raises:
            NotReadyError: The service was not ready within ``timeout_s``; the message has its reasons.
            UnreachableError: Nothing responded within that time.
        """
        deadline = monotonic() + timeout_s
        while True:
            try:
                self._send("GET", "/readyz", attempts=1)
                return
            except (NotReadyError, UnreachableError) as error:
                if monotonic() + FIRST_PAUSE_S > deadline:
                    message = f"{self.base_url} was not ready within {timeout_s:g} s: {error.detail}"
                    raise type(error)(message, status=error.status, title=error.title, type=error.type) from error
            sleep(FIRST_PAUSE_S)

    def indexes(self, *, timeout_s: float | None = None) -> list[IndexSummary]:
        """Return name, digest, analyzer, documents and tokens of each open index."""
        reply = self._send("GET", "/v1/indexes", timeout_s=timeout_s)
        return answer_of(reply, lambda json: [IndexSummary.from_json(each) for each in json["indexes"]])

    def index(self, name: str, *, timeout_s: float | None = None) -> IndexInfo:
        """Return the properties of one index; ``timeout_s`` replaces the client's own."""
        return answer_of(self._send("GET", _path(name), timeout_s=timeout_s), IndexInfo.from_json)

    def ask(self, name: str, route: str, body: Json, *, timeout_s: float | None = None) -> httpx.Response:
        """Send a body to a route of an index and return the response; ``timeout_s`` replaces the client's own."""
        return self._send("POST", _path(name, route), json=body, timeout_s=timeout_s)

    def count(
        self, name: str, text: str, by: str | None = None, *, verbatim: bool = False, filter: Filter | None = None
    ) -> CountAnswer:
        """Count a text like :meth:`CountIndex.count`; ``by`` is ``source`` or another column to group by."""
        body = {"text": text, "by": by, "filter": dict(filter or {})} | ({"verbatim": True} if verbatim else {})
        reply = self._ask(name, "count", body)
        return answer_of(reply, CountAnswer.from_json)

    def cooccurrence(
        self,
        name: str,
        subject: Entity | str,
        object: Entity | str,
        window: int | None = None,
        by: str | None = None,
        *,
        filter: Filter | None = None,
    ) -> CooccurrenceAnswer:
        """Count two entities like :meth:`CountIndex.cooccurrence`; ``by`` and ``filter`` as in :meth:`count`."""
        body = {"subject": _entity(subject), "object": _entity(object), "window": window, "by": by}
        reply = self._ask(name, "cooccurrence", {**body, "filter": dict(filter or {})})
        return answer_of(reply, CooccurrenceAnswer.from_json)

    def count_facts(
        self,
        name: str,
        table: Facts,
        windows: Sequence[int] = (),
        progress: Callable[[int, int], None] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> pa.Table:
        """Return a table of facts with its counts, like :meth:`CountIndex.count_facts`.

        A table of more than :data:`JOB_FACTS` facts is counted as a job of the service, a smaller one in batches.
        ``progress`` is called with the number of facts counted and the total; ``timeout_s`` replaces the client's own
        for each response.

        Raises:
            InputError: The table is not a fact table, has a column that counting adds, or a row cannot be counted.
            RejectedError: Also if the job failed, for example because another index replaced the index.
            ServerFailureError: Also if another index replaced the index between two batches.
        """
        facts, windows = countable(table), windows_of(windows)
        digest = self.index(name, timeout_s=timeout_s).digest
        if facts.num_rows > JOB_FACTS:
            return count_as_job(self._send, _path(name, "facts:count"), facts, windows, digest, progress)
        counted: list[pa.Table] = []
        done = 0
        for rows, body in batches(facts):
            try:
                reply = self._send(
                    "POST",
                    _path(name, "facts:count"),
                    params={"windows": [str(window) for window in windows]},
                    content=body,
                    headers={"Content-Type": NDJSON, "Accept": NDJSON},
                    timeout_s=timeout_s,
                )
            except RejectedError as error:
                if done:
                    error.add_rows_before(done)
                raise
            if reply.status_code == 202:  # more facts than this service counts within a request
                counted.append(take_counts(RemoteJob(self._send, json_of(reply)["id"]), rows, windows, digest))
            else:
                counted.append(counted_batch(rows, reply.content, windows, digest))
            done += rows.num_rows
            if progress is not None:
                progress(done, facts.num_rows)
        return pa.concat_tables(counted)

    def submit_facts(self, name: str, table: Facts, windows: Sequence[int] = ()) -> RemoteJob:
        """Send a fact table of any size as a job; its result has the names, the aliases and the counts.

        Raises:
            InputError: The table is not a fact table.
        """
        return submit(self._send, _path(name, "facts:count"), countable(table), windows_of(windows))

    def job(self, id: str) -> RemoteJob:
        """Return the job with an id, for example one sent earlier."""
        return RemoteJob(self._send, quote(id, safe=""))

    def jobs(self) -> list[Json]:
        """Return the state of each job sent with the same key, newest first."""
        listed: list[Json] = json_of(self._send("GET", "/v1/jobs"))["jobs"]
        return listed

    def documents(  # noqa: PLR0913 - options, which are given by name
        self,
        name: str,
        *,
        text: str | None = None,
        subject: Entity | str | None = None,
        object: Entity | str | None = None,
        window: int | None = None,
        verbatim: bool = False,
        normalise: str | None = None,
        region: str | None = None,
        pattern: str | None = None,
        by: str | None = None,
        filter: Filter | None = None,
        limit: int = 10,
    ) -> Iterator[DocumentsAnswer]:
        """Yield pages of at most ``limit`` documents that match a text, a subject with an object, or a pattern.

        ``verbatim``, ``normalise``, ``region`` and ``pattern`` as in :meth:`CountIndex.find_documents`; ``by`` and
        ``filter`` as in :meth:`count`.
        """
        query: Json = {"limit": limit, "by": by, "filter": dict(filter or {})}
        chosen = {"text": text, "normalise": normalise, "region": region, "pattern": pattern}
        query |= {key: value for key, value in chosen.items() if value is not None}
        if verbatim:
            query["verbatim"] = True
        if subject is not None:
            query["subject"] = _entity(subject)
        if object is not None:
            query["object"] = _entity(object)
        if window is not None:
            query["window"] = window
        while True:
            page = answer_of(self._ask(name, "documents", query), DocumentsAnswer.from_json)
            yield page
            if page.next is None:
                return
            query["cursor"] = page.next

    def trace(
        self,
        name: str,
        text: str,
        *,
        least_tokens: int | None = None,
        limit: int | None = None,
        documents: int | None = None,
        filter: Filter | None = None,
    ) -> TraceAnswer:
        """Find the spans of a text that occur in the corpus; see ``CountIndex.trace`` for the arguments."""
        chosen = {"least_tokens": least_tokens, "limit": limit, "documents": documents}
        body: Json = {"text": text, "filter": dict(filter or {})}
        body |= {key: value for key, value in chosen.items() if value is not None}
        return answer_of(self._ask(name, "trace", body), TraceAnswer.from_json)

    def _ask(self, name: str, route: str, body: Json) -> httpx.Response:
        return self.ask(name, route, body)

    def _send(
        self,
        method: str,
        path: str,
        *,
        attempts: int | None = None,
        params: Mapping[str, Any] | None = None,
        json: Json | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        """Send a request with retries, and return the successful response."""
        timeout = httpx.USE_CLIENT_DEFAULT if timeout_s is None else httpx.Timeout(timeout_s)
        pause_s = 0.0

        def pause_after(error: Exception) -> bool | float:
            if isinstance(error, NotReadyError):
                return max(pause_s, error.retry_after_s)
            # A request that timed out may still be in progress.
            return isinstance(error, UnreachableError) and not isinstance(error.__cause__, httpx.TimeoutException)

        for attempt in stamina.retry_context(
            pause_after,
            attempts=self._attempts if attempts is None else attempts,
            timeout=None,
            wait_initial=FIRST_PAUSE_S,
            wait_max=LONGEST_PAUSE_S,
            wait_jitter=0,
        ):
            pause_s = attempt.next_wait
            with attempt:
                return self._send_once(
                    method,
                    self.base_url + path,
                    params=params,
                    json=json,
                    content=content,
                    headers=headers,
                    timeout=timeout,
                )
        raise AssertionError("the last attempt returns or raises")

    def _send_once(self, method: str, url: str, **options: Any) -> httpx.Response:
        try:
            reply = self._http.request(method, url, **options)
        except httpx.TimeoutException as error:
            raise UnreachableError(
                f"{self.base_url} did not respond within {self._timeout_s:g} s; "
                "use a longer timeout_s, or send smaller requests"
            ) from error
        except httpx.TransportError as error:
            raise UnreachableError(
                f"nothing responds at {self.base_url} ({error}); "
                "start the service with `factcensus serve INDEX`, or correct the URL"
            ) from error
        except (httpx.InvalidURL, ValueError) as error:
            raise ServiceError(f"invalid service URL {self.base_url!r}: {error}") from error
        if not reply.is_success:
            raise error_of(reply, self.base_url)
        return reply


def count_facts(
    url: str,
    index: str,
    facts: Facts,
    *,
    windows: Sequence[int] = (),
    progress: Callable[[int, int], None] | None = None,
) -> pa.Table:
    """Count every fact of a table through the service at ``url``, as ``factcensus facts count --url`` does."""
    with Client(url) as client:
        return client.count_facts(index, facts, windows, progress)


def _path(index: str, route: str = "") -> str:
    if not index or "/" in index:
        raise UnknownIndexError(f"invalid index name {index!r}: use the name of the index folder without a path")
    path = f"/v1/indexes/{quote(index, safe='')}"
    return f"{path}/{route}" if route else path


def _entity(entity: Entity | str) -> Json:
    entity = as_entity(entity)
    return {"name": entity.name, "aliases": list(entity.aliases)}
