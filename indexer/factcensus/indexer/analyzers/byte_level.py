"""The analyzer ``bytes``: the UTF-8 bytes of the text as it stands (lone surrogates become U+FFFD)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from factcensus.indexer.analyzers import clean_text
from factcensus.indexer.errors import InputError


class BytesAnalyzer:
    """Byte tokens; the id of a byte is its value, and 0xFF, which UTF-8 never has, separates documents."""

    name = "bytes"
    label = "bytes/1"
    token_dtype = "u8"
    has_vocabulary = False
    vocabulary_size = 256

    def tokens(self, text: str) -> list[str]:
        r"""One printable token a byte: an ASCII character as itself, any other byte as ``\xHH``."""
        return [self.token(byte) for byte in self.ids(text)]

    def token(self, token_id: int) -> str:
        """The printable form of a byte."""
        return chr(token_id) if 32 <= token_id < 127 else f"\\x{token_id:02x}"

    def ids(self, text: str) -> list[int]:
        """The byte values of the text."""
        return list(clean_text(text).encode())

    def name_ids(self, name: str) -> list[tuple[int, ...]]:
        """The bytes of the name, and nothing else."""
        return [tuple(self.ids(name))] if name else []

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the bytes; a character cut in two becomes U+FFFD."""
        return bytes(ids).decode(errors="replace")

    def encoder(self) -> BytesAnalyzer:
        """The analyzer itself: it keeps no state."""
        return self

    def encode(self, texts: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """The bytes of all texts, one after another, and the number of bytes of each."""
        joined = b"".join(texts)
        if b"\xff" in joined:
            raise InputError("a text holds the byte 0xFF, which is not UTF-8 and separates documents")
        return np.frombuffer(joined, np.uint8), np.fromiter(map(len, texts), np.int64, len(texts))
