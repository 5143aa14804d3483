"""The client for programs whose calls block until the response has arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from urllib.parse import quote

import httpx

from factcensus.api.client import asking
from factcensus.api.client.asking import Filter
from factcensus.api.client.connections import Connection
from factcensus.api.client.jobs import RemoteJob
from factcensus.api.client.steps import Json
from factcensus.indexer.answers import (
    CompletionAnswer,
    CooccurrenceAnswer,
    CountAnswer,
    DocumentsAnswer,
    ExamplesAnswer,
    IndexInfo,
    IndexSummary,
    TraceAnswer,
)
from factcensus.indexer.records import Entity
from factcensus.indexer.tables.arrow import ArrowTable
from factcensus.indexer.tables.facts import Facts


class Client:
    """A client of one service. Use it as a context manager or call :meth:`close`; several threads may share a client.

    Args:
        base_url: URL of the service, such as ``http://127.0.0.1:8080``; it may have a path.
        timeout_s: Timeout for a connection, and for each response.
        attempts: Maximum number of attempts for a request if the service does not respond or is busy.
        api_key: API key, if the service needs one; ``$FACTCENSUS_API_KEY`` by default.

    A client and its jobs can be pickled, for example for the processes of a pool; each copy opens its own connections.
    An explicit ``api_key`` is part of the pickle; one from the environment is not.

    Every method may raise a :class:`~factcensus.api.errors.ServiceError`: ``UnreachableError`` if nothing responds,
    ``UnknownIndexError`` and ``RejectedError`` for a refused request, ``NotReadyError`` for a service that is busy or
    not ready, and ``ServerFailureError`` for a failure of the service.
    """

    def __init__(
        self, base_url: str, timeout_s: float = 30.0, *, attempts: int = 5, api_key: str | None = None
    ) -> None:
        self._connection = Connection(base_url, timeout_s, attempts, api_key)
        self.base_url = self._connection.base_url

    def __repr__(self) -> str:
        return f"Client({self.base_url!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until every index of the service is open and warm.

        Raises:
            NotReadyError: The service was not ready within ``timeout_s``; the message has its reasons.
            UnreachableError: Nothing responded within that time.
        """
        self._connection.run(asking.wait_ready(self.base_url, timeout_s))

    def indexes(self, *, timeout_s: float | None = None) -> list[IndexSummary]:
        """Return name, digest, analyzer, documents and tokens of each open index."""
        return self._connection.run(asking.indexes(timeout_s))

    def index(self, name: str, *, timeout_s: float | None = None) -> IndexInfo:
        """Return the properties of one index; ``timeout_s`` overrides the client's timeout."""
        return self._connection.run(asking.index(name, timeout_s))

    def ask(self, name: str, route: str, body: Json, *, timeout_s: float | None = None) -> httpx.Response:
        """Send a body to a route of an index and return the response; ``timeout_s`` overrides the client's timeout."""
        return self._connection.run(asking.ask(name, route, body, timeout_s))

    def count(
        self, name: str, text: str, by: str | None = None, *, verbatim: bool = False, filter: Filter | None = None
    ) -> CountAnswer:
        """Count a text like :meth:`CountIndex.count`; ``by`` is ``source`` or another column to group by."""
        return self._connection.run(asking.count(name, text, by, verbatim, filter))

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
        return self._connection.run(asking.cooccurrence(name, subject, object, window, by, filter))

    def count_facts(
        self,
        name: str,
        table: Facts,
        windows: Sequence[int] = (),
        progress: Callable[[int, int], None] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> ArrowTable:
        """Return a table of facts with its counts, like :meth:`CountIndex.count_facts`.

        A table of more than :data:`~factcensus.api.client.asking.JOB_FACTS` facts is counted as a job of the service, a
        smaller one in batches.
        ``progress`` is called with the number of facts counted and the total; ``timeout_s`` overrides the client's
        timeout for each response.

        Raises:
            InputError: The table is not a fact table, has a column that counting adds, or a row cannot be counted.
            RejectedError: Also if the job failed, for example because another index replaced the index.
            ServerFailureError: Also if another index replaced the index between two batches.
        """
        return self._connection.run(asking.count_facts(name, table, windows, progress, timeout_s))

    def submit_facts(self, name: str, table: Facts, windows: Sequence[int] = ()) -> RemoteJob:
        """Send a fact table of any size as a job; its result has the names, the aliases and the counts.

        Raises:
            InputError: The table is not a fact table.
        """
        return RemoteJob(self._connection, self._connection.run(asking.submit_facts(name, table, windows)))

    def job(self, id: str) -> RemoteJob:
        """Return the job with an id, for example one sent earlier."""
        return RemoteJob(self._connection, quote(id, safe=""))

    def jobs(self) -> list[Json]:
        """Return the state of each job sent with the same key, newest first."""
        return self._connection.run(asking.jobs())

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
        """Yield pages of at most ``limit`` documents that match a text, an entity, a pair, or a pattern.

        ``verbatim``, ``normalise``, ``region`` and ``pattern`` as in :meth:`CountIndex.find_documents`; ``by`` and
        ``filter`` as in :meth:`count`.
        """
        query = asking.documents_query(
            text=text,
            subject=subject,
            object=object,
            window=window,
            verbatim=verbatim,
            normalise=normalise,
            region=region,
            pattern=pattern,
            by=by,
            filter=filter,
            limit=limit,
        )
        cursor: int | str | None = None
        while True:
            page = self._connection.run(asking.page(name, query, cursor))
            yield page
            if (cursor := page.next) is None:
                return

    def complete(self, name: str, text: str, limit: int = 10) -> CompletionAnswer:
        """Complete the last word of a text like :meth:`CountIndex.complete`."""
        return self._connection.run(asking.complete(name, text, limit))

    def examples(self, name: str, *, timeout_s: float | None = None) -> ExamplesAnswer:
        """Return five names and pairs that occur in an index, from frequent to rare."""
        return self._connection.run(asking.examples(name, timeout_s))

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
        steps = asking.trace(name, text, filter, least_tokens=least_tokens, limit=limit, documents=documents)
        return self._connection.run(steps)


def count_facts(
    url: str,
    index: str,
    facts: Facts,
    *,
    windows: Sequence[int] = (),
    progress: Callable[[int, int], None] | None = None,
) -> ArrowTable:
    """Count every fact of a table through the service at ``url``, as ``factcensus facts count --url`` does."""
    with Client(url) as client:
        return client.count_facts(index, facts, windows, progress)
