"""Indexes built by infini-gram: the files of their shards and the metadata of their documents, read-only.

There are three layouts (all integers are little-endian; :mod:`layout` describes the files):

``v4``
    One folder. Shard N is ``tokenized.N``, ``table.N``, ``offset.N``, and optionally ``metadata.N`` with ``metaoff.N``,
    and ``unigram.N``. Documents are distributed over the shards in turn. All indexes published for download have this
    layout, with Llama-2, GPT-2 or OLMo tokens of 2 bytes.
``v6``
    One folder per shard, with file names without ``.N``. Each shard is a contiguous part of the corpus. Otherwise the
    files are the same. The OLMo 3 indexes have this layout, with tokens of 4 bytes.
``v5``, and v6 with ``--reversed``
    The same files with reversed tokens in every document. No file records this; :func:`check_tokenizer` detects it from
    the text.

A corpus may have several folders. Its shards are numbered folder by folder, and alphabetically in each folder
(``tokenized.10`` before ``tokenized.2``). The engine does the same, so document numbers agree with the engine.

``metadata.N`` has one line per document, ``{"path": file, "linenum": 0-based line, "metadata": all other fields}``, and
``metaoff.N`` has the u64 offset of each line. Offsets count characters in v4 and bytes in v6, which is the same because
the lines are ASCII. The earliest indexes have lines of another form, which are shown unchanged.

A folder does not record its tokenizer or version, and has no checksums. This module checks everything that would
otherwise silently lead to wrong counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from factcensus.indexer.analyzers import FixedAnalyzer
from factcensus.indexer.errors import IndexFormatError, InputError
from factcensus.indexer.infini_gram.metadata import Metadata
from factcensus.indexer.paths import indexes_in, no_index
from factcensus.indexer.storage.layout import map_file
from factcensus.indexer.storage.suffix_shard import SuffixArrayShard

#: Number of documents per shard whose start is checked when it is opened.
_CHECKED_DOCUMENTS = 1024
#: Number of documents, and of tokens of each, with which the tokenizer is checked.
JUDGED_DOCUMENTS, JUDGED_TOKENS = 32, 256
#: Minimum share of tokens that are reproduced when their text is tokenized. It is 1.00 for the right tokenizer and 0.00
#: to 0.21 for others (English text; byte-level and SentencePiece-like tokenizers of 4,000 to 16,000 ids).
_LEAST_AGREEMENT = 0.3


@dataclass(frozen=True)
class PublishedShard:
    """One open shard.

    Attributes:
        folder: The folder of its files.
        suffix: The suffix of the file names: ``.N``, or empty (v6).
        shard: The open files; all have the same ``token_bytes``.
        metadata: The metadata of its documents, or None.
    """

    folder: Path
    suffix: str
    shard: SuffixArrayShard
    metadata: Metadata | None


def read_published(folders: Sequence[Path]) -> list[PublishedShard]:
    """Open the shards of one or several indexes that form one corpus, in the order of the engine.

    Args:
        folders: Folders that contain shards, or one folder per shard (v6).

    Raises:
        NoIndexError: A folder contains no shard.
        IndexFormatError: Files are missing, do not match or differ in the width of token ids; or the index
            was built from bytes with the default width of infini-gram, which gives wrong counts.
    """
    shards: list[PublishedShard] = []
    documents = 0
    for folder in [place for each in folders for place in _shard_folders(each)]:
        for suffix in _suffixes(folder):
            shard = SuffixArrayShard(folder, suffix, documents)
            _check_documents(folder, suffix, shard)
            metadata = Metadata(folder, suffix, shard.documents) if (folder / f"metadata{suffix}").exists() else None
            shards.append(PublishedShard(folder, suffix, shard, metadata))
            documents += shard.documents
    if len(widths := {each.shard.token_bytes for each in shards}) > 1:
        raise IndexFormatError(
            f"{', '.join(map(str, folders))}: token ids of {' and '.join(map(str, sorted(widths)))} bytes, so the "
            "tokenizers differ; open the folders as different indexes"
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


def _check_documents(folder: Path, suffix: str, shard: SuffixArrayShard) -> None:
    """Refuse a shard with a document that does not begin with an aligned separator, or with a wrong document count."""
    offsets, stream = map_file(folder / f"offset{suffix}").view("<u8"), map_file(folder / f"tokenized{suffix}")
    separator = b"\xff" * shard.token_bytes
    step = max(1, shard.documents // _CHECKED_DOCUMENTS)
    for document in range(0, shard.documents, step):
        offset = int(offsets[document])
        begins = bytes(stream[offset : offset + len(separator)]) == separator
        if begins and offset % shard.token_bytes:
            raise IndexFormatError(
                f"{folder}: tokenized{suffix} has tokens of one byte, but table{suffix} has {shard.token_bytes} bytes "
                "per token, so its counts are wrong; rebuild the index with infini-gram's --token_dtype u8"
            )
        if not begins:
            raise IndexFormatError(
                f"{folder}: document {document} of offset{suffix} does not begin with a separator in "
                f"tokenized{suffix}; the index is damaged"
            )
    low, high = shard.find([np.iinfo(shard.token_dtype).max])
    if high - low != shard.documents:
        raise IndexFormatError(
            f"{folder}: offset{suffix} has {shard.documents} documents, but table{suffix} has {high - low}; the index "
            "is damaged or only partly copied, so copy it again"
        )


def check_tokenizer(shards: Sequence[SuffixArrayShard], analyzer: FixedAnalyzer, name: str) -> None:
    """Run :func:`judge_tokenizer` with a sample of the documents of open shards."""
    judge_tokenizer(_sample(shards), analyzer, name)


def judge_tokenizer(beginnings: Iterable[list[int]], analyzer: FixedAnalyzer, name: str) -> None:
    """Refuse a tokenizer that does not fit the index, or reversed documents, based on a sample.

    Decoding tokens and tokenizing their text again reproduces them if the tokenizer is right. This is checked for the
    beginnings of some documents, forwards and backwards. ASCII bytes are reproduced in either direction.

    Args:
        beginnings: The first tokens of some documents.
        analyzer: The analyzer named by the user.
        name: The name of the index, for messages.

    Raises:
        InputError: The sample has ids beyond the vocabulary, is reproduced better backwards, or is not reproduced by a
            tokenizer that reproduces another text.
    """
    forwards = backwards = judged = 0.0
    for ids in beginnings:
        if max(ids) >= analyzer.vocabulary_size:
            raise InputError(
                f"{name} has the token id {max(ids)}, but {analyzer.name} has only {analyzer.vocabulary_size} ids; "
                "give the tokenizer with which the index was built"
            )
        judged += 1
        forwards += _agreement(analyzer, ids)
        backwards += _agreement(analyzer, ids[::-1])
    if backwards > forwards + 0.02 * judged and backwards > judged / 2:
        raise InputError(
            f"the documents of {name} are reversed (infini-gram's version 5, or --reversed); rebuild the index without "
            "this option"
        )
    brings_back = _agreement(analyzer, analyzer.ids("Not all that is gold glitters.")) == 1
    if judged >= 4 and forwards < _LEAST_AGREEMENT * judged and brings_back:
        raise InputError(
            f"the documents of {name} were not tokenized with {analyzer.name}; give the tokenizer with which the index "
            "was built"
        )


def _sample(shards: Sequence[SuffixArrayShard]) -> Iterator[list[int]]:
    """Yield the first tokens of some documents with at least eight tokens."""
    for shard in shards[:: max(1, len(shards) // JUDGED_DOCUMENTS)]:
        for document in range(0, shard.documents, max(1, shard.documents * len(shards) // JUDGED_DOCUMENTS)):
            begin, end = shard.document_span(document)
            if end - begin >= 8:
                yield shard.tokens(begin, min(end, begin + JUDGED_TOKENS)).tolist()


def _agreement(analyzer: FixedAnalyzer, ids: Sequence[int]) -> float:
    """Return the share of leading ids that are reproduced when their text is tokenized."""
    again = analyzer.ids(analyzer.decode(ids))
    same = next((i for i, (one, other) in enumerate(zip(ids, again, strict=False)) if one != other), len(again))
    return min(same, len(ids)) / len(ids)
