"""Answers that were given, to be given again: the least recently used go first when they take too much room.

The key holds the index's digest, so an answer never outlives the content that it counts.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import OrderedDict
from typing import Any

from factcensus.api.http.metrics import Metrics
from factcensus.indexer import CountIndex

#: What an entry takes besides its answer, about.
ENTRY_BYTES = 200


class AnswerCache:
    """JSON answers by index and question; safe from many threads.

    Args:
        most_bytes: of all answers together; one that takes more than a sixteenth of it is not kept.
        metrics: where it is told what was found.
    """

    def __init__(self, most_bytes: int, metrics: Metrics) -> None:
        self._most_bytes = most_bytes
        self._hits, self._misses = metrics.cache.labels("hit"), metrics.cache.labels("miss")
        self._answers: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        metrics.cache_bytes.set_function(lambda: float(self._bytes))

    def key(self, index: CountIndex, *question: Any) -> bytes | None:
        """What the answer to a question to an index is kept under; None where it cannot be kept."""
        if index.digest is None:
            return None
        # The name as well: one content may be served under two, and the answer has the name in it.
        asked = json.dumps([index.name, index.digest, index.analyzer.label, *question])  # orjson refuses large numbers
        return hashlib.sha256(asked.encode()).digest()

    def get(self, key: bytes | None) -> bytes | None:
        """The answer of a key, if it is kept."""
        if key is None:
            return None
        with self._lock:
            found = self._answers.get(key)
            if found is not None:
                self._answers.move_to_end(key)
        (self._misses if found is None else self._hits).inc()
        return found

    def clear(self) -> None:
        """Forget all answers: some may be of documents that were deleted."""
        with self._lock:
            self._answers.clear()
            self._bytes = 0

    def put(self, key: bytes | None, answer: bytes) -> None:
        """Keep an answer."""
        size = len(answer) + ENTRY_BYTES
        if key is None or size > self._most_bytes >> 4:
            return
        with self._lock:
            if key in self._answers:
                return
            self._answers[key] = answer
            self._bytes += size
            while self._bytes > self._most_bytes:
                self._bytes -= len(self._answers.popitem(last=False)[1]) + ENTRY_BYTES
