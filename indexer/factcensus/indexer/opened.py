"""An open index folder: its shards, its lexicon, and the documents to count."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache, cached

from factcensus.indexer.analyzers import Analyzer, FixedAnalyzer, nothing_left
from factcensus.indexer.arrays import Mask
from factcensus.indexer.counting.lexicon import FixedLexicon, Lexicon, WordLexicon
from factcensus.indexer.counting.reads import LocalReads
from factcensus.indexer.counting.scope import EVERY_DOCUMENT, Scope, masks_of
from factcensus.indexer.counting.steps import group_steps, steps_of
from factcensus.indexer.counting.years import dates_of, group_years
from factcensus.indexer.errors import EmptyQueryError, IndexerError, IndexFormatError, InputError
from factcensus.indexer.paths import index_folder, no_index
from factcensus.indexer.records import Entity, as_entity
from factcensus.indexer.storage.index_analyzer import fixed_analyzer, load_analyzer
from factcensus.indexer.storage.layout import FileState, HeldFile, file_state
from factcensus.indexer.storage.manifest import MANIFEST, Manifest, refuse_unfinished
from factcensus.indexer.storage.shard import Shard
from factcensus.indexer.storage.shards import open_shard, open_vocabulary
from factcensus.indexer.storage.suffix_shard import SuffixArrayShard
from factcensus.indexer.system.places import Place

if TYPE_CHECKING:
    import pyarrow as pa

    from factcensus.indexer.analyzers.words import WordsAnalyzer
    from factcensus.indexer.arrays import TokenIds
    from factcensus.indexer.counting.order import Order
    from factcensus.indexer.kernels.forms import TextForms

#: Maximum size of the cached masks of an index, and of its groups; a mask takes a byte per document, groups four.
MOST_CACHED_BYTES = 1 << 30
#: The folder of an index, or its URL.
IndexPath = str | Path | Place
#: Default maximum number of requests of one query to an index at a URL.
MOST_REQUESTS = 100_000
#: The token sequences of the surface forms of an entity.
EntityForms = tuple["TokenIds", ...]


class _OpenedAs(NamedTuple):
    """The arguments of :meth:`OpenedIndex.open`."""

    path: IndexPath | Sequence[IndexPath]
    name: str | None
    analyzer: str | None


class OpenedIndex(LocalReads):
    """An index folder opened read-only, without queries; :class:`factcensus.indexer.CountIndex` adds them."""

    def __init__(
        self,
        name: str,
        analyzer: Analyzer,
        shards: Sequence[Shard],
        *,
        manifest: Manifest | None,
        lexicon: Lexicon,
        folder: Path,
    ) -> None:
        self.name = name
        self.analyzer = analyzer
        self._shards: Sequence[Shard] | None = shards
        self.folder = folder
        self.manifest = manifest
        self._lexicon: Lexicon | None = lexicon
        self._opened_as = _OpenedAs(folder, name, None)
        #: The state, at the time of opening, of the files that reveal a change of the index.
        self._states: dict[Path, FileState | None] = {}
        self._order: Order | None = None
        self._known_steps: list[npt.NDArray[np.int64]] | None = None
        # The caches hold only a weak reference to the index. So an index without references unmaps its files at once,
        # without waiting for the garbage collector.
        me = weakref.ref(self)
        self._of_scope = _cache_of(lambda found: sum(counted.nbytes for _, counted in found))(
            lambda scope: _alive(me)._counted_shards(scope)
        )
        self._groups = _cache_of(lambda found: sum(codes.nbytes for codes in found[1]))(
            lambda by: _alive(me)._group_documents(by)
        )

    @classmethod
    def open(
        cls,
        path: IndexPath | Sequence[IndexPath],
        *,
        name: str | None = None,
        analyzer: str | None = None,
        most_requests: int | None = MOST_REQUESTS,
    ) -> Self:
        """Open an index that factcensus or infini-gram built.

        Args:
            path: The folder or its URL; for indexes built by infini-gram also several that form one corpus.
            name: The name of the index in responses; by default the name of the (first) folder.
            analyzer: Only needed if the folder does not name its analyzer (infini-gram indexes of tokenizer ids).
            most_requests: For an index at a URL, the maximum number of requests of one query; None for no limit.

        Raises:
            IndexFormatError: There is no index, or its files do not match. This checks the sizes of all
                files; ``factcensus index verify`` also checks their bytes.
        """
        given = [path] if isinstance(path, str | Path | Place) else path or [""]
        if "" in given:
            index_folder("")
        places = [Place.of(each) for each in given]
        if not all(place.is_local for place in places):
            from factcensus.indexer.remote.index import open_remote

            return cast(Self, open_remote(places, name=name, analyzer=analyzer, most_requests=most_requests))
        folders = [place.path for place in places]
        for folder in folders:
            if not folder.is_dir():
                raise no_index(folder)
        own = [folder for folder in folders if (folder / MANIFEST).exists()]
        if own and len(folders) > 1:
            raise InputError(
                f"{own[0]} was built by factcensus and cannot be combined with other folders; open it alone"
            )
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
                # Files may be gone because another process has just changed the index; if so, open the new index.
                if Manifest.read(folder).digest == manifest.digest:
                    raise
                continue
            if file_state(folder / MANIFEST) == state:  # otherwise some files may already be of the new index
                index._states = {folder / MANIFEST: state}
                return index

    @classmethod
    def open_generation(cls, folder: Path, manifest: Manifest) -> Self:
        """Open the index that a manifest describes in ``folder``, before it becomes the manifest of the folder."""
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
                    f"{folder / file} {found}, but the manifest requires {record.bytes}; copy the index again or "
                    "rebuild it"
                )
        chosen = load_analyzer(folder, manifest)
        generation = manifest.vocabulary_generation
        lexicon: Lexicon
        if generation is None:
            lexicon = FixedLexicon(cast(FixedAnalyzer, chosen))
        else:
            lexicon = WordLexicon(cast("WordsAnalyzer", chosen), open_vocabulary(folder, generation, manifest.layout))
        shards = list(_open_shards(folder, manifest))
        return cls(name or _name_of(folder), chosen, shards, manifest=manifest, lexicon=lexicon, folder=folder)

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
                    f"{folder} was built by infini-gram and does not name its tokenizer; give "
                    "--analyzer hf:PATH_OR_NAME"
                )
            analyzer = "bytes"
        fixed = fixed_analyzer(analyzer, width, folder)
        check_tokenizer(shards, fixed, name or _name_of(folder))
        index = cls(name or _name_of(folder), fixed, shards, manifest=None, lexicon=FixedLexicon(fixed), folder=folder)
        index._states = {file: file_state(file) for each in shards for file in [each.folder / each.table_name]}
        return index

    def close(self) -> None:
        """Release the mapped files; later queries raise an error."""
        self._shards = None
        self._lexicon = None
        self._of_scope.cache_clear()
        vars(self).pop("_every_document", None)

    @property
    def lexicon(self) -> Lexicon:
        """The mapping from text to token ids and back.

        Raises:
            IndexerError: The index is closed.
        """
        if self._lexicon is None:
            raise IndexerError(f"index {self.name} is closed")
        return self._lexicon

    @property
    def shards(self) -> Sequence[Shard]:
        """The open shards.

        Raises:
            IndexerError: The index is closed.
        """
        if self._shards is None:
            raise IndexerError(f"index {self.name} is closed")
        return self._shards

    @property
    def local_shards(self) -> Sequence[Shard]:
        """The open shards, for queries that read any part of them.

        Raises:
            InputError: The index is at a URL.
        """
        return self.shards

    @property
    def suffix_arrays(self) -> Sequence[SuffixArrayShard]:
        """The open shards, for queries that need a suffix array.

        Raises:
            InputError: The index has another layout.
        """
        shards = [shard for shard in self.shards if isinstance(shard, SuffixArrayShard)]
        if len(shards) < len(self.shards):
            raise InputError(
                f"index {self.name} has the layout compact, but this query needs the layout suffix-array; convert the "
                "index with 'factcensus index convert'"
            )
        return shards

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @cached_property
    def digest(self) -> str | None:
        """SHA-256 of the manifest; None for an index without a manifest."""
        return self.manifest.digest if self.manifest else None

    @property
    def generation(self) -> int | None:
        """Number of changes between building and opening the index; None for an index built by infini-gram."""
        return self.manifest.generation if self.manifest else None

    @cached_property
    def held_digests(self) -> frozenset[str | None]:
        """Digests of generations whose answers are still valid, as nothing was deleted since; see :class:`Manifest`."""
        return frozenset(self.manifest.held_digests() if self.manifest else [None])

    @property
    def changed(self) -> bool:
        """Whether the index in the folder was changed or removed; this checks the state of one file.

        Until it is closed, this object keeps answering from the generation it opened, including documents deleted
        since; :meth:`reopen` opens the current one.
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
        """Open the current generation under the same name; this object stays open unchanged.

        >>> if index.changed:
        ...     index = index.reopen()

        Raises:
            IndexFormatError: As in :meth:`open`.
        """
        path, name, analyzer = self._opened_as
        return self.open(path, name=name, analyzer=analyzer)

    @property
    def keeps_text(self) -> bool:
        """Whether the index has the original texts of its documents; the tokens of the analyzer ``bytes`` are texts."""
        return self.analyzer.name == "bytes" or (self.manifest is not None and self.manifest.keeps_text)

    def file_bytes(self) -> int:
        """Return the number of bytes of all files."""
        if self.manifest:  # not the files in the folder, which another process may be changing
            return len(self.manifest.render()) + sum(file.bytes for file in self.manifest.files.values())
        folders = {self.folder, *(shard.folder for shard in self.shards)}
        return sum(file.stat().st_size for folder in folders for file in folder.iterdir() if file.is_file())

    def token_ids(self, text: str) -> TokenIds | None:
        """Return the token ids of a text; None if one of its tokens does not occur in the corpus.

        Raises:
            EmptyQueryError: The text has no tokens.
        """
        return self.ids_of(text, self.analyzer.tokens(text))

    def ids_of(self, text: str, tokens: Sequence[str]) -> TokenIds | None:
        """Return the ids of a text with known tokens; see :meth:`token_ids`."""
        ids = self.lexicon.ids(text, tokens)
        if not ids:
            raise EmptyQueryError(nothing_left(text, self.analyzer))
        return None if -1 in ids else tuple(ids)

    def forms(self, entity: Entity | str) -> EntityForms:
        """Return the distinct token sequences of an entity's surface forms that can occur, in a canonical order.

        An alias without tokens matches nothing; responses show its empty token list. With a sub-word tokenizer, a name
        has several sequences: at the start of a line, after a space, and after a quotation mark. For the occurrences
        that they miss, see :meth:`HuggingFaceAnalyzer.variants`.

        Raises:
            EmptyQueryError: The name has no tokens.
        """
        entity = as_entity(entity)
        found: set[TokenIds] = set()
        for number, text in enumerate((entity.name, *entity.aliases)):
            forms = self.lexicon.name_ids(text)
            if not number and not forms:
                raise EmptyQueryError(nothing_left(text, self.analyzer))
            found.update(form for form in forms if -1 not in form)
        return tuple(sorted(found))

    def text_forms(self, texts: pa.Array) -> TextForms:
        """Return the possible token sequences of each of many names; see :meth:`forms`."""
        return self.lexicon.text_forms(texts)

    def counted_shards(self, scope: Scope = EVERY_DOCUMENT) -> Sequence[tuple[Shard, Mask]]:
        """Return each shard with bool (documents,): True for counted documents; of size 0 if all are counted."""
        return self._every_document if scope is EVERY_DOCUMENT else self._of_scope(scope)

    def counted(self, scope: Scope = EVERY_DOCUMENT) -> list[Mask]:
        """Return the masks of :meth:`counted_shards`."""
        return [counted for _, counted in self.counted_shards(scope)]

    @cached_property
    def _every_document(self) -> Sequence[tuple[Shard, Mask]]:
        every: Sequence[tuple[Shard, Mask]] = self._of_scope(EVERY_DOCUMENT)
        return every

    def _counted_shards(self, scope: Scope) -> Sequence[tuple[Shard, Mask]]:
        if not scope.duplicates and self.manifest is None:
            raise InputError(
                f"index {self.name} was built by infini-gram and does not record repeated documents, so they cannot be "
                "excluded; count without this restriction"
            )
        part = self.manifest.slice if self.manifest else None
        tables = {} if scope.where is None else self.document_tables
        masks = masks_of(self.shards, scope, tables, part.first_token if part else 0)
        return list(zip(self.shards, masks, strict=True))

    def groups(self, by: str | None) -> tuple[list[str], list[npt.NDArray[np.int32]]]:
        """Return the values of a column, and for each shard the index of each document's value; empty without a column.

        Raises:
            InputError: The index has no document table.
            UnknownNameError: No document has a value in this column.
        """
        if by is None:
            return [], [np.zeros(0, np.int32)] * len(self.shards)
        per_group = steps_of(by)
        if per_group is not None:
            return group_steps(self._steps, per_group)
        dates = dates_of(by)
        groups: tuple[list[str], list[npt.NDArray[np.int32]]] = self._groups(by if dates is None else dates)
        return groups if dates is None else group_years(*groups)

    def use_order(self, order: Order) -> None:
        """Take the training step of each document from an order, for ``by="step:N"``.

        Raises:
            InputError: The index has no document table.
        """
        self._order, self._known_steps = order, None

    @property
    def _steps(self) -> list[npt.NDArray[np.int64]]:
        """For each shard int64 (documents,): the first training step of each document."""
        if self._order is None:
            raise InputError("--by step:N needs the order of training; give its table with --order")
        if self._known_steps is None:
            tables = self.document_tables
            self._known_steps = [self._order.of_documents(tables[shard.number].readable) for shard in self.shards]
        return self._known_steps

    def _group_documents(self, by: str) -> tuple[list[str], list[npt.NDArray[np.int32]]]:
        from factcensus.indexer.storage.documents import group_documents

        deleted = {shard.number: np.asarray(shard.deleted) for shard in self.shards}
        names, codes = group_documents(self.document_tables, by, deleted)
        for shard in self.shards:
            shard.check_rows(len(codes[shard.number]))
        return names, [codes[shard.number] for shard in self.shards]

    @property
    def document_tables(self) -> dict[int, HeldFile]:
        """The file of each shard's document table, by number of the shard.

        Raises:
            InputError: The index has no document table.
        """
        if self.manifest is None:
            raise InputError(
                f"index {self.name} has no document table, so it cannot count by source or select documents"
            )
        return {shard.number: shard.rows_file for shard in self.shards if shard.rows_file is not None}

    def words(self, token_ids: Sequence[int]) -> list[str]:
        """Return the printable tokens of ids."""
        return self.lexicon.words(token_ids)

    def text(self, token_ids: Sequence[int]) -> str:
        """Return a token sequence as readable text: words joined by spaces, or the decoded text."""
        return self.lexicon.text(token_ids)


def _cache_of(bytes_of: Callable[[Any], int]) -> Any:
    """Return a decorator that caches the latest results of a function, up to :data:`MOST_CACHED_BYTES` in total."""
    return cached(LRUCache(MOST_CACHED_BYTES, lambda result: 1 + bytes_of(result)), lock=RLock())


def _open_shards(folder: Path, manifest: Manifest) -> Iterator[Shard]:
    documents = manifest.slice.first_document if manifest.slice else 0
    for record in manifest.shards:
        shard = open_shard(folder, record, manifest.layout, documents, manifest.files)
        documents += shard.documents
        yield shard


def _alive(index: Callable[[], OpenedIndex | None]) -> OpenedIndex:
    found = index()
    assert found is not None  # one of its methods is running
    return found


def _name_of(folder: Path) -> str:
    return Path(os.path.abspath(folder)).name  # for a link, the name of the link and not of its target
