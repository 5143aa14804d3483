"""The state that all shards of an open remote index share: its files, its cache folder, and the count of its reads."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.remote.cache import Cache
from factcensus.indexer.remote.reader import RangeSource, Reader, Usage
from factcensus.indexer.remote.rounds import Span, Steps, run
from factcensus.indexer.system.places import Place, Stamp, read_ranges

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class ObjectFile:
    """One file of a remote index.

    Attributes:
        place: Its location.
        name: Its name in the index, unique among several folders.
        size: Number of bytes that it must have.
        sha256: The checksum of its content; empty if the index has no manifest.
    """

    place: Place
    name: str
    size: int
    sha256: str = ""

    def __str__(self) -> str:
        return str(self.place)

    def check(self, content: bytes) -> None:
        """Check the whole content.

        Raises:
            IndexFormatError: It differs from the manifest.
        """
        if self.sha256 and hashlib.sha256(content).hexdigest() != self.sha256:
            raise IndexFormatError(f"{self} was altered or only partly copied; copy the index again")


@dataclass
class PlaceSource:
    """Files at URLs; every response is checked against the earlier size and tag of the file."""

    stamps: dict[Place, Stamp] = field(default_factory=dict)

    def expect(self, place: Place, size: int, tag: str = "") -> None:
        """Record the size and the tag that a file must have."""
        self.stamps[place] = Stamp(size, tag)

    def fetch(self, spans: Sequence[Span]) -> Sequence[bytes]:
        """Return the bytes of each span, all requested at once."""
        ranges = []
        for span in spans:
            assert isinstance(span.file, ObjectFile)
            ranges.append((span.file.place, span.begin, span.end))
        return read_ranges(ranges, self.stamps)


class Session:
    """The reads of an open remote index, by any number of threads.

    Attributes:
        cache: The cache folder of the index.
        usage: All reads since the index was opened; ``opening`` is the part that opened it.
        most_requests: Maximum number of requests of one query; None for no limit.
    """

    def __init__(self, source: RangeSource, cache: Cache, usage: Usage) -> None:
        self._source = source
        self.cache = cache
        self.usage, self.opening = usage, usage
        self.most_requests: int | None = None
        self._lock = threading.Lock()

    def opened(self, most_requests: int | None) -> None:
        """Count all reads so far as opening reads, and limit the queries that follow."""
        self.opening = self.usage
        self.most_requests = most_requests

    @property
    def asked(self) -> Usage:
        """All reads after the index was opened."""
        return self.usage - self.opening

    def reader(self, most_bytes: int | None = None) -> Reader:
        """Return a reader for all reads of one query, with a maximum number of bytes."""
        return Reader(self._source, self.most_requests, most_bytes)

    def ask(
        self, work: Steps[Result], before: Callable[[], None] | None = None, reader: Reader | None = None
    ) -> Result:
        """Run one piece of work, and return its result.

        Args:
            work: The work.
            before: Called before each round; may stop the work.
            reader: The reader of the query, if the work is only a part of it; otherwise a new one.

        Raises:
            RequestLimitError: The query needs more requests or bytes than allowed.
        """
        reader = reader or self.reader()
        earlier = reader.usage
        try:
            return run(work, reader, before)
        finally:
            with self._lock:
                self.usage += reader.usage - earlier

    def cached(self, file: ObjectFile) -> Steps[bytes]:
        """Return the whole content of a file, from the cache folder or read in one round and kept there."""
        content = self.cache.load(file.name, file.size)
        if content is None:
            (content,) = yield [Span(file, 0, file.size)]
            file.check(content)
            self.cache.store(file.name, content)
        return content
