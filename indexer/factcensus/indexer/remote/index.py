"""Queries of an index at a URL, without copying it: object storage, a web server, or the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

import numpy as np

from factcensus.indexer.analyzers import Analyzer, FixedAnalyzer
from factcensus.indexer.arrays import Mask, Numbers, TokenIds
from factcensus.indexer.counting.lexicon import FixedLexicon, Lexicon, WordLexicon
from factcensus.indexer.counting.scope import EVERY_DOCUMENT, Scope, column_of
from factcensus.indexer.errors import IndexerError, InputError
from factcensus.indexer.index import CountIndex
from factcensus.indexer.kernels.ngrams import EVERYTHING
from factcensus.indexer.opened import MOST_REQUESTS
from factcensus.indexer.remote.cost import Estimate, estimate
from factcensus.indexer.remote.gathered import GatheredShard
from factcensus.indexer.remote.longest import longest_ends
from factcensus.indexer.remote.opening import OpenedFiles, open_own, open_published, prepare, read_folders
from factcensus.indexer.remote.reader import Reads
from factcensus.indexer.remote.rounds import Steps, together
from factcensus.indexer.remote.search import Loaded, search
from factcensus.indexer.remote.session import Session
from factcensus.indexer.remote.shard import RemoteShard
from factcensus.indexer.remote.texts import MOST_TEXT_BYTES, read_all, read_known
from factcensus.indexer.storage.index_analyzer import fixed_analyzer, load_analyzer
from factcensus.indexer.storage.layout import HeldFile
from factcensus.indexer.storage.manifest import MANIFEST
from factcensus.indexer.storage.shard import Shard
from factcensus.indexer.storage.vocabulary import Vocabulary
from factcensus.indexer.system.places import Place

if TYPE_CHECKING:
    from factcensus.indexer.analyzers.words import WordsAnalyzer
    from factcensus.indexer.counting.deadline import Deadline
    from factcensus.indexer.tables.facts import Facts

#: Seconds between two checks of a remote index for changes.
_LOOK_S = 60.0


class RemoteIndex(CountIndex):
    """An index at one or several URLs, opened by :meth:`CountIndex.open`; queries are thread-safe.

    Attributes:
        session: Its reads.
    """

    session: Session
    places: Sequence[Place]
    _size_bytes: int
    _looked_at: float
    _analyzer_given: str | None

    @classmethod
    def open_places(
        cls,
        places: Sequence[Place],
        *,
        name: str | None = None,
        analyzer: str | None = None,
        most_requests: int | None = MOST_REQUESTS,
    ) -> Self:
        """Open an index at URLs.

        Args:
            places: The folder; for indexes built by infini-gram also several folders that form one corpus.
            name: The name of the index in responses; by default the name of the (first) folder.
            analyzer: Only needed if the folder does not name its analyzer.
            most_requests: Maximum number of requests of one query; None for no limit.

        Raises:
            IndexFormatError: There is no index, or its files do not match.
            PlaceError: A file cannot be read.
        """
        found = read_folders(places)
        own = [folder for folder in found.folders if folder.manifest is not None]
        if own and len(places) > 1:
            raise InputError(
                f"{own[0].place} was built by factcensus and cannot be combined with other folders; open it alone"
            )
        name = name or places[0].name
        if own:
            index = cls._open_own_files(open_own(own[0], found), own[0].place, name, analyzer)
        else:
            index = cls._open_published_files(open_published(found), name, analyzer, places)
        index.places, index._analyzer_given = places, analyzer
        index._looked_at = monotonic()
        index.session.opened(most_requests)
        return index

    @classmethod
    def _open_own_files(cls, opened: OpenedFiles, place: Place, name: str, analyzer: str | None) -> Self:
        manifest, session = opened.manifest, opened.session
        assert manifest is not None
        if analyzer is not None and analyzer != manifest.analyzer:
            raise InputError(f"{place} was built with the analyzer {manifest.analyzer}, not {analyzer}")
        chosen = load_analyzer(session.cache.folder, manifest)
        lexicon: Lexicon
        if manifest.vocabulary_generation is None:
            lexicon = FixedLexicon(cast(FixedAnalyzer, chosen))
        else:
            vocabulary = Vocabulary(session.cache.folder, manifest.vocabulary_generation)
            lexicon = WordLexicon(cast("WordsAnalyzer", chosen), vocabulary)
        prepare(opened.shards, None, name)
        return cls._of(name, chosen, opened, lexicon, place)

    @classmethod
    def _open_published_files(
        cls, opened: OpenedFiles, name: str, analyzer: str | None, places: Sequence[Place]
    ) -> Self:
        width = opened.shards[0].token_bytes
        if analyzer is None:
            if width != 1:
                raise InputError(
                    f"{places[0]} was built by infini-gram and does not name its tokenizer; give "
                    "--analyzer hf:PATH_OR_NAME"
                )
            analyzer = "bytes"
        fixed = fixed_analyzer(analyzer, width, str(places[0]))
        prepare(opened.shards, fixed, name)
        return cls._of(name, fixed, opened, FixedLexicon(fixed), places[0])

    @classmethod
    def _of(cls, name: str, analyzer: Analyzer, opened: OpenedFiles, lexicon: Lexicon, place: Place) -> Self:
        # The folder only occurs in messages; nothing opens it.
        index = cls(name, analyzer, opened.shards, manifest=opened.manifest, lexicon=lexicon, folder=Path(str(place)))
        index.session, index._size_bytes = opened.session, opened.size_bytes
        return index

    @property
    def remote_shards(self) -> Sequence[RemoteShard]:
        """The open shards.

        Raises:
            IndexerError: The index is closed.
        """
        return cast(Sequence[RemoteShard], self.shards)

    @property
    def local_shards(self) -> NoReturn:
        """Refuse queries that read any part of a shard.

        Raises:
            InputError: Always.
        """
        self._refuse()

    @property
    def suffix_arrays(self) -> NoReturn:
        """Refuse queries that visit a suffix array directly.

        Raises:
            InputError: Always.
        """
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise InputError(f"index {self.name} is at a URL, but this query needs a local folder; copy the index")

    def asked_shards(
        self,
        ngrams: Callable[[], Iterable[Sequence[int]]],
        scope: Scope,
        *,
        reach: int = 0,
        stored: bool = False,
        deadline: Deadline | None = None,
    ) -> Sequence[tuple[Shard, Mask]]:
        """Read all occurrences of some n-grams in all shards at once; see :meth:`LocalReads.asked_shards`."""
        masks = self.counted(scope)
        distinct = list(dict.fromkeys(tuple(ngram) for ngram in ngrams()))
        stored = stored and column_of(scope) >= 0
        works = [shard.gather(distinct, reach, stored=stored) for shard in self.remote_shards]
        gathered = self.session.ask(together(works), deadline.check if deadline is not None else None)
        return list(zip(gathered, masks, strict=True))

    def estimate(self, facts: Facts) -> Estimate:
        """Estimate the reads for counting a table of facts; nothing is read."""
        from factcensus.indexer.tables.counts import forms_of_facts

        distinct = list(dict.fromkeys(forms_of_facts(self, facts).ngrams))
        return estimate(self.remote_shards, distinct)

    def read_texts(
        self, wanted: Sequence[tuple[Shard, Numbers]], *, every: bool = False, deadline: Deadline | None = None
    ) -> list[Iterator[bytes]]:
        """Return the texts of some documents, read together if they are few; see :meth:`LocalReads.read_texts`.

        Raises:
            RequestLimitError: The texts need more requests or bytes than allowed, now or while they are read.
        """
        reader = self.session.reader(MOST_TEXT_BYTES)

        def ask(work: Steps[Any]) -> Any:
            # A search of every text checks the deadline itself, and keeps what it found.
            before = None if deadline is None or every else deadline.check
            return self.session.ask(work, before, reader)

        sources = [(cast(RemoteShard | GatheredShard, shard).text_source, documents) for shard, documents in wanted]
        if every:
            return [read_all(source, documents, ask) for source, documents in sources]
        return read_known(sources, ask, reader)

    def longest_ends(self, ids: Sequence[int], deadline: Deadline | None = None) -> list[int]:
        """Return the end of the longest span from each token that occurs; see :meth:`LocalReads.longest_ends`."""
        stops, stop = [0] * len(ids), len(ids)
        for at in reversed(range(len(ids))):
            stop = at if ids[at] == -1 else stop
            stops[at] = stop
        works = []
        for shard in self.remote_shards:
            width = shard.token_bytes
            text = np.array(ids, np.int64).astype(shard.token_dtype).tobytes()
            places = range(0, width * len(ids), width)
            works.append(longest_ends(shard.table, text, places, [width * stop for stop in stops]))
        reader = self.session.reader(MOST_TEXT_BYTES)
        found = self.session.ask(together(works), None if deadline is None else deadline.check, reader)
        for shard in self.remote_shards:
            shard.save_grid()
        widths = [shard.token_bytes for shard in self.remote_shards]
        tokens = [[end // width for end in ends] for ends, width in zip(found, widths, strict=True)]
        return [max(ends) for ends in zip(range(len(ids)), *tokens, strict=True)]

    def occurrences_of(self, ngrams: Sequence[TokenIds], deadline: Deadline) -> list[int]:
        """Return the number of occurrences of each token sequence, in deleted documents too; no occurrence is read."""
        works = [search(shard.table, shard.queries(ngrams), Loaded()) for shard in self.remote_shards]
        found = self.session.ask(together(works), deadline.check)
        return [
            sum(high - low for low, high in ranges) for ranges in zip(*(each.tolist() for each in found), strict=True)
        ]

    def occurring(self, ngrams: Sequence[TokenIds], deadline: Deadline) -> list[bool]:
        """Return whether each token sequence occurs, searched for together; see :meth:`LocalReads.occurring`."""
        return [occurrences > 0 for occurrences in self.occurrences_of(ngrams, deadline)]

    def usage(self) -> Reads:
        """Return the reads that opened the index, and those after that."""
        return Reads(self.session.opening, self.session.asked)

    def _counted_shards(self, scope: Scope) -> Sequence[tuple[Shard, Mask]]:
        if scope == EVERY_DOCUMENT and not any(len(shard.deleted) for shard in self.shards):
            return [(shard, EVERYTHING) for shard in self.shards]  # a corpus may have billions of documents
        return super()._counted_shards(scope)

    @property
    def document_tables(self) -> dict[int, HeldFile]:
        """The file of each shard's document table, read completely into the cache folder when it is first needed."""
        if self.manifest is None:
            return super().document_tables
        held = {shard.number: shard.held_rows() for shard in self.remote_shards}
        return {number: file for number, file in held.items() if file is not None}

    @property
    def changed(self) -> bool:
        """Whether the index was changed since it was opened; checked at most once per minute."""
        if monotonic() < self._looked_at + _LOOK_S:
            return False
        self._looked_at = monotonic()
        if self.manifest is None:
            file = self.remote_shards[0].files.table
            facts = file.place.facts()
            return facts is None or facts.size_bytes != file.size
        try:
            stored = (self.places[0] / MANIFEST).read()
        except IndexerError:
            return True
        return stored != self.manifest.render()

    def reopen(self) -> Self:
        """Open the current content under the same name; this object stays open unchanged."""
        return type(self).open_places(
            self.places, name=self.name, analyzer=self._analyzer_given, most_requests=self.session.most_requests
        )

    def file_bytes(self) -> int:
        """Return the number of bytes of the files at the URL."""
        return self._size_bytes


def open_remote(
    places: Sequence[Place], *, name: str | None, analyzer: str | None, most_requests: int | None
) -> RemoteIndex:
    """Open an index at one or several URLs; see :meth:`CountIndex.open`.

    Raises:
        InputError: Some places are local and others are not.
    """
    for place in places:
        if place.is_local or place.protocol != places[0].protocol:
            raise InputError(f"{places[0]} and {place} cannot form one corpus; copy both to the same kind of storage")
    return RemoteIndex.open_places(places, name=name, analyzer=analyzer, most_requests=most_requests)
