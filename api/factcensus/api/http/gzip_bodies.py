"""Bodies that were compressed with gzip, decoded piece by piece: a kilobyte may stand for a megabyte."""

from __future__ import annotations

import zlib

from starlette.datastructures import Headers

from factcensus.api.http.problems import Problem

#: Most bytes that are decoded at a time.
PIECE_BYTES = 262_144
#: Files that gzip allows to stand one after another in a body; each costs some microseconds, however small it is.
MOST_MEMBERS = 1000
_WITH_GZIP_HEADER = 31


def body_encoding(headers: Headers) -> str:
    """Return ``gzip``, or an empty string for a body that is sent as it is.

    Raises:
        Problem: ``unsupported-encoding``; its ``Accept-Encoding`` says what is read (RFC 9110, section 15.5.16).
    """
    codings = [coding.strip().lower() for value in headers.getlist("content-encoding") for coding in value.split(",")]
    codings = [coding for coding in codings if coding not in ("", "identity")]
    if not codings:
        return ""
    if codings in (["gzip"], ["x-gzip"]):
        return "gzip"
    raise Problem(
        "unsupported-encoding",
        f"the body is encoded as {', '.join(codings)[:100]!r}; send it with Content-Encoding: gzip, or as it is",
        headers={"Accept-Encoding": "gzip"},
    )


class Gunzip:
    """Decodes gzip as it arrives, at most :data:`PIECE_BYTES` at a time."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_WITH_GZIP_HEADER)
        self._waiting = b""
        #: Whether the last piece was a full one, so that there may be more without further input.
        self._full = False
        self._members = 0
        self._within = False

    def add(self, data: bytes) -> None:
        """Take in more of the body."""
        self._waiting += data

    def piece(self) -> bytes:
        """Return the next decoded bytes; none if more of the body is needed for that.

        Raises:
            Problem: ``malformed-body``.
        """
        while self._waiting or self._full:
            try:
                decoded = self._inflate.decompress(self._waiting, PIECE_BYTES)
            except zlib.error as error:
                raise Problem("malformed-body", f"the body is not gzip as Content-Encoding says ({error})") from error
            self._within = True
            self._full = len(decoded) == PIECE_BYTES
            self._waiting = self._inflate.unconsumed_tail
            if self._inflate.eof:
                self._next_member()
            if decoded:
                return decoded
        return b""

    def check_end(self) -> None:
        """Refuse a body that ends too early.

        Raises:
            Problem: ``malformed-body``.
        """
        if self._within or not self._members:
            raise Problem("malformed-body", "the gzip body ends before its end; send it again as a whole")

    def _next_member(self) -> None:
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise Problem("malformed-body", f"the body has more than {MOST_MEMBERS} gzip members; compress it as one")
        self._waiting, self._full, self._within = self._inflate.unused_data, False, False
        self._inflate = zlib.decompressobj(_WITH_GZIP_HEADER)
