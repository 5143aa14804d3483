"""Reading many ranges of files at once, with a check that no file changes between two reads."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from factcensus.indexer.system.places.failures import PlaceError, failure, with_retries
from factcensus.indexer.system.places.place import Place
from factcensus.indexer.system.places.protocols import CONNECTIONS, file_system_of

#: A file, the first byte, and the byte after the last.
Range = tuple[Place, int, int]


class ChangedFileError(PlaceError):
    """A file has changed since an earlier read; the message names it."""


@dataclass
class Stamp:
    """The known identity of a file's content: its size, and the tag that the server gives to this content.

    Attributes:
        size: Number of bytes; None before it is known.
        tag: The tag (ETag); empty before the first read, or if the server has none.
    """

    size: int | None = None
    tag: str = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    data: bytes
    size: int | None = None
    tag: str = ""


def read_ranges(ranges: Sequence[Range], stamps: dict[Place, Stamp] | None = None) -> list[bytes]:
    """Return the bytes of many ranges, possibly of several files, all requested at once.

    Args:
        ranges: The ranges; all of the same protocol and access.
        stamps: What is known about the files. It is compared with every answer (of ``s3``, ``http`` and ``https``) and
            completed by the first one.

    Raises:
        NoFileError: A file does not exist.
        ChangedFileError: A file is not the one in ``stamps``.
        PlaceError: A range cannot be read, or a file ends before it; the message names the file.
    """
    if not ranges:
        return []
    stamps = {} if stamps is None else stamps
    first = ranges[0][0]
    if first.is_local:
        return [_local_range(place, begin, end) for place, begin, end in ranges]
    found: list[bytes | None] = [b"" if begin == end else None for _, begin, end in ranges]

    def ask() -> None:
        missing = [number for number, data in enumerate(found) if data is None]
        if not missing:
            return
        failures: list[Exception] = []
        for number, answer in zip(missing, _ask([ranges[number] for number in missing]), strict=True):
            place, begin, end = ranges[number]
            if isinstance(answer, Exception):
                problem = answer if isinstance(answer, PlaceError) else failure(f"read {place}", answer)
                failures.append(problem)
            elif (changed := _compare(place, answer, stamps.setdefault(place, Stamp()))) is not None:
                failures.append(changed)
            elif len(answer.data) != end - begin:
                failures.append(_wrong_length(place, begin, end, len(answer.data)))
            else:
                found[number] = answer.data
        if failures:
            raise next((each for each in failures if isinstance(each, PlaceError)), failures[0])

    with_retries(f"read {first}" + (f" and {len(ranges) - 1:,} more ranges" if len(ranges) > 1 else ""), ask)
    return cast(list[bytes], found)


def _compare(place: Place, answer: _Answer, stamp: Stamp) -> ChangedFileError | None:
    """Complete a stamp with the data of a response, or return the error if the response is for other content."""
    if stamp.size is not None and answer.size is not None and answer.size != stamp.size:
        return ChangedFileError(
            f"{place} has {answer.size:,} bytes instead of {stamp.size:,}: it was changed, or only partly copied"
        )
    if stamp.tag and answer.tag and _bare(answer.tag) != _bare(stamp.tag):
        return ChangedFileError(f"{place} was changed while it was read; run the command again")
    stamp.size = answer.size if stamp.size is None else stamp.size
    stamp.tag = stamp.tag or answer.tag
    return None


def _bare(tag: str) -> str:
    return tag.removeprefix("W/").strip('"')


def _ask(ranges: Sequence[Range]) -> list[_Answer | Exception]:
    place = ranges[0][0]
    file_system, _ = file_system_of(place.url, place.protocol, place.access)
    if place.protocol == "s3" and "::" not in place.url:
        return _all_at_once(file_system, ranges, _from_s3)
    if place.protocol in ("http", "https") and "::" not in place.url:
        return _all_at_once(file_system, ranges, _from_web)
    paths = [file_system_of(each.url, each.protocol, each.access)[1] for each, _, _ in ranges]
    answers = file_system.cat_ranges(
        paths, [begin for _, begin, _ in ranges], [end for _, _, end in ranges], on_error="return"
    )
    return [answer if isinstance(answer, Exception) else _Answer(bytes(answer)) for answer in answers]


def _all_at_once(
    file_system: Any, ranges: Sequence[Range], get: Callable[[Any, Place, str, int, int], Awaitable[_Answer]]
) -> list[_Answer | Exception]:
    from fsspec.asyn import sync

    async def ask() -> list[Any]:
        free = asyncio.Semaphore(CONNECTIONS)

        async def one(place: Place, begin: int, end: int) -> _Answer:
            path = file_system_of(place.url, place.protocol, place.access)[1]
            async with free:
                return await get(file_system, place, path, begin, end)

        return await asyncio.gather(*(one(*each) for each in ranges), return_exceptions=True)

    return cast(list[_Answer | Exception], sync(file_system.loop, ask))


async def _from_s3(file_system: Any, _place: Place, path: str, begin: int, end: int) -> _Answer:
    bucket, key, _ = file_system.split_path(path)
    answer = await file_system._call_s3("get_object", Bucket=bucket, Key=key, Range=f"bytes={begin}-{end - 1}")
    async with answer["Body"] as body:
        data = await body.read()
    return _Answer(data, _size(answer.get("ContentRange")), answer.get("ETag") or "")


async def _from_web(file_system: Any, place: Place, path: str, begin: int, end: int) -> _Answer:
    session = await file_system.set_session()
    headers = {**file_system.kwargs.get("headers", {}), "Range": f"bytes={begin}-{end - 1}"}
    options = {**file_system.kwargs, "headers": headers, "allow_redirects": False}
    async with session.get(file_system.encode_url(path), **options) as answer:
        file_system._raise_not_found_for_status(answer, path)
        if 300 <= answer.status < 400:
            raise PlaceError(f"cannot read {place}: its server redirects to another place; give the URL of that place")
        whole = int(answer.headers.get("Content-Length") or -1)
        if answer.status != 206 and whole != end - begin:  # not read, because it may have terabytes
            raise PlaceError(f"cannot read {place}: the server does not return parts of a file; download it first")
        size = whole if answer.status != 206 else _size(answer.headers.get("Content-Range"))
        return _Answer(await answer.read(), size, answer.headers.get("ETag") or answer.headers.get("Last-Modified", ""))


def _size(content_range: str | None) -> int | None:
    """Return the size of the whole file from ``bytes 0-9/1234``; None if it is unknown."""
    match = re.search(r"/(\d+)$", content_range or "")
    return int(match[1]) if match else None


def _local_range(place: Place, begin: int, end: int) -> bytes:
    with place.open() as file:
        data = os.pread(file.fileno(), end - begin, begin)
    if len(data) != end - begin:
        raise _wrong_length(place, begin, end, len(data))
    return data


def _wrong_length(place: Place, begin: int, end: int, size: int) -> PlaceError:
    if size > end - begin:
        return PlaceError(f"cannot read {place}: the server does not return parts of a file; download it first")
    return PlaceError(
        f"cannot read {place}: bytes {begin:,} to {end:,} were requested, and {size:,} came back; the file is "
        "incomplete or was changed"
    )
