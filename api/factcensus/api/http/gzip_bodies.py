"""Gzip bodies, decoded in pieces because a kilobyte may expand to a megabyte."""

from __future__ import annotations

import zlib

from starlette.types import Scope

from factcensus.api.http.problems import Problem

#: Maximum bytes decoded at a time.
PIECE_BYTES = 262_144
#: Maximum number of concatenated gzip members in a body; each costs microseconds, however small it is.
MOST_MEMBERS = 1000
_WITH_GZIP_HEADER = 31


def body_encoding(scope: Scope) -> str:
    """Return ``gzip``, or an empty string for a body without an encoding.

    Raises:
        Problem: ``unsupported-encoding``; its ``Accept-Encoding`` names the supported encoding (RFC 9110, section
            15.5.16).
    """
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"content-encoding"]
    codings = [coding.strip().lower() for value in given for coding in value.split(",")]
    codings = [coding for coding in codings if coding not in ("", "identity")]
    if not codings:
        return ""
    if codings in (["gzip"], ["x-gzip"]):
        return "gzip"
    raise Problem(
        "unsupported-encoding",
        f"the body is encoded as {', '.join(codings)[:100]!r}; send it with Content-Encoding: gzip, or unencoded",
        headers={"Accept-Encoding": "gzip"},
    )


class Gunzip:
    """Decodes gzip as it arrives, at most :data:`PIECE_BYTES` at a time."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_WITH_GZIP_HEADER)
        self._waiting = b""
        #: Whether the last piece was full, so that more output may follow without further input.
        self._full = False
        self._members = 0
        self._within = False

    def add(self, data: bytes) -> None:
        """Add more of the body."""
        self._waiting += data

    def piece(self) -> bytes:
        """Return the next decoded bytes; empty if more of the body is needed.

        Raises:
            Problem: ``malformed-body``.
        """
        while self._waiting or self._full:
            try:
                decoded = self._inflate.decompress(self._waiting, PIECE_BYTES)
            except zlib.error as error:
                raise Problem(
                    "malformed-body", f"the body is not valid gzip, which its Content-Encoding declares ({error})"
                ) from error
            self._within = True
            self._full = len(decoded) == PIECE_BYTES
            self._waiting = self._inflate.unconsumed_tail
            if self._inflate.eof:
                self._next_member()
            if decoded:
                return decoded
        return b""

    def check_end(self) -> None:
        """Refuse a truncated body.

        Raises:
            Problem: ``malformed-body``.
        """
        if self._within or not self._members:
            raise Problem("malformed-body", "the gzip body is truncated; send it again")

    def _next_member(self) -> None:
        self._members += 1
        if self._members > MOST_MEMBERS:
            raise Problem("malformed-body", f"the body has more than {MOST_MEMBERS} gzip members; compress it as one")
        self._waiting, self._full, self._within = self._inflate.unused_data, False, False
        self._inflate = zlib.decompressobj(_WITH_GZIP_HEADER)
