"""The analyzers ``hf:PATH_OR_NAME``: the tokens of a Hugging Face tokenizer, without special tokens.

A local folder or ``tokenizer.json`` is read as it is; anything else is taken for a hub name. The label carries a
digest of the tokenizer, so an index and a query never meet with two different ones unnoticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from factcensus.indexer.errors import InputError


class HuggingFaceAnalyzer:
    """Token ids of a tokenizer: u16 where the vocabulary leaves 65535 free for the separator, else u32."""

    has_vocabulary = False

    def __init__(self, path_or_name: str, *, shown_as: str | None = None) -> None:
        self.name = shown_as or f"hf:{_short_name(path_or_name)}"
        self._tokenizer = _load(path_or_name)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        ids = self._tokenizer.get_vocab(with_added_tokens=True).values()
        self.vocabulary_size = max(ids, default=0) + 1
        self.token_dtype = "u16" if self.vocabulary_size <= 0xFFFF else "u32"
        digest = hashlib.sha256(self._tokenizer.to_str().encode()).hexdigest()[:16]
        self.label = f"{self.name}@{digest}"

    def to_json(self) -> bytes:
        """The whole tokenizer as ``tokenizer.json``; an index keeps it, and so needs neither path nor hub later."""
        return str(self._tokenizer.to_str()).encode()

    def ids(self, text: str) -> list[int]:
        """The token ids of a text."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text, as the tokenizer prints them."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).tokens)

    def token(self, token_id: int) -> str:
        """The token of an id, as the tokenizer prints it."""
        return self._tokenizer.id_to_token(token_id) or f"<{token_id}>"

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a token sequence."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def encoder(self) -> HuggingFaceAnalyzer:
        """The analyzer itself: it keeps no state."""
        return self

    def encode(self, texts: Sequence[bytes]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """The ids of all texts (UTF-8), one after another, and the number of ids of each."""
        encodings = self._tokenizer.encode_batch_fast([text.decode() for text in texts], add_special_tokens=False)
        lengths = np.fromiter(map(len, encodings), np.int64, len(texts))
        dtype = np.uint16 if self.token_dtype == "u16" else np.uint32
        ids = np.fromiter((i for encoding in encodings for i in encoding.ids), dtype, int(lengths.sum()))
        return ids, lengths


def _short_name(path_or_name: str) -> str:
    """The hub name, or the last telling part of a local path, so that an index does not depend on where it lay."""
    path = Path(path_or_name)
    if not path.exists():
        return path_or_name
    return path.resolve().parent.name if path.name == "tokenizer.json" else path.resolve().stem


def _load(path_or_name: str) -> Tokenizer:
    path = Path(path_or_name)
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        if file.is_file():
            return Tokenizer.from_file(str(file))
        if path.suffix == ".json" or path.is_absolute() or path.is_dir():
            raise InputError(f"analyzer 'hf:{path_or_name}': no tokenizer.json at {file}")
        return Tokenizer.from_pretrained(path_or_name)
    except InputError:
        raise
    except Exception as error:  # the library raises bare Exception for a bad file and for a hub out of reach
        raise InputError(
            f"analyzer 'hf:{path_or_name}' cannot be loaded ({error}); give the path of a tokenizer.json, or a hub "
            "name where the hub can be reached"
        ) from error
