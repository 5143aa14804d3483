"""A cache of responses that drops the least recently used ones.

The key contains the digest of the index, so a response never outlives the content it was counted on.
"""

from __future__ import annotations

import hashlib
import threading

from cachetools import LRUCache

from factcensus.api.http.metrics import Metrics
from factcensus.indexer import CountIndex

#: Estimated bytes of an entry without its response.
ENTRY_BYTES = 200


class AnswerCache:
    """JSON responses by index and query, safe to use from several threads.

    Args:
        most_bytes: Maximum bytes of all responses; a response of more than a sixteenth of it is not stored.
        metrics: Records hits and misses.
    """

    def __init__(self, most_bytes: int, metrics: Metrics) -> None:
        self._most_bytes = most_bytes
        self._hits, self._misses = metrics.cache.labels("hit"), metrics.cache.labels("miss")
        self._answers: LRUCache[bytes, bytes] = LRUCache(most_bytes, getsizeof=_size)
        self._lock = threading.Lock()
        metrics.follow(metrics.cache_bytes, lambda: float(self._answers.currsize))

    def key(self, index: CountIndex, question: str) -> bytes | None:
        """Return the key of a query on an index; None if its response cannot be cached."""
        if index.digest is None:
            return None
        # The name is included because one content may be served under two names, and the response contains the name.
        asked = f"{index.name}\0{index.digest}\0{index.analyzer.label}\0{question}"
        return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).digest()

    def get(self, key: bytes | None) -> bytes | None:
        """Return the response of a key, or None."""
        if key is None:
            return None
        with self._lock:
            found = self._answers.get(key)
        (self._misses if found is None else self._hits).inc()
        return found

    def clear(self) -> None:
        """Drop all responses; some may include deleted documents."""
        with self._lock:
            self._answers.clear()

    def put(self, key: bytes | None, answer: bytes) -> None:
        """Store a response."""
        if key is not None and _size(answer) <= self._most_bytes >> 4:
            with self._lock:
                self._answers[key] = answer


def _size(answer: bytes) -> int:
    return len(answer) + ENTRY_BYTES
