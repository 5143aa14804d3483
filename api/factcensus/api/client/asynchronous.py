"""The client for programs with an event loop, such as web services and notebooks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from urllib.parse import quote

import httpx

from factcensus.api.client import asking
from factcensus.api.client.asking import Filter
from factcensus.api.client.connections import AsyncConnection
from factcensus.api.client.jobs import AsyncRemoteJob
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


class AsyncClient:
    """A :class:`Client` whose methods are coroutines, with the same arguments, answers and errors.

    Use it in ``async with``, or await :meth:`close`. Requests run in parallel: ``await asyncio.gather(client.count(…),
    client.count(…))``. ``documents`` is read with ``async for``.
    """

    def __init__(
        self, base_url: str, timeout_s: float = 30.0, *, attempts: int = 5, api_key: str | None = None
    ) -> None:
        self._connection = AsyncConnection(base_url, timeout_s, attempts, api_key)
        self.base_url = self._connection.base_url

    def __repr__(self) -> str:
        return f"AsyncClient({self.base_url!r})"

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    async def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until every index of the service is open and warm; see :meth:`Client.wait_ready`."""
        await self._connection.run(asking.wait_ready(self.base_url, timeout_s))

    async def indexes(self, *, timeout_s: float | None = None) -> list[IndexSummary]:
        """Return name, digest, analyzer, documents and tokens of each open index; see :meth:`Client.indexes`."""
        return await self._connection.run(asking.indexes(timeout_s))

    async def index(self, name: str, *, timeout_s: float | None = None) -> IndexInfo:
        """Return the properties of one index; see :meth:`Client.index`."""
        return await self._connection.run(asking.index(name, timeout_s))

    async def ask(self, name: str, route: str, body: Json, *, timeout_s: float | None = None) -> httpx.Response:
        """Send a body to a route of an index and return the response; see :meth:`Client.ask`."""
        return await self._connection.run(asking.ask(name, route, body, timeout_s))

    async def count(
        self, name: str, text: str, by: str | None = None, *, verbatim: bool = False, filter: Filter | None = None
    ) -> CountAnswer:
        """Count a text; see :meth:`Client.count`."""
        return await self._connection.run(asking.count(name, text, by, verbatim, filter))

    async def cooccurrence(
        self,
        name: str,
        subject: Entity | str,
        object: Entity | str,
        window: int | None = None,
        by: str | None = None,
        *,
        filter: Filter | None = None,
    ) -> CooccurrenceAnswer:
        """Count two entities; see :meth:`Client.cooccurrence`."""
        return await self._connection.run(asking.cooccurrence(name, subject, object, window, by, filter))

    async def count_facts(
        self,
        name: str,
        table: Facts,
        windows: Sequence[int] = (),
        progress: Callable[[int, int], None] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> ArrowTable:
        """Return a table of facts with its counts; see :meth:`Client.count_facts`."""
        return await self._connection.run(asking.count_facts(name, table, windows, progress, timeout_s))

    async def submit_facts(self, name: str, table: Facts, windows: Sequence[int] = ()) -> AsyncRemoteJob:
        """Send a fact table of any size as a job; see :meth:`Client.submit_facts`."""
        return AsyncRemoteJob(self._connection, await self._connection.run(asking.submit_facts(name, table, windows)))

    def job(self, id: str) -> AsyncRemoteJob:
        """Return the job with an id, for example one sent earlier."""
        return AsyncRemoteJob(self._connection, quote(id, safe=""))

    async def jobs(self) -> list[Json]:
        """Return the state of each job sent with the same key, newest first; see :meth:`Client.jobs`."""
        return await self._connection.run(asking.jobs())

    async def documents(  # noqa: PLR0913 - options, which are given by name
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
    ) -> AsyncIterator[DocumentsAnswer]:
        """Yield pages of documents; see :meth:`Client.documents`."""
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
            page = await self._connection.run(asking.page(name, query, cursor))
            yield page
            if (cursor := page.next) is None:
                return

    async def complete(self, name: str, text: str, limit: int = 10) -> CompletionAnswer:
        """Complete the last word of a text; see :meth:`Client.complete`."""
        return await self._connection.run(asking.complete(name, text, limit))

    async def examples(self, name: str, *, timeout_s: float | None = None) -> ExamplesAnswer:
        """Return five names and pairs that occur in an index; see :meth:`Client.examples`."""
        return await self._connection.run(asking.examples(name, timeout_s))

    async def trace(
        self,
        name: str,
        text: str,
        *,
        least_tokens: int | None = None,
        limit: int | None = None,
        documents: int | None = None,
        filter: Filter | None = None,
    ) -> TraceAnswer:
        """Find the spans of a text that occur in the corpus; see :meth:`Client.trace`."""
        steps = asking.trace(name, text, filter, least_tokens=least_tokens, limit=limit, documents=documents)
        return await self._connection.run(steps)
