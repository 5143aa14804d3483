"""Indexes that infini-gram built: which files make a shard, and what they say of the documents. Read-only.

The three layouts that exist (all integers little-endian; the files themselves are described in :mod:`layout`):

``v4``
    One folder. Shard N is ``tokenized.N``, ``table.N``, ``offset.N`` and, where they were asked for, ``metadata.N``
    with ``metaoff.N``, and ``unigram.N``. Documents are dealt out to the shards in turn. All indexes that were
    published for download are of this kind, with Llama-2, GPT-2 or OLMo tokens of 2 bytes.
``v6``
    A folder for each shard, its files without ``.N``; shards are stretches of the corpus. Otherwise the same bytes.
    OLMo 3's are of this kind, with tokens of 4 bytes.
``v5``, and v6 with ``--reversed``
    The same with every document's tokens backwards. No file says so; :func:`check_tokenizer` sees it by the text.

A corpus may lie in several folders; its shards are numbered folder by folder and in each by the alphabet
(``tokenized.10`` before ``tokenized.2``), as the engine does, so document numbers agree with the engine's.

``metadata.N`` has a line a document, ``{"path": file, "linenum": 0-based line, "metadata": all fields but the text}``,
and ``metaoff.N`` the u64 offset of each line. Offsets of v4 count characters, those of v6 bytes: the same, since the
lines are ASCII. The earliest indexes have lines of another form, which are shown as they are.

Nothing in a folder names the tokenizer, the version or a checksum. What is checked here is what a wrong guess would
otherwise turn into wrong counts without a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from factcensus.indexer.analyzers import FixedAnalyzer
from factcensus.indexer.corpus import UNKNOWN_SOURCE, BadRecordError, document_of_fields, parse_line
from factcensus.indexer.errors import IndexFormatError, InputError
from factcensus.indexer.paths import indexes_in, no_index
from factcensus.indexer.storage.layout import map_file
from factcensus.indexer.storage.shard import Shard

#: Documents of a shard whose beginnings are checked when it is opened.
_CHECKED_DOCUMENTS = 1024
#: Documents, and tokens of each, by which the tokenizer is judged.
_JUDGED_DOCUMENTS, _JUDGED_TOKENS = 32, 256
#: The share of their tokens that comes back is 1.00 for the right tokenizer and 0.00 to 0.21 for others (English text;
#: byte-level and SentencePiece-like tokenizers of 4,000 to 16,000 ids).
_LEAST_AGREEMENT = 0.3


@dataclass(frozen=True)
class PublishedShard:
    """One shard, opened.

    Attributes:
        folder: where its files lie.
        suffix: the end of their names: ``.N``, or nothing (v6).
        shard: the opened files; its ``token_bytes`` is that of all of them.
        metadata: of its documents, where there is any.
    """

    folder: Path
    suffix: str
    shard: Shard
    metadata: Metadata | None


def read_published(folders: Sequence[Path]) -> list[PublishedShard]:
    """The shards of an index, or of several that are one corpus, in the engine's order.

    Args:
        folders: each with shards in it, or with a folder for each shard (v6).

    Raises:
        NoIndexError: a folder holds no shard.
        IndexFormatError: files are missing, do not belong together or differ in the width of token ids, or were built
            of bytes with the indexer's default width, which counts wrongly.
    """
    shards: list[PublishedShard] = []
    documents = 0
    for folder in [place for each in folders for place in _shard_folders(each)]:
        for suffix in _suffixes(folder):
            shard = Shard(folder, suffix, documents)
            _check_documents(folder, suffix, shard)
            metadata = Metadata(folder, suffix, shard.documents) if (folder / f"metadata{suffix}").exists() else None
            shards.append(PublishedShard(folder, suffix, shard, metadata))
            documents += shard.documents
    if len(widths := {each.shard.token_bytes for each in shards}) > 1:
        raise IndexFormatError(
            f"{', '.join(map(str, folders))}: token ids of {' and '.join(map(str, sorted(widths)))} bytes, so of "
            "different tokenizers; open them as different indexes"
        )
    return shards


def _shard_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise no_index(folder)
    if _suffixes(folder):
        return [folder]
    below = [path for path in sorted(folder.iterdir()) if path.is_dir() and _suffixes(path)]
    if not below or indexes_in(folder):
        raise no_index(folder)
    return below


def _suffixes(folder: Path) -> list[str]:
    matches = (re.fullmatch(r"tokenized((?:\.\d+)?)", path.name) for path in folder.iterdir())
    return sorted(match[1] for match in matches if match)


def _check_documents(folder: Path, suffix: str, shard: Shard) -> None:
    """Refuse a shard of which some document does not begin with a separator at a token's place, or is not known."""
    offsets, stream = map_file(folder / f"offset{suffix}").view("<u8"), map_file(folder / f"tokenized{suffix}")
    separator = b"\xff" * shard.token_bytes
    step = max(1, shard.documents // _CHECKED_DOCUMENTS)
    for document in range(0, shard.documents, step):
        offset = int(offsets[document])
        begins = bytes(stream[offset : offset + len(separator)]) == separator
        if begins and offset % shard.token_bytes:
            raise IndexFormatError(
                f"{folder}: tokenized{suffix} holds bytes, of which table{suffix} takes {shard.token_bytes} for a "
                "token, so its counts are wrong; build the index anew with infini-gram's --token_dtype u8"
            )
        if not begins:
            raise IndexFormatError(
                f"{folder}: document {document} of offset{suffix} does not begin with a separator in "
                f"tokenized{suffix}; the index is damaged"
            )
    low, high = shard.find([np.iinfo(shard.token_dtype).max])
    if high - low != shard.documents:
        raise IndexFormatError(
            f"{folder}: offset{suffix} has {shard.documents} documents, table{suffix} {high - low}; the index is "
            "damaged or half-copied"
        )


class Metadata:
    """``metadata.N`` and ``metaoff.N`` of one shard, mapped.

    Raises:
        IndexFormatError: there is not an offset for each document.
    """

    def __init__(self, folder: Path, suffix: str, documents: int) -> None:
        self._path = folder / f"metadata{suffix}"
        self._lines = map_file(self._path)
        offsets = folder / f"metaoff{suffix}"
        if not offsets.exists() or offsets.stat().st_size != 8 * documents:
            raise IndexFormatError(f"{offsets} does not have an offset for each of {documents} documents")
        self._offsets = map_file(offsets).view("<u8")

    def rows(self, documents: Sequence[int]) -> list[dict[str, Any]]:
        """``id, source, path, record, metadata`` of some documents, as the document table of an own index has them.

        Raises:
            IndexFormatError: an offset is not where a line begins.
        """
        return [_row(self._line(document)) for document in documents]

    def _line(self, document: int) -> bytes:
        begin = int(self._offsets[document])
        last = document + 1 == len(self._offsets)
        end = len(self._lines) if last else int(self._offsets[document + 1])
        line = bytes(self._lines[begin:end])
        before = bytes(self._lines[max(0, begin - 1) : begin])
        if before not in (b"", b"\n") or line.find(b"\n") != len(line) - 1:
            raise IndexFormatError(
                f"{self._path}: its offsets are not where its lines begin, at document {document}; move metadata and "
                "metaoff away to do without them"
            )
        return line


def _row(line: bytes) -> dict[str, Any]:
    parsed = parse_line(line, exact=True)
    fields = parsed.get("metadata") if isinstance(parsed, dict) else None
    try:
        if not isinstance(parsed, dict) or not isinstance(fields, dict):
            raise BadRecordError("a line of another form")
        document = document_of_fields(parsed.get("linenum", -1), "", fields, fields.pop("id", None))
    except BadRecordError:
        text = line.decode(errors="replace").strip()
        return {"id": None, "source": UNKNOWN_SOURCE, "path": None, "record": None, "metadata": text}
    return {
        "id": document.id,
        "source": document.source,
        "path": parsed.get("path"),
        "record": parsed.get("linenum"),
        "metadata": document.metadata,
    }


def check_tokenizer(shards: Sequence[Shard], analyzer: FixedAnalyzer, name: str) -> None:
    """Refuse a tokenizer that is not the index's, or documents whose tokens run backwards, judged by a sample.

    Tokens that a tokenizer made come back when their text is tokenized again. That is looked at for the beginnings of
    some documents, forwards and backwards. Bytes of ASCII only read as well in either direction.

    Args:
        shards: opened.
        analyzer: the one that the user named.
        name: of the index, for messages.

    Raises:
        InputError: the sample has ids beyond the vocabulary, or its text reads better backwards, or does not come back
            although the tokenizer brings back another text.
    """
    forwards = backwards = judged = 0.0
    for ids in _sample(shards):
        if max(ids) >= analyzer.vocabulary_size:
            raise InputError(
                f"{name} has the token id {max(ids)}, and {analyzer.name} has only {analyzer.vocabulary_size} ids; "
                "name the tokenizer that the index was built with"
            )
        judged += 1
        forwards += _agreement(analyzer, ids)
        backwards += _agreement(analyzer, ids[::-1])
    if backwards > forwards + 0.02 * judged and backwards > judged / 2:
        raise InputError(
            f"the documents of {name} run backwards (infini-gram's version 5, or --reversed); build the index anew "
            "without that"
        )
    brings_back = _agreement(analyzer, analyzer.ids("Not all that is gold glitters.")) == 1
    if judged >= 4 and forwards < _LEAST_AGREEMENT * judged and brings_back:
        raise InputError(
            f"the documents of {name} are not what {analyzer.name} makes of their text; name the tokenizer that the "
            "index was built with"
        )


def _sample(shards: Sequence[Shard]) -> Iterator[list[int]]:
    """The first tokens of some documents that have at least eight."""
    for shard in shards[:: max(1, len(shards) // _JUDGED_DOCUMENTS)]:
        for document in range(0, shard.documents, max(1, shard.documents * len(shards) // _JUDGED_DOCUMENTS)):
            begin, end = shard.document_span(document)
            if end - begin >= 8:
                yield shard.tokens(begin, min(end, begin + _JUDGED_TOKENS)).tolist()


def _agreement(analyzer: FixedAnalyzer, ids: Sequence[int]) -> float:
    """The share of the ids, from the first on, that comes back when their text is tokenized."""
    again = analyzer.ids(analyzer.decode(ids))
    same = next((i for i, (one, other) in enumerate(zip(ids, again, strict=False)) if one != other), len(again))
    return min(same, len(ids)) / len(ids)
