"""The slices of an index as a source that the service opens and follows."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from factcensus.api.client import Client
from factcensus.api.errors import ServiceError, SliceError, UnknownIndexError
from factcensus.api.serving.sources import Files, Source
from factcensus.api.settings import Settings
from factcensus.api.slices.index import Slice, SlicedIndex
from factcensus.indexer import CountIndex
from factcensus.indexer.answers import IndexInfo
from factcensus.indexer.errors import InputError
from factcensus.indexer.system.places import redact

#: Seconds between two looks at the slices, and the timeout of each.
LOOK_S, LOOK_TIMEOUT_S = 1.0, 2.0
#: Seconds in which a slice must describe itself when it is opened.
_OPEN_TIMEOUT_S = 10.0


class NoFiles(Files):
    """The files of an index on other machines: none that could be overwritten here."""

    def __init__(self) -> None:
        pass

    def changed(self) -> Path | None:
        """Return None."""
        return None


@dataclass
class Slices:
    """The slices of one index, by the addresses of their services.

    Attributes:
        urls: The addresses, in any order.
    """

    urls: tuple[str, ...]
    _looked: float = field(default=0.0, compare=False)
    _seen: tuple[str | None, ...] = field(default=(), compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)
    _name: str = field(default="", compare=False)

    def __str__(self) -> str:
        return ", ".join(map(redact, self.urls))

    def open(self, name: str) -> CountIndex:
        """Request the properties of every slice, and check that they form one index.

        Raises:
            SliceError: A slice does not answer, is missing, or belongs to another index.
        """
        self._name = name
        clients = [Client(url, _OPEN_TIMEOUT_S, attempts=1) for url in self.urls]
        try:
            slices = [_described(client, name) for client in clients]
            return SlicedIndex(name, in_order(name, slices))
        except BaseException:
            for client in clients:
                client.close()
            raise

    def look(self) -> Hashable:
        """Return the digests of the slices; they are requested only every few seconds."""
        with self._lock:
            if self._name and (monotonic() - self._looked > LOOK_S or not self._seen):
                self._seen = tuple(_digest_at(url, self._name) for url in self.urls)
                self._looked = monotonic()
            return self._seen

    def files(self, index: CountIndex) -> Files:
        """Return no files."""
        del index
        return NoFiles()

    def is_gone(self) -> bool:
        """Return False: slices that do not respond may come back; until then every query is an error."""
        return False

    def holds_all_of(self, digest: str | None) -> bool:
        """Return True: a query to a slice of another generation is an error."""
        del digest
        return True


def _described(client: Client, name: str) -> Slice:
    shown = redact(client.base_url)
    try:
        info = _info_of(client, name, _OPEN_TIMEOUT_S)
    except ServiceError as error:
        raise SliceError(f"the slice at {shown} does not answer: {error.detail}") from error
    return Slice(client, info.name, info, shown)


def _info_of(client: Client, name: str, timeout_s: float) -> IndexInfo:
    """Return the properties of the index of this name at a service, or of its only index."""
    try:
        return client.index(name, timeout_s=timeout_s)
    except UnknownIndexError:
        names = [each.name for each in client.indexes(timeout_s=timeout_s)]
        if len(names) != 1:
            raise
        return client.index(names[0], timeout_s=timeout_s)


def _digest_at(url: str, name: str) -> str | None:
    with Client(url, LOOK_TIMEOUT_S, attempts=1) as client:
        try:
            return _info_of(client, name, LOOK_TIMEOUT_S).digest
        except ServiceError:
            return None


def in_order(name: str, slices: Sequence[Slice]) -> list[Slice]:
    """Return the slices of one index in the order of their shards.

    Raises:
        SliceError: They are not all slices of one index; the message names the slice, or the missing shards.
    """
    if len(slices) == 1 and slices[0].info.slice is None:
        return list(slices)
    for each in slices:
        if each.info.slice is None:
            raise SliceError(f"{each.shown} has a whole index and not a slice, so it cannot be added to others")
    parts = [(each.info.slice, each) for each in slices if each.info.slice is not None]
    if len(wholes := {part.whole for part, _ in parts}) > 1:
        raise SliceError(f"the slices of {name} belong to {len(wholes)} different indexes or generations")
    parts.sort(key=lambda found: found[0].first_shard)
    following = 0
    for part, each in parts:
        if part.first_shard != following:
            what = "is missing before" if part.first_shard > following else "is given twice, at"
            raise SliceError(f"shard {following + 1} of {part.whole_shards} of {name} {what} the slice at {each.shown}")
        following += each.info.shards
    if following != parts[0][0].whole_shards:
        raise SliceError(f"{name} has {parts[0][0].whole_shards} shards, and its slices have only {following} of them")
    return [each for _, each in parts]


def slices_of(settings: Settings) -> dict[str, Source]:
    """Return the indexes of ``settings.remote``, each ``NAME=URL,URL``, by name.

    Raises:
        InputError: A value has another form, or a name is given twice.
    """
    found: dict[str, Source] = {}
    for text in settings.remote:
        name, equals, urls = text.partition("=")
        addresses = tuple(url.strip() for url in urls.split(",") if url.strip())
        if not equals or not name or "/" in name or not addresses:
            raise InputError(f"--remote must be NAME=URL,URL,…, got {redact(text)!r}")
        if wrong := [url for url in addresses if not url.startswith(("http://", "https://"))]:
            raise InputError(
                f"--remote {name}: {redact(wrong[0])!r} is not the URL of a service, such as http://host:8080"
            )
        if name in found:
            raise InputError(f"--remote {name} is given twice; names must be unique")
        found[name] = Slices(addresses)
    return found
