"""The opened index: exact counts of texts, entities and their co-occurrence.

Shards are independent (nothing matches across documents, and no document spans two shards), so every number is the
sum over them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from factcensus.indexer.analyzers import Analyzer, FixedAnalyzer, get_analyzer
from factcensus.indexer.errors import (
    EmptyQueryError,
    IndexerError,
    IndexFormatError,
    InputError,
    NoIndexError,
    UnknownNameError,
)
from factcensus.indexer.manifest import MANIFEST, TOKENIZER, Manifest
from factcensus.indexer.mentions import count_pairs
from factcensus.indexer.records import Entity
from factcensus.indexer.shard import Shard
from factcensus.indexer.vocabulary import Vocabulary

GroupBy = Literal["source"]
TokenIds = tuple[int, ...]


class CountIndex:
    """An index folder, opened read-only; safe for queries from many threads.

    >>> with CountIndex.open("indexes/wiki") as index:
    ...     index.count("Paris")["documents"]
    """

    def __init__(
        self,
        name: str,
        analyzer: Analyzer,
        shards: Sequence[Shard],
        *,
        manifest: Manifest | None,
        vocabulary: Vocabulary | None,
        folder: Path,
    ) -> None:
        self.name = name
        self.analyzer = analyzer
        self._shards: Sequence[Shard] | None = shards
        self.folder = folder
        self.manifest = manifest
        self._vocabulary = vocabulary

    @classmethod
    def open(cls, path: str | Path, *, name: str | None = None, analyzer: str | None = None) -> Self:
        """Open an index that factcensus or infini-gram built.

        Args:
            path: the folder.
            name: its name in answers; the folder's unless said otherwise.
            analyzer: needed only where the folder does not say it (infini-gram's with token ids of a tokenizer).

        Raises:
            IndexFormatError: there is no index, or its files do not belong together. Checked are all sizes, not all
                bytes; ``factcensus index verify`` does that.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise NoIndexError(f"no index folder at {folder}")
        if (folder / MANIFEST).exists():
            return cls._open_own(folder, name, analyzer)
        return cls._open_infini_gram(folder, name, analyzer)

    @classmethod
    def _open_own(cls, folder: Path, name: str | None, analyzer: str | None) -> Self:
        manifest = Manifest.read(folder)
        if analyzer is not None and analyzer != manifest.analyzer:
            raise InputError(f"{folder} was built with the analyzer {manifest.analyzer}, not {analyzer}")
        for file, record in manifest.files.items():
            size = (folder / file).stat().st_size if (folder / file).exists() else None
            if size != record.bytes:
                found = "is missing" if size is None else f"has {size} bytes"
                raise IndexFormatError(
                    f"{folder / file} {found}, the manifest says {record.bytes}; copy the index anew or rebuild it"
                )
        chosen: Analyzer
        if TOKENIZER in manifest.files:
            from factcensus.indexer.analyzers.huggingface import HuggingFaceAnalyzer

            chosen = HuggingFaceAnalyzer(str(folder / TOKENIZER), shown_as=manifest.analyzer)
        else:
            chosen = get_analyzer(manifest.analyzer)
        if chosen.label != manifest.analyzer_label:
            raise IndexFormatError(
                f"{folder} was built with {manifest.analyzer_label}, this version has {chosen.label}; rebuild the index"
            )
        generation = manifest.vocabulary_generation
        vocabulary = None if generation is None else Vocabulary(folder, generation)
        shards = list(_open_shards(folder, [f".{shard.number}" for shard in manifest.shards]))
        return cls(name or _name_of(folder), chosen, shards, manifest=manifest, vocabulary=vocabulary, folder=folder)

    @classmethod
    def _open_infini_gram(cls, folder: Path, name: str | None, analyzer: str | None) -> Self:
        suffixes = [
            match[1] for file in folder.iterdir() if (match := re.fullmatch(r"tokenized((?:\.\d+)?)", file.name))
        ]
        if not suffixes:
            raise NoIndexError(f"{folder} holds no index: neither {MANIFEST} nor tokenized.*")
        shards = list(_open_shards(folder, sorted(suffixes, key=lambda suffix: int(suffix[1:] or 0))))
        width = shards[0].token_bytes
        if any(shard.token_bytes != width for shard in shards):
            raise IndexFormatError(f"{folder}: its shards have token ids of different widths")
        if analyzer is None:
            if width != 1:
                raise InputError(
                    f"{folder} was built by infini-gram and does not say with which tokenizer; give "
                    "--analyzer hf:PATH_OR_NAME"
                )
            analyzer = "bytes"
        chosen = get_analyzer(analyzer)
        if chosen.has_vocabulary:
            raise InputError(
                f"{folder} has no vocabulary, so the analyzer {analyzer} cannot read it; give hf:… or bytes"
            )
        if cast(FixedAnalyzer, chosen).vocabulary_size > 256**width:
            raise InputError(f"{folder} has token ids of {width} bytes, too small for the analyzer {analyzer}")
        return cls(name or _name_of(folder), chosen, shards, manifest=None, vocabulary=None, folder=folder)

    def close(self) -> None:
        """Release the mapped files; queries are errors from then on."""
        self._shards = None
        self._vocabulary = None

    @property
    def shards(self) -> Sequence[Shard]:
        """The opened shards.

        Raises:
            IndexerError: the index is closed.
        """
        if self._shards is None:
            raise IndexerError(f"index {self.name} is closed")
        return self._shards

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def digest(self) -> str | None:
        """SHA-256 of the manifest; None for an index that has none."""
        return self.manifest.digest if self.manifest else None

    def info(self) -> dict[str, Any]:
        """What the index is, as JSON-able values."""
        files = [file for file in self.folder.iterdir() if file.is_file()]
        size = sum(file.stat().st_size for file in files)
        manifest = self.manifest
        documents = sum(shard.documents for shard in self.shards)
        return {
            "name": self.name,
            "digest": self.digest,
            "analyzer": self.analyzer.label,
            "documents": documents,
            "tokens": sum(shard.size for shard in self.shards) - documents,
            "types": None if self._vocabulary is None else len(self._vocabulary),
            "shards": len(self.shards),
            "bytes": size,
            "text_bytes": manifest.text_bytes if manifest else None,
            "bytes_per_text_byte": round(size / manifest.text_bytes, 4) if manifest and manifest.text_bytes else None,
            "skipped_lines": manifest.skipped_lines if manifest else None,
            "sources": manifest.sources if manifest else None,
        }

    # --- queries --------------------------------------------------------------------------------------------------

    def token_ids(self, text: str) -> TokenIds | None:
        """The ids of the tokens that a text is taken as; None when one of them stands nowhere in the corpus.

        Raises:
            EmptyQueryError: no token is left of it.
        """
        if self._vocabulary is None:
            ids = cast(FixedAnalyzer, self.analyzer).ids(text)
            if not ids:
                raise EmptyQueryError(_nothing_left(text, self.analyzer))
            return tuple(ids)
        tokens = self.analyzer.tokens(text)
        if not tokens:
            raise EmptyQueryError(_nothing_left(text, self.analyzer))
        ids_or_none = [self._vocabulary.id(token) for token in tokens]
        return None if None in ids_or_none else tuple(cast(list[int], ids_or_none))

    def forms(self, entity: Entity) -> tuple[TokenIds, ...]:
        """The distinct token sequences of an entity's surface forms that can occur, in a canonical order.

        An alias of which no token is left matches nothing; answers show its empty token list.

        Raises:
            EmptyQueryError: no token is left of the name.
        """
        found = {self.token_ids(entity.name)}
        for alias in entity.aliases:
            if self.analyzer.tokens(alias):
                found.add(self.token_ids(alias))
        return tuple(sorted(form for form in found if form is not None))

    def count(self, text: str, *, by: GroupBy | None = None) -> dict[str, Any]:
        """Occurrences of a text, overlapping ones included, and the documents that have it (CONTRACT section 4)."""
        ids = self.token_ids(text)
        occurrences = documents = 0
        groups = _groups(self, by, ("occurrences", "documents"))
        for number, shard in enumerate(self.shards):
            low, high = shard.find(ids) if ids else (0, 0)
            occurrences += high - low
            documents += shard.document_count(low, high)
            if groups:
                groups.add(number, "occurrences", shard.documents_of(shard.positions(low, high)))
                groups.add(number, "documents", shard.documents_with(low, high))
        answer: dict[str, Any] = {
            "index": self.name,
            "analyzer": self.analyzer.label,
            "text": text,
            "tokens": self.analyzer.tokens(text),
            "occurrences": occurrences,
            "documents": documents,
            "exact": True,
        }
        if groups:
            answer["by_source"] = groups.counts()
        return answer

    def cooccurrence(
        self, subject: Entity, object: Entity, *, window: int | None = None, by: GroupBy | None = None
    ) -> dict[str, Any]:
        """How often two entities occur, and occur together (CONTRACT sections 1 and 4).

        Args:
            subject: name and aliases.
            object: see above.
            window: at most so many tokens strictly between two mentions; None for the whole document.
            by: ``source`` adds the same numbers for each source.
        """
        windows = check_windows([] if window is None else [window])
        subject_forms, object_forms = self.forms(subject), self.forms(object)
        names: tuple[str, ...] = (
            "subject_mentions",
            "subject_documents",
            "object_mentions",
            "object_documents",
            "documents",
            "pairs",
        )
        totals: dict[str, int] = dict.fromkeys(names, 0)
        groups = _groups(self, by, names)
        for number, shard in enumerate(self.shards):
            subject_mentions, object_mentions = shard.mentions(subject_forms), shard.mentions(object_forms)
            documents, pairs = count_pairs(subject_mentions, object_mentions, windows)
            pairs = pairs[:, -1]  # those within the window, where one is given
            found = {
                "subject_mentions": (subject_mentions.documents, None),
                "subject_documents": (subject_mentions.distinct_documents(), None),
                "object_mentions": (object_mentions.documents, None),
                "object_documents": (object_mentions.distinct_documents(), None),
                "documents": (documents[pairs > 0], None),
                "pairs": (documents, pairs),
            }
            for name, (where, weights) in found.items():
                totals[name] += len(where) if weights is None else int(weights.sum())
                if groups:
                    groups.add(number, name, where, weights)
        answer = {
            "index": self.name,
            "analyzer": self.analyzer.label,
            "subject": self._described(subject),
            "object": self._described(object),
            "cooccurrence": {},
            "window": window,
            "exact": True,
        }
        _nest(answer, totals)
        if groups:
            answer["by_source"] = {
                source: _nest({"subject": {}, "object": {}, "cooccurrence": {}}, counts)
                for source, counts in groups.counts().items()
            }
        return answer

    def count_facts(
        self,
        facts: pa.Table,
        *,
        windows: Sequence[int] = (),
        progress: Callable[[int, int], None] | None = None,
        cache_bytes: int = 1 << 30,
    ) -> pa.Table:
        """Count every fact of a table; see :func:`factcensus.indexer.facts.count_facts`."""
        from factcensus.indexer.facts import count_facts

        return count_facts(self, facts, windows=windows, progress=progress, cache_bytes=cache_bytes)

    def find_documents(
        self,
        *,
        text: str | None = None,
        subject: Entity | None = None,
        object: Entity | None = None,
        window: int | None = None,
        limit: int = 10,
        start: int = 0,
    ) -> dict[str, Any]:
        """Documents with passages; see :func:`factcensus.indexer.passages.find_documents`."""
        from factcensus.indexer.passages import find_documents

        return find_documents(self, text=text, subject=subject, object=object, window=window, limit=limit, start=start)

    def _described(self, entity: Entity) -> dict[str, Any]:
        return {
            "name": entity.name,
            "aliases": list(entity.aliases),
            "tokens": [self.analyzer.tokens(form) for form in (entity.name, *entity.aliases)],
        }

    def words(self, token_ids: Sequence[int]) -> list[str]:
        """The printable tokens of ids."""
        if self._vocabulary is not None:
            return self._vocabulary.words(token_ids)
        analyzer = cast(FixedAnalyzer, self.analyzer)
        return [analyzer.token(token_id) for token_id in token_ids]

    def text(self, token_ids: Sequence[int]) -> str:
        """What a token sequence reads like: words with spaces between, or the decoded text."""
        if self._vocabulary is not None:
            return " ".join(self._vocabulary.words(token_ids))
        return cast(FixedAnalyzer, self.analyzer).decode(token_ids)

    @cached_property
    def source_names(self) -> list[str]:
        """All sources, in alphabetical order.

        Raises:
            InputError: the index has no document table.
        """
        names: set[str] = set()
        for shard in self.shards:
            if shard.sources is None:
                raise InputError(f"index {self.name} has no document table, so its counts cannot be had by source")
            names.update(shard.sources[0])
        return sorted(names)


def _groups(index: CountIndex, by: str | None, names: Iterable[str]) -> _Groups | None:
    if by is None:
        return None
    if by != "source":
        raise UnknownNameError(f"counts cannot be had by {by!r}; known: source")
    return _Groups(index, names)


class _Groups:
    """Sums of several numbers by source."""

    def __init__(self, index: CountIndex, names: Iterable[str]) -> None:
        self._sources = index.source_names
        place = {name: i for i, name in enumerate(self._sources)}
        self._codes = [
            np.array([place[name] for name in shard.sources[0]], np.int64)[shard.sources[1]]
            for shard in index.shards
            if shard.sources is not None
        ]
        self._sums = {name: np.zeros(len(self._sources), np.int64) for name in names}

    def add(
        self, shard: int, name: str, documents: npt.NDArray[np.int64], weights: npt.NDArray[np.int64] | None = None
    ) -> None:
        """Add one, or its weight, for each of the documents of a shard."""
        codes = self._codes[shard][documents]
        if weights is None:
            self._sums[name] += np.bincount(codes, minlength=len(self._sources))
        else:
            np.add.at(self._sums[name], codes, weights)

    def counts(self) -> dict[str, dict[str, int]]:
        """The sums of each source, also where they are 0."""
        return {
            source: {name: int(sums[i]) for name, sums in self._sums.items()} for i, source in enumerate(self._sources)
        }


def check_windows(windows: Sequence[int]) -> npt.NDArray[np.int64]:
    """The windows as an array.

    Raises:
        InputError: one is negative, or not an integer.
    """
    for window in windows:
        if not isinstance(window, int) or isinstance(window, bool) or not 0 <= window < 2**31:
            raise InputError(f"a window is a number of tokens, 0 or more; got {window!r}")
    return np.array(windows, np.int64)


def _nest(answer: dict[str, Any], counts: dict[str, int]) -> dict[str, Any]:
    """Put flat numbers where the answer of a co-occurrence has them."""
    for name, value in counts.items():
        part, _, key = name.rpartition("_")
        answer[part or "cooccurrence"][key] = value
    return answer


def _open_shards(folder: Path, suffixes: Sequence[str]) -> Iterator[Shard]:
    documents = 0
    for suffix in suffixes:
        shard = Shard(folder, suffix, documents)
        documents += shard.documents
        yield shard


def _name_of(folder: Path) -> str:
    return folder.resolve().name


def _nothing_left(text: str, analyzer: Analyzer) -> str:
    shown = text if len(text) <= 80 else text[:77] + "…"
    return f"the analyzer {analyzer.name} finds no token in {shown!r}; nothing can be counted"
