"""The analyzers ``hf:PATH_OR_NAME``: the tokens of a Hugging Face tokenizer, without special tokens.

A local folder or ``tokenizer.json`` is read as it is; anything else is taken for a hub name. The label carries a
digest of the tokenizer, so an index and a query never meet with two different ones unnoticed.

A name stands in text as several token sequences, by what is before it; :meth:`HuggingFaceAnalyzer.variants` lists them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from factcensus.indexer.analyzers import clean_text
from factcensus.indexer.errors import InputError

#: What may stand right before a name, a space before the opening sign included: a tokenizer may take " (" apart from
#: what follows and yet join "(" to it.
_OPENING = ('"', "'", "“", "‘", "(", "[")
_BEFORE = {
    "as written": "",
    "at line start": "\n",
    "after a space": " ",
    **{f"after {sign}": sign for sign in _OPENING},
    **{f"after a space and {sign}": f" {sign}" for sign in _OPENING},
}
#: A space that is a token by itself, as SentencePiece and byte-level tokenizers write it.
_BARE_SPACE = ("▁", "Ġ")


@dataclass(frozen=True, slots=True)
class Variant:
    """One token sequence that a name stands as.

    Attributes:
        form: the first place where the name stands so: ``as written``, ``at line start``, ``after a space``,
            ``after "``, …
        text: the text that was tokenized, what is before the name included.
        ids: its token ids, without those that hold only what is before the name.
    """

    form: str
    text: str
    ids: tuple[int, ...]


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
        return list(self._tokenizer.encode(clean_text(text), add_special_tokens=False).ids)

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text, as the tokenizer prints them."""
        return list(self._tokenizer.encode(clean_text(text), add_special_tokens=False).tokens)

    def variants(self, text: str) -> list[Variant]:
        """The distinct token sequences that a name stands as, by what is before it; the first is as written.

        A name has other tokens at the start of a line ("Paris"), behind a space (" Paris") and, where the tokenizer
        joins the sign to the first letters, behind an opening quote or bracket ('"D', "ocker"). A sign or a space that
        stays a token by itself is no part of the name; the name behind it mostly is one of the sequences there are
        already. No mention is found by two of them, so their occurrences may be added up. Their sum is not that of
        whole words:

        * over-counted: a sequence may begin or end inside a longer word ("Docker" in "Dockerfile", where that is
          "Docker" and "file"), and a character that the tokenizer does not know (its ``<unk>``) is like every other;
        * missed: other signs before the name to which it is joined (a hyphen, a slash, markup), a sign behind it that
          is joined to its last letters, other casing, and other spellings of the same characters (NFD for NFC).

        Counts of whole words need a ``words`` index.

        Args:
            text: a name; spaces around it do not count. Empty for nothing but spaces.
        """
        name = clean_text(text).strip()
        found: dict[tuple[int, ...], Variant] = {}
        for form, before in _BEFORE.items():
            encoding = self._tokenizer.encode(before + name, add_special_tokens=False)
            first = 0
            while first < len(encoding) and (
                encoding.offsets[first][1] <= len(before) or encoding.tokens[first] in _BARE_SPACE
            ):
                first += 1
            ids = tuple(encoding.ids[first:])
            if ids:
                found.setdefault(ids, Variant(form, before + name, ids))
        return list(found.values())

    def name_ids(self, name: str) -> list[tuple[int, ...]]:
        """The token sequences of :meth:`variants`."""
        return [variant.ids for variant in self.variants(name)]

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
