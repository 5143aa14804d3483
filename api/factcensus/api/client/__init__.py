"""A typed client of the service: the same questions as :class:`factcensus.indexer.CountIndex`, the same answers.

It needs httpx and pyarrow, not the web framework. Every request only asks, so repeating one is safe: connection
errors and the statuses 429 and 503 are retried with growing pauses; a read that times out is not, since the
service may still be at work on it.

>>> with Client("http://127.0.0.1:8080") as client:                                          # doctest: +SKIP
...     client.count("pile", "Marie Curie")["documents"]
"""

from factcensus.api.client.asking import Client, count_facts
from factcensus.api.client.jobs import RemoteJob
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
    "count_facts",
    "RemoteJob",
    "ServiceError",
    "NotReadyError",
    "RejectedError",
    "ServerFailureError",
    "UnknownIndexError",
    "UnreachableError",
]
