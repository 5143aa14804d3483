"""Analyzers: how a text becomes token ids. An index is built with one, and queries are analysed by the same.

========================  ===========================================================================
``words`` (default)       whole words of every script, case and compatibility characters folded
``words-cased``           whole words as written
``bytes``                 the UTF-8 bytes of the text
``hf:PATH_OR_NAME``       a Hugging Face tokenizer
========================  ===========================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from factcensus.indexer.errors import UnknownNameError
from factcensus.indexer.names import nearest

TokenDtype = Literal["u8", "u16", "u32"]
#: NumPy dtype, little-endian, of each token width; the largest value separates documents.
NUMPY_DTYPE: dict[str, np.dtype[Any]] = {"u8": np.dtype("u1"), "u16": np.dtype("<u2"), "u32": np.dtype("<u4")}


class Encoder(Protocol):
    """Turns batches of UTF-8 texts into token ids."""

    def encode(self, texts: Sequence[bytes]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """The ids of all texts, one after another, and the number of ids of each text."""
        ...


class Analyzer(Protocol):
    """What the index needs of an analyzer.

    ``has_vocabulary`` says whether ids are given out while a corpus is read (words); otherwise the analyzer also
    has ``ids``, ``token`` and ``decode``, see :class:`FixedAnalyzer`.
    """

    @property
    def name(self) -> str:
        """The name it is asked for by."""
        ...

    @property
    def label(self) -> str:
        """Name and version, as manifests and answers show them."""
        ...

    @property
    def token_dtype(self) -> str:
        """Width of a token id on disk: u8, u16 or u32."""
        ...

    @property
    def has_vocabulary(self) -> bool:
        """Whether the ids of a corpus come with a vocabulary of its own."""
        ...

    def tokens(self, text: str) -> list[str]:
        """The tokens that a text is taken as, for people."""
        ...

    def encoder(self) -> Encoder:
        """A new encoder for one stream of documents."""
        ...


class FixedAnalyzer(Analyzer, Protocol):
    """An analyzer whose ids are given from outside: bytes, or a tokenizer's."""

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest token id."""
        ...

    def ids(self, text: str) -> list[int]:
        """The token ids of a text."""
        ...

    def name_ids(self, name: str) -> list[tuple[int, ...]]:
        """The distinct token sequences that a name may stand as; none for a name without tokens."""
        ...

    def token(self, token_id: int) -> str:
        """The printable form of one token."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a token sequence."""
        ...


def get_analyzer(name: str) -> Analyzer:
    """The analyzer of that name.

    Raises:
        UnknownNameError: there is none; the message lists the known ones.
        InputError: the tokenizer of ``hf:`` cannot be loaded.
    """
    if name in ("words", "words-cased"):
        from factcensus.indexer.analyzers.words import WordsAnalyzer

        return WordsAnalyzer("words" if name == "words" else "words-cased")
    if name == "bytes":
        from factcensus.indexer.analyzers.byte_level import BytesAnalyzer

        return BytesAnalyzer()
    if name.startswith("hf:") and len(name) > 3:
        from factcensus.indexer.analyzers.huggingface import HuggingFaceAnalyzer

        return HuggingFaceAnalyzer(name[3:])
    near = nearest(name, ["words", "words-cased", "bytes"])
    hint = f"; did you mean {near!r}?" if near else ""
    raise UnknownNameError(f"unknown analyzer {name!r}{hint}; known: words, words-cased, bytes, hf:PATH_OR_NAME")


def clean_text(text: str) -> str:
    """A text that can be encoded: lone surrogates, which JSON can carry and UTF-8 cannot, become U+FFFD.

    Raises:
        TypeError: it is not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"a text is a string, not {type(text).__name__} ({text!r:.60})")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def nothing_left(text: str, analyzer: Analyzer) -> str:
    """Why nothing can be counted for a text."""
    shown = text if len(text) <= 80 else text[:77] + "…"
    return f"the analyzer {analyzer.name} finds no token in {shown!r}; nothing can be counted"
