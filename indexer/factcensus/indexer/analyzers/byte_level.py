"""The analyzer ``bytes``, which uses the UTF-8 bytes of a text as tokens (lone surrogates become U+FFFD)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import bytes_of
from factcensus.indexer.errors import InputError
from factcensus.indexer.records import clean_text

if TYPE_CHECKING:
    import pyarrow as pa


class BytesAnalyzer:
    """Byte tokens; the id of a byte is its value, and 0xFF, which never occurs in UTF-8, separates documents."""

    name = "bytes"
    label = "bytes/1"
    token_dtype = "u8"
    has_vocabulary = False
    vocabulary_size = 256

    def tokens(self, text: str) -> list[str]:
        r"""Return one printable token per byte: ASCII characters as they are, other bytes as ``\xHH``."""
        return [self.token(byte) for byte in self.ids(text)]

    def token(self, token_id: int) -> str:
        """Return the printable form of a byte."""
        return chr(token_id) if 32 <= token_id < 127 else f"\\x{token_id:02x}"

    def ids(self, text: str) -> list[int]:
        """Return the byte values of a text."""
        return list(clean_text(text).encode())

    def spans(self, text: str, wanted: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Return the character to which each of the given bytes of a text belongs."""
        sizes = np.fromiter((len(character.encode()) for character in text), np.int64, len(text))
        found = (np.searchsorted(np.cumsum(sizes), np.asarray(wanted, np.int64), side="right")).tolist()
        return {byte: (number, number + 1) for byte, number in zip(wanted, found, strict=True)}

    def name_ids(self, name: str) -> list[tuple[int, ...]]:
        """Return the bytes of a name as its only token sequence."""
        return [tuple(self.ids(name))] if name else []

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of the bytes; an incomplete character becomes U+FFFD."""
        return bytes(ids).decode(errors="replace")

    def encoder(self) -> BytesAnalyzer:
        """Return the analyzer itself, which has no state."""
        return self

    def encode(self, texts: pa.LargeBinaryArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Return the concatenated bytes of all texts, and the number of bytes of each."""
        joined, starts = bytes_of(texts)
        if (joined == 0xFF).any():
            raise InputError(
                "a text contains the byte 0xFF, which separates documents and is not valid UTF-8; remove it"
            )
        return joined, np.diff(starts)
