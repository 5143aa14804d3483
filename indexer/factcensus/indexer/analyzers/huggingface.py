"""The analyzers ``hf:PATH_OR_NAME``: the tokens of a Hugging Face tokenizer, without special tokens.

PATH_OR_NAME is a local folder, a ``tokenizer.json`` file, or else a name on the hub. The label contains a digest of the
tokenizer, so an index cannot silently be queried with a different one.

A name has several token sequences, which depend on the preceding text; :meth:`HuggingFaceAnalyzer.variants` lists them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from factcensus.indexer.errors import InputError
from factcensus.indexer.records import clean_text

if TYPE_CHECKING:
    import pyarrow as pa

#: Texts that may precede a name. Opening characters occur with and without a space before them: a tokenizer may split
#: " (" from the name and yet merge "(" with it.
_OPENING = ('"', "'", "“", "‘", "(", "[")
_BEFORE = {
    "as written": "",
    "at line start": "\n",
    "after a space": " ",
    **{f"after {sign}": sign for sign in _OPENING},
    **{f"after a space and {sign}": f" {sign}" for sign in _OPENING},
}
#: A single space as a token of SentencePiece and of byte-level tokenizers.
_BARE_SPACE = ("▁", "Ġ")


@dataclass(frozen=True, slots=True)
class Variant:
    """One possible token sequence of a name.

    Attributes:
        form: The first context with this sequence: ``as written``, ``at line start``, ``after a space``, ``after "``, …
        text: The tokenized text, including the text before the name.
        ids: The token ids, without those that cover only the text before the name.
    """

    form: str
    text: str
    ids: tuple[int, ...]


class HuggingFaceAnalyzer:
    """An analyzer with the token ids of a tokenizer: u16 if the vocabulary leaves 65535 for the separator, else u32."""

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
        """Return the tokenizer as ``tokenizer.json``; an index stores it, so neither path nor hub is needed later."""
        return str(self._tokenizer.to_str()).encode()

    def ids(self, text: str) -> list[int]:
        """Return the token ids of a text."""
        return list(self._tokenizer.encode(clean_text(text), add_special_tokens=False).ids)

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of a text as the tokenizer prints them."""
        return list(self._tokenizer.encode(clean_text(text), add_special_tokens=False).tokens)

    def spans(self, text: str, wanted: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Return the character ranges of the given tokens of a text, as the tokenizer reports them."""
        offsets = self._tokenizer.encode(clean_text(text), add_special_tokens=False).offsets
        return {number: offsets[number] for number in wanted}

    def variants(self, text: str) -> list[Variant]:
        """Return the distinct token sequences of a name in different contexts; the first is the name as written.

        A name has different tokens at the start of a line ("Paris") and after a space (" Paris"). If the tokenizer
        merges an opening quotation mark or bracket with the first letters, it also differs there ('"D', "ocker"). A
        character or space that remains a separate token is not part of the name, and the name after it usually has one
        of the other sequences. No mention matches two sequences, so their occurrences can be added. The sum differs
        from a count of whole words:

        * Overcounted: a sequence may begin or end inside a longer word ("Docker" in "Dockerfile", if that is split into
          "Docker" and "file"). All characters unknown to the tokenizer (``<unk>``) are treated as the same.
        * Missed: other characters before the name that are merged with it (a hyphen, a slash, markup), a character
          after it that is merged with its last letters, other casing, and other spellings of the same characters (NFD
          instead of NFC).

        To count whole words, use a ``words`` index.

        Args:
            text: A name; surrounding spaces are ignored. If it has only spaces, the result is empty.
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
        """Return the token sequences of :meth:`variants`."""
        return [variant.ids for variant in self.variants(name)]

    def token(self, token_id: int) -> str:
        """Return the token of an id as the tokenizer prints it."""
        return self._tokenizer.id_to_token(token_id) or f"<{token_id}>"

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of a token sequence."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))

    def encoder(self) -> HuggingFaceAnalyzer:
        """Return the analyzer itself, which has no state."""
        return self

    def encode(self, texts: pa.LargeBinaryArray) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Return the concatenated ids of all texts (UTF-8), and the number of ids of each."""
        strings = [text.decode() for text in texts.to_pylist()]
        encodings = self._tokenizer.encode_batch_fast(strings, add_special_tokens=False)
        lengths = np.fromiter(map(len, encodings), np.int64, len(texts))
        dtype = np.uint16 if self.token_dtype == "u16" else np.uint32
        ids = np.fromiter((i for encoding in encodings for i in encoding.ids), dtype, int(lengths.sum()))
        return ids, lengths


def _short_name(path_or_name: str) -> str:
    """Return the hub name, or the last meaningful part of a local path, so that moving a tokenizer has no effect."""
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
    except Exception as error:  # the library raises Exception for a bad file and for an unreachable hub
        raise InputError(
            f"cannot load the analyzer 'hf:{path_or_name}' ({error}); give the path of a tokenizer.json, or a hub name "
            "if the hub is reachable"
        ) from error
