"""A typed client of the service, with the methods and results of :class:`factcensus.indexer.CountIndex`.

It needs httpx and pyarrow, but not the web framework. Requests change nothing, so they can be repeated safely:
connection errors and the statuses 429 and 503 are retried with increasing pauses. Read timeouts are not retried,
because the service may still be working.

>>> with Client("http://127.0.0.1:8080") as client:                                          # doctest: +SKIP
...     client.count("pile", "Marie Curie").documents
>>> async with AsyncClient("http://127.0.0.1:8080") as client:                               # doctest: +SKIP
...     (await client.count("pile", "Marie Curie")).documents
"""

from factcensus.api.client.asynchronous import AsyncClient
from factcensus.api.client.blocking import Client, count_facts
from factcensus.api.client.jobs import AsyncRemoteJob, RemoteJob
from factcensus.api.errors import (
    NotReadyError,
    RejectedError,
    ServerFailureError,
    ServiceError,
    UnknownIndexError,
    UnreachableError,
)

__all__ = [
    "Client",
    "AsyncClient",
    "count_facts",
    "RemoteJob",
    "AsyncRemoteJob",
    "ServiceError",
    "NotReadyError",
    "RejectedError",
    "ServerFailureError",
    "UnknownIndexError",
    "UnreachableError",
]
