"""The opened index: exact counts of texts, entities and their co-occurrence.

Shards are independent (nothing matches across documents, and no document spans two shards), so every number is the
sum over them.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from factcensus.indexer.analyzers import Analyzer, FixedAnalyzer, clean_text, get_analyzer, nothing_left
from factcensus.indexer.analyzers.words import WordsAnalyzer
from factcensus.indexer.counting.fact_counts import PairCounts, count_plan, plan_facts
from factcensus.indexer.counting.forms import Forms, TextForms, TokenIds, flat_texts, forms_of_entities
from factcensus.indexer.counting.limits import NO_LIMIT, Limit
from factcensus.indexer.counting.scope import EVERY_DOCUMENT, Scope, column_of, masks_of
from factcensus.indexer.errors import (
    EmptyQueryError,
    IndexerError,
    IndexFormatError,
    InputError,
)
from factcensus.indexer.kernels.ngrams import Mask, count_by_group, count_ranges
from factcensus.indexer.kernels.pairs import check_windows
from factcensus.indexer.paths import no_index
from factcensus.indexer.records import Entity, as_entity
from factcensus.indexer.records import texts as strings
from factcensus.indexer.storage.index_analyzer import load_analyzer
from factcensus.indexer.storage.layout import FileState, HeldFile, file_state
from factcensus.indexer.storage.manifest import MANIFEST, Manifest, refuse_unfinished
from factcensus.indexer.storage.shard import Shard
from factcensus.indexer.storage.vocabulary import Vocabulary

if TYPE_CHECKING:
    from factcensus.indexer.counting.fact_counts import PairCounts
    from factcensus.indexer.tables.facts import Facts

#: The token sequences by which an entity is mentioned.
EntityForms = tuple[TokenIds, ...]


class _OpenedAs(NamedTuple):
    """What :meth:`CountIndex.open` was given."""

    path: str | Path | Sequence[str | Path]
    name: str | None
    analyzer: str | None


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
        self._opened_as = _OpenedAs(folder, name, None)
        #: The states of the files by which a change of the index is noticed, as they were when it was opened.
        self._states: dict[Path, FileState | None] = {}
        # They go with the object, to which they lead by a weak reference: an index that is dropped unmaps its files at
        # once, without waiting for the garbage collector.
        me = weakref.ref(self)
        self._masks = lru_cache(8)(lambda scope: masks_of(_alive(me), scope))
        self._groups = lru_cache(8)(lambda by: _alive(me)._group_documents(by))

    @classmethod
    def open(
        cls, path: str | Path | Sequence[str | Path], *, name: str | None = None, analyzer: str | None = None
    ) -> Self:
        """Open an index that factcensus or infini-gram built.

        Args:
            path: the folder; of infini-gram's indexes also several folders that are one corpus.
            name: its name in answers; the (first) folder's unless said otherwise.
            analyzer: needed only where the folder does not say it (infini-gram's with token ids of a tokenizer).

        Raises:
            IndexFormatError: there is no index, or its files do not belong together. Checked are all sizes, not all
                bytes; ``factcensus index verify`` does that.
        """
        folders = [Path(path)] if isinstance(path, str | Path) else [Path(each) for each in path]
        for folder in folders:
            if not folder.is_dir():
                raise no_index(folder)
        own = [folder for folder in folders if (folder / MANIFEST).exists()]
        if own and len(folders) > 1:
            raise InputError(f"{own[0]} is an index of factcensus's, which is opened by itself")
        index = cls._open_own(own[0], name, analyzer) if own else cls._open_infini_gram(folders, name, analyzer)
        index._opened_as = _OpenedAs(path, name, analyzer)
        return index

    @classmethod
    def _open_own(cls, folder: Path, name: str | None, analyzer: str | None) -> Self:
        while True:
            state = file_state(folder / MANIFEST)
            manifest = Manifest.read(folder)
            try:
                index = cls._open_files(folder, manifest, name, analyzer)
            except (IndexerError, OSError):
                # Files may be gone because another process has just changed the index: then it is opened as it is now.
                if Manifest.read(folder).digest == manifest.digest:
                    raise
                continue
            if file_state(folder / MANIFEST) == state:  # else files of the new index may have come in
                index._states = {folder / MANIFEST: state}
                return index

    @classmethod
    def open_generation(cls, folder: Path, manifest: Manifest) -> Self:
        """Open the index that a manifest describes, whose files are in ``folder``, before it is the folder's own."""
        return cls._open_files(folder, manifest, None, None)

    @classmethod
    def _open_files(cls, folder: Path, manifest: Manifest, name: str | None, analyzer: str | None) -> Self:
        if analyzer is not None and analyzer != manifest.analyzer:
            raise InputError(f"{folder} was built with the analyzer {manifest.analyzer}, not {analyzer}")
        for file, record in manifest.files.items():
            size = (folder / file).stat().st_size if (folder / file).exists() else None
            if size != record.bytes:
                found = "is missing" if size is None else f"has {size} bytes"
                raise IndexFormatError(
                    f"{folder / file} {found}, the manifest says {record.bytes}; copy the index anew or rebuild it"
                )
        chosen = load_analyzer(folder, manifest)
        generation = manifest.vocabulary_generation
        vocabulary = None if generation is None else Vocabulary(folder, generation)
        shards = list(_open_shards(folder, manifest))
        return cls(name or _name_of(folder), chosen, shards, manifest=manifest, vocabulary=vocabulary, folder=folder)

    @classmethod
    def _open_infini_gram(cls, folders: Sequence[Path], name: str | None, analyzer: str | None) -> Self:
        from factcensus.indexer.infini_gram.published import check_tokenizer, read_published

        for folder in folders:
            refuse_unfinished(folder)
        shards = []
        for published in read_published(folders):
            published.shard.metadata = published.metadata
            shards.append(published.shard)
        folder, width = folders[0], shards[0].token_bytes
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
        # The largest id of a width separates documents; bytes have it, and UTF-8 does without.
        if cast(FixedAnalyzer, chosen).vocabulary_size > 256**width - (width > 1):
            raise InputError(f"{folder} has token ids of {width} bytes, too small for the analyzer {analyzer}")
        check_tokenizer(shards, cast(FixedAnalyzer, chosen), name or _name_of(folder))
        index = cls(name or _name_of(folder), chosen, shards, manifest=None, vocabulary=None, folder=folder)
        index._states = {file: file_state(file) for each in shards for file in [each.folder / each.table_name]}
        return index

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

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of the manifest; None for an index that has none."""
        return self.manifest.digest if self.manifest else None

    @property
    def generation(self) -> int | None:
        """Number of changes since the index was built, as of when it was opened; None for one of infini-gram's."""
        return self.manifest.generation if self.manifest else None

    @cached_property
    def held_digests(self) -> frozenset[str | None]:
        """Digests whose answers still hold, because no document was deleted since; see :class:`Manifest`."""
        return frozenset(self.manifest.held_digests() if self.manifest else [None])

    @property
    def changed(self) -> bool:
        """Whether the folder holds another content by now, or none; costs a look at one file.

        The opened index goes on giving the answers of the content it was opened with, deleted documents included, until
        it is closed; :meth:`reopen` gives the current one.
        """
        if all(file_state(file) == state for file, state in self._states.items()):
            return False
        if self.manifest is None:
            return True
        state = file_state(self.folder / MANIFEST)
        try:
            changed = Manifest.read(self.folder).digest != self.digest
        except IndexFormatError:
            return True
        if not changed:  # the same manifest, copied or touched
            self._states = {self.folder / MANIFEST: state}
        return changed

    def reopen(self) -> Self:
        """Open the index as it is now, under the same name; this one stays open as it was.

        >>> if index.changed:
        ...     index = index.reopen()

        Raises:
            IndexFormatError: as :meth:`open`.
        """
        path, name, analyzer = self._opened_as
        return self.open(path, name=name, analyzer=analyzer)

    def info(self) -> dict[str, Any]:
        """What the index is, as JSON-able values."""
        manifest = self.manifest
        if manifest:  # not what lies in the folder, which another process may be changing
            size = len(manifest.render()) + sum(file.bytes for file in manifest.files.values())
        else:
            folders = {self.folder, *(shard.folder for shard in self.shards)}
            size = sum(file.stat().st_size for folder in folders for file in folder.iterdir() if file.is_file())
        deleted = sum(len(shard.deleted) for shard in self.shards)
        documents = sum(shard.documents for shard in self.shards)
        return {
            "name": self.name,
            "digest": self.digest,
            "generation": self.generation,
            "analyzer": self.analyzer.label,
            "documents": documents - deleted,
            "repeated_documents": sum(len(shard.repeated) for shard in self.shards) if manifest else None,
            "deleted_documents": deleted if manifest else None,
            "tokens": manifest.tokens if manifest else sum(shard.size for shard in self.shards) - documents,
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
        return self._ids(text, self.analyzer.tokens(text))

    def _ids(self, text: str, tokens: list[str]) -> TokenIds | None:
        if self._vocabulary is None:
            ids = cast(FixedAnalyzer, self.analyzer).ids(text)
        else:
            ids = [self._vocabulary.id(token) for token in tokens]
        if not ids:
            raise EmptyQueryError(nothing_left(text, self.analyzer))
        return None if -1 in ids else tuple(ids)

    def forms(self, entity: Entity | str) -> EntityForms:
        """The distinct token sequences of an entity's surface forms that can occur, in a canonical order.

        An alias of which no token is left matches nothing; answers show its empty token list. With a tokenizer of
        sub-words a name has several sequences: at a line's start, behind a space, behind a quote
        (:meth:`HuggingFaceAnalyzer.variants` says what even these miss).

        Raises:
            EmptyQueryError: no token is left of the name.
        """
        entity = as_entity(entity)
        found: set[TokenIds] = set()
        for number, text in enumerate((entity.name, *entity.aliases)):
            if (vocabulary := self._vocabulary) is None:
                forms = cast(FixedAnalyzer, self.analyzer).name_ids(text)
            else:
                ids = tuple(map(vocabulary.id, self.analyzer.tokens(text)))
                forms = [ids] if ids else []
            if not number and not forms:
                raise EmptyQueryError(nothing_left(text, self.analyzer))
            found.update(form for form in forms if -1 not in form)
        return tuple(sorted(found))

    def text_forms(self, texts: pa.Array) -> TextForms:
        """The token sequences that each of many strings may stand as as a name; see :meth:`forms`."""
        if self._vocabulary is None:
            return flat_texts([cast(FixedAnalyzer, self.analyzer).name_ids(text) for text in texts.to_pylist()])
        encoder = cast(WordsAnalyzer, self.analyzer).encoder()
        ids, lengths = encoder.encode(texts.cast(pa.binary()).to_pylist())
        starts = np.concatenate([[0], np.cumsum(lengths)])
        return TextForms(self._vocabulary.ids_of(encoder.table)[ids], starts, np.arange(len(texts) + 1))

    def count(
        self, text: str, *, by: str | None = None, scope: Scope = EVERY_DOCUMENT, limit: Limit | None = None
    ) -> dict[str, Any]:
        """Occurrences of a text, overlapping ones included, and the documents that have it (CONTRACT section 4).

        Args:
            text: analysed like the corpus.
            by: ``source`` or another column of the document table, or a field of the metadata (nested: ``a.b``); adds
                the same numbers for each value.
            scope: the documents that are counted.
            limit: stops a count that takes too long.

        Raises:
            EmptyQueryError: no token is left of the text.
            DeadlineError: the limit was reached.
        """
        text = clean_text(text)  # what was counted, and can be printed
        tokens = self.analyzer.tokens(text)
        ids = self._ids(text, tokens)
        answer: dict[str, Any] = {
            "index": self.name,
            "analyzer": self.analyzer.label,
            "text": text,
            "tokens": tokens,
            "occurrences": 0,
            "documents": 0,
            "exact": True,
        }
        if by is not None:
            return answer | self._count_by(ids, by, scope, limit or Limit())
        stop = NO_LIMIT if limit is None else limit.flag
        column = column_of(scope)
        masks = self.counted(scope)  # also where there is nothing to count, a condition has to be one
        if ids:
            for shard, counted in zip(self.shards, masks, strict=True):
                occurrences, documents = shard.count(ids, counted, column, stop)
                answer["occurrences"] += occurrences
                answer["documents"] += documents
        if limit is not None:
            limit.check()
        return answer

    def _count_by(self, ids: TokenIds | None, by: str, scope: Scope, limit: Limit) -> dict[str, Any]:
        names, codes = self.groups(by)
        grouped = np.zeros((len(names), 2), np.int64)
        for shard, counted, groups in zip(self.shards, self.counted(scope), codes, strict=True):
            low, high = shard.find(ids) if ids else (0, 0)
            if low < high:
                selection = shard.selection(counted, -1, groups)
                count_by_group(shard.suffix_rows, selection, low, high, limit.flag, grouped)
            limit.check()
        numbers = [{"occurrences": occurrences, "documents": documents} for occurrences, documents in grouped.tolist()]
        occurrences, documents = grouped.sum(axis=0).tolist()
        by_value = dict(zip(names, numbers, strict=True))
        return {"occurrences": occurrences, "documents": documents, "exact": True, f"by_{by}": by_value}

    def count_many(
        self, texts: Sequence[str], *, scope: Scope = EVERY_DOCUMENT, limit: Limit | None = None
    ) -> npt.NDArray[np.int64]:
        """:meth:`count` of many texts at once: int64 (texts, 2), occurrences and documents of each.

        Raises:
            EmptyQueryError: no token is left of one of the texts.
        """
        ngrams = [self.token_ids(text) or () for text in strings(texts, "texts")]
        return self.count_ngrams(ngrams, scope=scope, limit=limit)

    def count_ngrams(
        self, ngrams: Sequence[Sequence[int]], *, scope: Scope = EVERY_DOCUMENT, limit: Limit | None = None
    ) -> npt.NDArray[np.int64]:
        """Occurrences and documents of many token sequences, int64 (n-grams, 2); 0 for an empty one.

        Raises:
            InputError: an id is negative, too large for the index, or the one that separates documents.
        """
        limit = limit or Limit()
        tokens, starts = self._flat_ngrams(ngrams)
        counts = np.zeros((len(ngrams), 2), np.int64)
        for shard, counted in zip(self.shards, self.counted(scope), strict=True):
            ranges = shard.find_all(tokens, starts)
            selection = shard.selection(counted, column_of(scope))
            count_ranges(shard.suffix_rows, selection, ranges, limit.flag, counts)
            limit.check()
        return counts

    def _flat_ngrams(self, ngrams: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        starts = np.zeros(len(ngrams) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, ngrams), np.int64, len(ngrams)), out=starts[1:])
        tokens = np.fromiter(chain.from_iterable(ngrams), np.int64, int(starts[-1]))
        separator = min((int(np.iinfo(shard.token_dtype).max) for shard in self.shards), default=0xFFFFFFFF)
        for outside in (tokens.min(initial=0), tokens.max(initial=0)):
            if outside == separator:
                raise InputError(
                    f"the id {separator} is no token: it separates documents, across which nothing matches"
                )
            if not 0 <= outside <= separator:
                raise InputError(
                    f"a token id of this index is a number from 0 to {separator - 1}; {outside} is none of them"
                )
        return tokens.astype(np.uint32), starts

    def cooccurrence(
        self,
        subject: Entity | str,
        object: Entity | str,
        *,
        window: int | None = None,
        by: str | None = None,
        scope: Scope = EVERY_DOCUMENT,
        limit: Limit | None = None,
    ) -> dict[str, Any]:
        """How often two entities occur, and occur together (CONTRACT sections 1 and 4).

        Args:
            subject: name and aliases; a string is a name without aliases.
            object: likewise.
            window: at most so many tokens strictly between two mentions; None for the whole document.
            by: adds the same numbers for each value of a column; see :meth:`count`.
            scope: the documents that are counted.
            limit: stops a count that takes too long.
        """
        subject, object = as_entity(subject), as_entity(object)
        windows = check_windows([] if window is None else [window])
        forms = forms_of_entities([self.forms(subject), self.forms(object)])
        names, counts = self.count_pairs(forms, np.array([0]), np.array([1]), windows, by=by, scope=scope, limit=limit)
        # The last window is the one that was asked for, if any.
        found = np.concatenate([counts.subjects[0], counts.objects[0], counts.together[0, :, -1]], axis=1)
        answer = _nest(found.sum(axis=0))
        for part, entity in (("subject", subject), ("object", object)):
            answer[part] = self._described(entity) | answer[part]
        answer = {
            "index": self.name, "analyzer": self.analyzer.label, **answer, "window": window, "exact": True
        }  # fmt: skip
        if by is not None:
            answer[f"by_{by}"] = {name: _nest(row) for name, row in zip(names, found, strict=True)}
        return answer

    def count_pairs(
        self,
        forms: Forms,
        subjects: npt.NDArray[np.int64],
        objects: npt.NDArray[np.int64],
        windows: npt.NDArray[np.int64],
        *,
        by: str | None = None,
        scope: Scope = EVERY_DOCUMENT,
        limit: Limit | None = None,
        threads: int = 1,
        progress: Callable[[int, int], None] | None = None,
        reading: int = -1,
    ) -> tuple[list[str], PairCounts]:
        """Count many pairs of entities; see :func:`fact_counts.count_plan`.

        Args:
            forms: of all entities (:mod:`factcensus.indexer.counting.forms`).
            subjects: int64 (pairs,): the number of each pair's subject among them; ``objects`` likewise.

        Returns:
            The groups (one without a name unless ``by`` is given), and the counts by pair and group.
        """
        names, codes = self.groups(by)
        column = -1 if by else column_of(scope)
        selections = [
            shard.selection(counted, column, groups)
            for shard, counted, groups in zip(self.shards, self.counted(scope), codes, strict=True)
        ]
        counts = count_plan(
            self.shards, selections, plan_facts(forms, subjects, objects, windows), max(1, len(names)),
            limit or Limit(), threads=threads, progress=progress, reading=reading,
        )  # fmt: skip
        return names, PairCounts(counts.entities[subjects], counts.entities[objects], counts.together)

    def groups(self, by: str | None) -> tuple[list[str], list[npt.NDArray[np.int32]]]:
        """The values of a column, and for each shard each document's place among them; nothing for None.

        Raises:
            InputError: the index has no document table.
            UnknownNameError: no document has a value there.
        """
        if by is None:
            return [], [np.zeros(0, np.int32)] * len(self.shards)
        return self._groups(by)

    def _group_documents(self, by: str) -> tuple[list[str], list[npt.NDArray[np.int32]]]:
        from factcensus.indexer.storage.documents import group_documents

        names, codes = group_documents(self.document_tables, by)
        for shard in self.shards:
            shard.check_rows(len(codes[shard.number]))
        return names, [codes[shard.number] for shard in self.shards]

    @property
    def document_tables(self) -> dict[int, HeldFile]:
        """The file of each shard's document table, by the shard's number.

        Raises:
            InputError: the index has none.
        """
        if self.manifest is None:
            raise InputError(f"index {self.name} has no document table, so its counts cannot be had by source")
        return {shard.number: shard.rows_file for shard in self.shards if shard.rows_file is not None}

    def count_facts(
        self,
        facts: Facts,
        *,
        windows: Sequence[int] = (),
        by: str | None = None,
        scope: Scope = EVERY_DOCUMENT,
        limit: Limit | None = None,
        threads: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> pa.Table:
        """Count every fact of a table; see :func:`factcensus.indexer.tables.counts.count_facts`."""
        from factcensus.indexer.tables.counts import count_facts

        return count_facts(
            self, facts, windows=windows, by=by, scope=scope, limit=limit, threads=threads, progress=progress
        )

    def find_documents(
        self,
        *,
        text: str | None = None,
        subject: Entity | str | None = None,
        object: Entity | str | None = None,
        window: int | None = None,
        limit: int = 10,
        start: int = 0,
        by: str | None = None,
        scope: Scope = EVERY_DOCUMENT,
        deadline: Limit | None = None,
    ) -> dict[str, Any]:
        """Documents with passages; see :func:`factcensus.indexer.counting.passages.find_documents`."""
        from factcensus.indexer.counting.passages import find_documents

        return find_documents(
            self, text=text, subject=subject, object=object, window=window, limit=limit, start=start,
            by=by, scope=scope, deadline=deadline,
        )  # fmt: skip

    def counted(self, scope: Scope = EVERY_DOCUMENT) -> list[Mask]:
        """For each shard bool (documents,), True where a document is counted; of size 0 where all are."""
        return self._all if scope is EVERY_DOCUMENT else self._masks(scope)

    @cached_property
    def _all(self) -> list[Mask]:
        return self._masks(EVERY_DOCUMENT)

    def _described(self, entity: Entity) -> dict[str, Any]:
        names = (entity.name, *entity.aliases)
        described: dict[str, Any] = {
            "name": entity.name,
            "aliases": list(entity.aliases),
            "tokens": [self.analyzer.tokens(form) for form in names],
        }
        if variants := getattr(self.analyzer, "variants", None):  # of a tokenizer of sub-words
            described["variants"] = [
                {"form": each.form, "text": each.text, "tokens": self.words(each.ids)}
                for name in names
                for each in variants(name)
            ]
        return described

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


def _nest(counts: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Six numbers where the answer of a co-occurrence has them."""
    six = counts.tolist()
    return {
        "subject": {"mentions": six[0], "documents": six[1]},
        "object": {"mentions": six[2], "documents": six[3]},
        "cooccurrence": {"documents": six[4], "pairs": six[5]},
    }


def _open_shards(folder: Path, manifest: Manifest) -> Iterator[Shard]:
    documents = 0
    for record in manifest.shards:
        shard = Shard(folder, f".{record.number}", documents, record, manifest.files)
        documents += shard.documents
        yield shard


def _alive(index: Callable[[], CountIndex | None]) -> CountIndex:
    found = index()
    assert found is not None  # its own method is running
    return found


def _name_of(folder: Path) -> str:
    return Path(os.path.abspath(folder)).name  # of a link, the link's own: "current" stays, whatever it leads to
