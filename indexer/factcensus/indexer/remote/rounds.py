"""Rounds of reads: work that needs bytes of remote files and requests many ranges at once.

Over a network a read takes about 30 ms, however short it is, and many reads at the same time take hardly longer than
one. So the number that matters is that of *rounds*, reads that wait for one another. Each piece of work is a generator:
it yields the ranges it needs next and receives their bytes. :func:`together` lets many of them proceed in lockstep, so
a whole table of facts in many shards takes as many rounds as its slowest search.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

Result = TypeVar("Result")


class RemoteFile(Protocol):
    """One file of a remote index, with the size that it must have."""

    @property
    def name(self) -> str:
        """The name of the file in its folder."""
        ...

    @property
    def size(self) -> int:
        """Number of bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes [begin, end) of a file."""

    file: RemoteFile
    begin: int
    end: int


#: Work that yields the spans it needs next, receives their bytes, and returns its result.
Steps = Generator[Sequence[Span], Sequence[bytes], Result]


class SpanReader(Protocol):
    """Reads spans; one call is one round."""

    def read(self, spans: Sequence[Span]) -> Sequence[bytes]:
        """Return the bytes of each span."""
        ...


def run(work: Steps[Result], reader: SpanReader, before: Callable[[], None] | None = None) -> Result:
    """Run one piece of work and return its result; ``before`` is called before each round and may stop it."""
    try:
        spans = next(work)
        while True:
            if before is not None:
                before()
            spans = work.send(reader.read(spans) if spans else [])
    except StopIteration as done:
        result: Result = done.value
        return result


def together(works: Sequence[Steps[Result]]) -> Steps[list[Result]]:
    """Run many pieces of work in lockstep and return their results in order."""
    results: dict[int, Result] = {}
    wanted: dict[int, Sequence[Span]] = {}

    def advance(number: int, data: Sequence[bytes] | None) -> None:
        try:
            wanted[number] = next(works[number]) if data is None else works[number].send(data)
        except StopIteration as done:
            results[number] = done.value
            wanted.pop(number, None)

    for number in range(len(works)):
        advance(number, None)
    while wanted:
        waiting = list(wanted.items())
        found = yield [span for _, spans in waiting for span in spans]
        at = 0
        for number, spans in waiting:
            advance(number, found[at : at + len(spans)])
            at += len(spans)
    return [results[number] for number in range(len(works))]
