"""Deletion of documents of an index, which excludes them from all counts.

Their tokens, words and metadata stay in the files until ``factcensus index compact`` rewrites the files without them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from factcensus.indexer.answers.documents import title_of
from factcensus.indexer.changing.sought import SoughtText
from factcensus.indexer.counting.deadline import Deadline
from factcensus.indexer.counting.passages import parsed
from factcensus.indexer.counting.string_search import check_text, search_shards
from factcensus.indexer.errors import InputError
from factcensus.indexer.kernels.ngrams import EVERYTHING
from factcensus.indexer.paths import index_folder
from factcensus.indexer.records import texts
from factcensus.indexer.storage.chosen import Chosen, join_documents, without_documents
from factcensus.indexer.storage.documents import count_ids, select_documents
from factcensus.indexer.storage.maintain import commit, read_documents_of, read_manifest, remove_strays, write_states
from factcensus.indexer.storage.manifest import Manifest
from factcensus.indexer.storage.totals import count_totals
from factcensus.indexer.system.files import explain_full_disk
from factcensus.indexer.system.locks import lock_folder

if TYPE_CHECKING:
    from factcensus.indexer.index import CountIndex
    from factcensus.indexer.storage.shard import Shard

#: Maximum number of documents that a deletion lists with their titles.
MOST_NAMED = 20
#: Number of words shown instead of a missing title.
_TITLE_TOKENS = 12


@dataclass(frozen=True, slots=True)
class Named:
    """A deleted document with its id, and the title from its metadata or else its first words."""

    id: str | None
    title: str


@dataclass(frozen=True, slots=True)
class Deletion:
    """The actual or planned effect of a deletion.

    Attributes:
        before: The manifest before the deletion.
        manifest: The manifest after the deletion; the same if nothing was deleted.
        documents: Number of documents to delete.
        already_deleted: Number of selected documents that were already deleted.
        matched: Number of documents with each given id, including deleted ones.
        named: The first of the documents, at most :data:`MOST_NAMED`.
        verified: Whether the original texts were compared with a string, and not only its token sequences; None
            without a string to compare.
        exact: Whether no document with the text can have been missed; false for sub-word tokens, which depend on the
            characters before the text.
        dry_run: Whether nothing was changed.
    """

    before: Manifest
    manifest: Manifest
    documents: int
    already_deleted: int
    matched: Mapping[str, int]
    named: tuple[Named, ...]
    verified: bool | None
    exact: bool
    dry_run: bool


def delete_documents(  # noqa: PLR0913 - options, which are given by name
    index: str | Path,
    *,
    ids: Sequence[str] = (),
    text: str | None = None,
    verbatim: bool = False,
    normalise: str | None = None,
    region: str | None = None,
    where: str | None = None,
    dry_run: bool = False,
    record: str | Path | None = None,
    asked_by: str | None = None,
    probes: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Deletion:
    """Delete documents with given ids, documents that contain a text, and documents for which a condition holds.

    The new generation takes effect in one step. A running service follows automatically. A program that has the index
    open continues with the old generation (:attr:`CountIndex.changed`).

    Args:
        index: A factcensus index folder.
        ids: Values of the document column ``id``.
        text: A text, found as in :meth:`CountIndex.count`.
        verbatim: Only documents with the text exactly as it is written; see :func:`find_documents`.
        normalise: Only documents with the text, a number or address, in its usual spellings; likewise ``region``.
        region: The country of a phone number without a country code.
        where: A condition in DuckDB's SQL over the document table, such as ``source = 'c4'`` or
            ``metadata ->> '$.url' LIKE 'https://example.org/%'``.
        dry_run: Only return the effect, without deleting.
        record: A new file for the proof of the deletion (:mod:`record`).
        asked_by: Who asked for the deletion, for the record.
        probes: Texts to count before and after the deletion, for the record; one that equals ``text`` is found in the
            same way.
        progress: Called with (shards done, all shards).

    Raises:
        InputError: No documents are selected by the arguments; an id is unknown (then nothing is deleted); the
            condition or a text is invalid; the record exists; or another process is changing the index.
        VerificationError: The list of already deleted documents is damaged.
        DiskFullError: The disk has no space for the few files that a deletion writes.
    """
    from factcensus.indexer.changing import record as records
    from factcensus.indexer.index import CountIndex

    folder, record = index_folder(index), None if record is None else Path(record)
    ids, probes = texts(ids, "ids"), texts(probes, "probes")
    if not ids and text is None and where is None:
        raise InputError("nothing to delete: give ids of documents, a text, or a condition")
    wanted = None if text is None else SoughtText(text, verbatim, normalise, region)
    if wanted is None and (verbatim or normalise is not None or region is not None):
        raise InputError("verbatim, normalise and region can only be used with a text; give one")
    if record is None and (asked_by is not None or probes):
        raise InputError("--asked-by and --probe are stored in a record; give a file for it with --record")
    sought = [wanted if wanted is not None and probe == wanted.text else SoughtText(probe) for probe in probes]
    if record is not None:
        records.refuse_existing(record)
    read_manifest(folder)
    if dry_run:
        with CountIndex.open(folder) as opened:
            return _Choice(opened, _deleted_in(opened), ids, wanted, where).planned(dry_run=True)
    with lock_folder(folder), explain_full_disk(folder, "it deletes the remaining documents"):
        old = read_manifest(folder)
        deleted = read_documents_of(folder, old, "deleted")
        with CountIndex.open(folder) as opened:
            choice = _Choice(opened, deleted, ids, wanted, where)
            planned = choice.planned(dry_run=False)
            new = _write(folder, old, join_documents(deleted, choice.found), progress) if planned.documents else old
            if record is not None:
                with CountIndex.open_generation(folder, new) as after:
                    removed = records.record_of(opened, after, choice.found, choice.asked, asked_by, sought)
                records.write_record(record, removed)
        try:
            if planned.documents:
                commit(folder, old, new)
            else:
                remove_strays(folder, old)  # if this deletion was killed before it could do so
        except BaseException:
            if record is not None and read_manifest(folder).digest == old.digest:  # the deletion is not in effect
                record.unlink(missing_ok=True)
            raise
    return replace(planned, manifest=new)


def _write(folder: Path, old: Manifest, deleted: Chosen, progress: Callable[[int, int], None] | None) -> Manifest:
    """Write the files of the next generation, and return its manifest, which is not yet in effect."""
    tables = {shard.number: folder / f"documents.{shard.number}.parquet" for shard in old.shards}
    shards, files = write_states({folder: old.shards}, folder, deleted, old, progress, layout=old.layout)
    sources, text_bytes = count_totals(tables, deleted)
    return replace(
        old,
        shards=tuple(shards),
        files=dict(sorted(files.items())),
        sources=sources,
        text_bytes=text_bytes,
    ).after(old, "delete")


class _Choice:
    """The documents of an index that were selected.

    Attributes:
        found: All selected documents, including already deleted ones.
        asked: How they were selected, such as ``("ids", "where")``.
        verified: As in :class:`Deletion`, likewise ``exact``.
    """

    def __init__(
        self, index: CountIndex, deleted: Chosen, ids: Sequence[str], text: SoughtText | None, where: str | None
    ) -> None:
        self._index, self._deleted, self._ids = index, deleted, list(dict.fromkeys(ids))
        tables = index.document_tables
        self.found: Chosen = select_documents(tables, {}, ids=self._ids, where=where)
        self.verified: bool | None = None
        self.exact = True
        if text is not None:
            self.found = join_documents(self.found, self._with_text(text))
        self.asked = tuple(
            name
            for name, given in (("ids", bool(ids)), ("text", text is not None), ("where", where is not None))
            if given
        )

    def planned(self, *, dry_run: bool) -> Deletion:
        """Return the effect of deleting the documents."""
        manifest = self._index.manifest
        assert manifest is not None
        fresh = without_documents(self.found, self._deleted)
        count = sum(map(len, fresh.values()))
        return Deletion(
            before=manifest,
            manifest=manifest,
            documents=count,
            already_deleted=sum(map(len, self.found.values())) - count,
            matched=count_ids(self._index.document_tables, self._ids) if self._ids else {},
            named=tuple(_named(self._index, fresh)),
            verified=self.verified,
            exact=self.exact,
            dry_run=dry_run,
        )

    def _with_text(self, text: SoughtText) -> Chosen:
        """Return the documents that contain a text, deleted ones included."""
        index = self._index
        query = text.query(index)
        if query is not None:
            every = [(shard, EVERYTHING) for shard in index.shards]
            search = search_shards(index, query, every, Deadline(), verified=check_text(index, query))
            self.verified, self.exact = search.verified, search.complete
            return {hits.shard.number: hits.documents.astype(np.uint32) for hits in search.hits}
        # The sub-word tokens of a name depend on the characters before it, and only one form is searched for.
        self.exact = index.analyzer.has_vocabulary or index.analyzer.name == "bytes"
        ids = index.token_ids(text.text)
        if ids is None:
            return {}
        return {
            shard.number: np.unique(shard.mentions([ids], EVERYTHING, overlapping=True).documents).astype(np.uint32)
            for shard in index.shards
        }


def _deleted_in(index: CountIndex) -> Chosen:
    return {shard.number: np.asarray(shard.deleted) for shard in index.shards}


def _named(index: CountIndex, chosen: Chosen) -> list[Named]:
    named: list[Named] = []
    for shard in index.shards:
        documents = chosen.get(shard.number, np.zeros(0, np.uint32))[: MOST_NAMED - len(named)].tolist()
        if documents:
            for document, row in zip(documents, shard.rows(documents), strict=True):
                named.append(Named(row["id"], title_of(parsed(row["metadata"])) or _beginning(index, shard, document)))
    return named


def _beginning(index: CountIndex, shard: Shard, document: int) -> str:
    """Return the beginning of a document in one line, as it was written if the index keeps the text."""
    if shard.kept is not None:
        words = shard.kept.text(document).decode(errors="replace").split(maxsplit=_TITLE_TOKENS)
        return " ".join(words[:_TITLE_TOKENS]) + (" …" if len(words) > _TITLE_TOKENS else "")
    begin, end = shard.document_span(document)
    ids = shard.tokens(begin, min(end, begin + _TITLE_TOKENS)).tolist()
    return index.text(ids) + (" …" if end - begin > _TITLE_TOKENS else "")
