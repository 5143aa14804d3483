"""Analyzers, which turn text into token ids; an index and its queries use the same analyzer.

========================  ===========================================================================
``words`` (default)       whole words of every script; case and compatibility characters are folded
``words-cased``           whole words as written
``bytes``                 the UTF-8 bytes of the text
``hf:PATH_OR_NAME``       a Hugging Face tokenizer
========================  ===========================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from factcensus.indexer.errors import UnknownNameError
from factcensus.indexer.names import nearest

if TYPE_CHECKING:
    import pyarrow as pa

#: The little-endian NumPy dtype of each token width; its largest value separates documents.
NUMPY_DTYPE: dict[str, np.dtype[Any]] = {"u8": np.dtype("u1"), "u16": np.dtype("<u2"), "u32": np.dtype("<u4")}


class Encoder(Protocol):
    """Turns batches of UTF-8 texts into token ids."""

    def encode(self, texts: pa.LargeBinaryArray) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Return the concatenated ids of all texts (without nulls), and the number of ids of each text."""
        ...


class Analyzer(Protocol):
    """The interface of an analyzer.

    If ``has_vocabulary`` is true, ids are assigned while a corpus is read (words). Otherwise the analyzer also has
    ``ids``, ``token`` and ``decode``, see :class:`FixedAnalyzer`.
    """

    @property
    def name(self) -> str:
        """The name by which users choose it."""
        ...

    @property
    def label(self) -> str:
        """Name and version, as shown in manifests and responses."""
        ...

    @property
    def token_dtype(self) -> str:
        """The width of a token id on disk: u8, u16 or u32."""
        ...

    @property
    def has_vocabulary(self) -> bool:
        """Whether every index has its own vocabulary of token ids."""
        ...

    def tokens(self, text: str) -> list[str]:
        """Return the printable tokens of a text."""
        ...

    def spans(self, text: str, wanted: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Return the start and end in the text of the tokens with these numbers.

        Raises:
            ValueError, IndexError: The text has fewer tokens.
        """
        ...

    def encoder(self) -> Encoder:
        """Return a new encoder for one stream of documents."""
        ...


class FixedAnalyzer(Analyzer, Protocol):
    """An analyzer with fixed ids: bytes, or the ids of a tokenizer."""

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest token id."""
        ...

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        ...

    def name_ids(self, name: str) -> list[tuple[int, ...]]:
        """Return the distinct possible token sequences of a name; empty for a name without tokens."""
        ...

    def token(self, token_id: int) -> str:
        """Return the printable form of one token."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of a token sequence."""
        ...


def get_analyzer(name: str) -> Analyzer:
    """Return the analyzer with a name.

    Raises:
        UnknownNameError: The name is unknown; the message lists the known names.
        InputError: The tokenizer of ``hf:`` cannot be loaded.
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


def nothing_left(text: str, analyzer: Analyzer) -> str:
    """Return the error message for a text without tokens."""
    shown = text if len(text) <= 80 else text[:77] + "…"
    return f"the analyzer {analyzer.name} finds no token in {shown!r}, so it cannot be counted; give another text"
