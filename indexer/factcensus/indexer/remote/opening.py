"""Opening a remote index: its list of files, the content of the small ones, and the checks that need few reads.

An index that factcensus built takes three rounds: the listing, the manifest, and all small files together. One that
infini-gram built takes three as well: the listing, then some offsets and rows of the table, then some tokens. These
check the files and the tokenizer, and become the first landmarks. What was read is kept in the cache folder, so that
later commands open the index with one or two rounds.

Only the files of the given folders are opened, by names that this module knows: nothing in a manifest or in another
file can name a URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from factcensus.indexer.analyzers import FixedAnalyzer
from factcensus.indexer.errors import IndexFormatError, InputError, NoIndexError
from factcensus.indexer.infini_gram.published import JUDGED_DOCUMENTS, JUDGED_TOKENS, judge_tokenizer
from factcensus.indexer.remote.cache import Cache
from factcensus.indexer.remote.reader import Usage
from factcensus.indexer.remote.rounds import Span, Steps, together
from factcensus.indexer.remote.search import WINDOW_BYTES
from factcensus.indexer.remote.session import ObjectFile, PlaceSource, Session
from factcensus.indexer.remote.shard import RemoteShard, ShardFiles
from factcensus.indexer.remote.texts import RemoteKept, read_summary
from factcensus.indexer.storage.manifest import MANIFEST, PLAN, TOKENIZER, Manifest, kept_name
from factcensus.indexer.storage.sample import parse_sample
from factcensus.indexer.system.places import FileFacts, NoFileError, Place

#: Number of rows of all shards together that are probed when an index without samples is opened first.
FIRST_ROWS = 1024
#: The fewest and the most of these rows in one shard.
_ROWS_OF_SHARD = (15, 300)
#: The kinds of files that infini-gram writes and that are read.
_PUBLISHED = ("tokenized", "table", "offset", "metadata", "metaoff")
#: Number of shards that are tried on a web server, which need not have listings, and how many of them at a time.
_MOST_GUESSED, _GUESSED_AT_ONCE = 64, 4
_SHARD_FILE = re.compile(
    r"(?:(?P<folder>[^/]+)/)?(?P<kind>tokenized|table|offset|metadata|metaoff)(?P<suffix>(?:\.\d+)?)"
)
_OWN_FILE = re.compile(r"[a-z]+(\.\d+){0,2}(\.(utf8|starts|sorted|parquet|json))?")


@dataclass
class Folder:
    """One folder of an index.

    Attributes:
        place: Its location.
        files: Its files by relative path; only those of the manifest, without sizes and tags, if it cannot be listed.
        manifest: The bytes of its manifest, or None.
    """

    place: Place
    files: Mapping[str, FileFacts]
    manifest: bytes | None = None


@dataclass
class Folders:
    """The folders of a remote index, before their files are opened.

    Attributes:
        usage: The reads so far.
    """

    folders: list[Folder] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)

    def count(self, requests: int, size: int = 0) -> None:
        """Count one round of requests."""
        self.usage += Usage(1, requests, size)


def read_folders(places: Sequence[Place]) -> Folders:
    """List folders and read their manifests.

    Raises:
        NoIndexError: A folder has no index.
        PlaceError: A folder cannot be read.
    """
    found = Folders()
    for place in places:
        found.folders.append(_read_web_folder(place, found) if _is_web(place) else _read_folder(place, found))
    return found


def _is_web(place: Place) -> bool:
    return place.protocol in ("http", "https")


def _read_folder(place: Place, found: Folders) -> Folder:
    files = place.files()
    found.count(1)
    if PLAN in files:
        raise NoIndexError(f"{place} is unfinished; run the 'factcensus index' command that creates it again")
    folder = Folder(place, files)
    if MANIFEST in files:
        folder.manifest = (place / MANIFEST).read()
        found.count(1, len(folder.manifest))
    elif not any(_SHARD_FILE.fullmatch(name) for name in files):
        raise NoIndexError(f"{place} is not an index: it has neither {MANIFEST} nor tokenized.*")
    return folder


def _read_web_folder(place: Place, found: Folders) -> Folder:
    """Read a folder of a web server; a manifest names its files, because the server may not list them."""
    try:
        manifest = (place / MANIFEST).read()
    except NoFileError:
        manifest = None
    found.count(1, len(manifest or b""))
    if manifest is not None:
        return Folder(place, {}, manifest)
    files: dict[str, FileFacts] = {}
    with ThreadPoolExecutor(_GUESSED_AT_ONCE * len(_PUBLISHED)) as pool:
        for first in range(0, _MOST_GUESSED, _GUESSED_AT_ONCE):
            suffixes = [f".{number}" for number in range(first, first + _GUESSED_AT_ONCE)] + ([] if first else [""])
            names = [f"{kind}{suffix}" for suffix in suffixes for kind in _PUBLISHED]
            found.count(len(names))
            facts = zip(names, pool.map(lambda name: (place / name).facts(), names), strict=True)
            files |= {name: each for name, each in facts if each is not None}
            if f"tokenized.{first + _GUESSED_AT_ONCE - 1}" not in files:
                break
    if not files:
        raise NoIndexError(f"{place} is not an index: it has neither {MANIFEST} nor tokenized.0")
    return Folder(place, files)


# --- indexes that factcensus built ------------------------------------------------------------------------------------


@dataclass
class OpenedFiles:
    """An open remote index, before its analyzer is known.

    Attributes:
        session: Its reads.
        shards: Its shards.
        size_bytes: Number of bytes of all files.
        manifest: Its manifest, or None.
    """

    session: Session
    shards: list[RemoteShard]
    size_bytes: int
    manifest: Manifest | None = None


def open_own(folder: Folder, found: Folders) -> OpenedFiles:
    """Open an index that factcensus built; its small files are then in the cache folder.

    Raises:
        IndexFormatError: A file is missing, or is not the one in the manifest.
        InputError: Its layout cannot be read over a network.
    """
    assert folder.manifest is not None
    manifest = Manifest.parse(folder.manifest, folder.place / MANIFEST)
    refuse_compact(manifest, folder.place)
    source = PlaceSource()
    files: dict[str, ObjectFile] = {}
    for name, record in manifest.files.items():
        if not _OWN_FILE.fullmatch(name):
            raise IndexFormatError(f"{folder.place / MANIFEST} lists {name!r:.80}, which is not a file of an index")
        facts = folder.files.get(name)
        if folder.files and (facts is None or facts.size_bytes != record.bytes):
            state = "is missing" if facts is None else f"has {facts.size_bytes} bytes"
            raise IndexFormatError(
                f"{folder.place / name} {state}, but the manifest requires {record.bytes}; copy the index again or "
                "rebuild it"
            )
        files[name] = ObjectFile(folder.place / name, name, record.bytes, record.sha256)
        source.expect(folder.place / name, record.bytes, facts.tag if facts else "")
    session = Session(source, Cache(["manifest", manifest.digest]), found.usage)
    contents = session.ask(_read_small(session, files, manifest))
    size = len(folder.manifest) + sum(file.size for file in files.values())
    return OpenedFiles(session, list(_own_shards(session, folder.place, files, contents, manifest)), size, manifest)


def _small_files(manifest: Manifest) -> Iterator[str]:
    yield TOKENIZER
    if manifest.vocabulary_generation is not None:
        yield from (f"vocabulary.{manifest.vocabulary_generation}.{part}" for part in ("utf8", "starts", "sorted"))
    for record in manifest.shards:
        yield from (f"sample.{record.number}", *record.state_files[1:])


def _read_small(session: Session, files: Mapping[str, ObjectFile], manifest: Manifest) -> Steps[dict[str, bytes]]:
    """Return the content of the small files, and the summaries of the kept texts."""
    works = {name: session.cached(files[name]) for name in _small_files(manifest) if name in files}
    for record in manifest.shards:
        if (name := kept_name(record.number)) in files:
            works[name] = read_summary(session, files[name], record.documents)
    found = yield from together(list(works.values()))
    return dict(zip(works, found, strict=True))


def _own_shards(
    session: Session, place: Place, files: Mapping[str, ObjectFile], contents: Mapping[str, bytes], manifest: Manifest
) -> Iterator[RemoteShard]:
    documents = manifest.slice.first_document if manifest.slice else 0
    for record in manifest.shards:
        number = record.number
        shard_files = ShardFiles(
            str(place),
            f".{number}",
            files[f"tokenized.{number}"],
            files[f"table.{number}"],
            files[f"offset.{number}"],
            files[f"documents.{number}.parquet"],
            frequent=files.get(record.state_files[0]),
        )
        sample = contents.get(f"sample.{number}")
        _, deleted, repeated = (
            np.frombuffer(contents[name], "<u4") if name in contents else None for name in record.state_files
        )
        try:
            parsed = parse_sample(sample, record.tokens + record.documents, record.documents) if sample else None
        except ValueError as error:
            raise IndexFormatError(f"{place / f'sample.{number}'} is damaged: {error}; rebuild the index") from error
        shard = RemoteShard(session, shard_files, number, documents, parsed, deleted, repeated)
        if (shard.size, shard.documents) != (record.tokens + record.documents, record.documents):
            raise IndexFormatError(f"{place}: shard {number} differs from the manifest; copy the index again")
        if (name := kept_name(number)) in files:
            shard.kept = RemoteKept(session, files[name], shard.documents, contents[name])
        documents += shard.documents
        yield shard


def refuse_compact(manifest: Manifest, place: Place) -> None:
    """Refuse an index in the compact layout, which has no suffix array to search.

    Raises:
        InputError: The index has this layout.
    """
    if manifest.layout != "suffix-array":
        raise InputError(
            f"{place} has the layout {manifest.layout}, which cannot be read over a network; copy the index to this "
            "machine, or convert a copy with 'factcensus index convert --layout suffix-array' and upload the result"
        )


# --- indexes that infini-gram built -----------------------------------------------------------------------------------


def open_published(found: Folders) -> OpenedFiles:
    """Open one or several folders that infini-gram built and that form one corpus, shard by shard in its order.

    Raises:
        IndexFormatError: Files are missing or do not match.
    """
    source = PlaceSource()
    identity: list[str] = []
    listed: list[ShardFiles] = []
    for number, folder in enumerate(found.folders):
        for shard_folder, suffix in _shards_of(folder):
            listed.append(_published_files(folder, number, shard_folder, suffix, source, identity))
    session = Session(source, Cache(["published", *identity]), found.usage)
    shards: list[RemoteShard] = []
    documents = 0
    for number, files in enumerate(listed):
        shards.append(RemoteShard(session, files, number, documents))
        documents += shards[-1].documents
    if len(widths := {shard.token_bytes for shard in shards}) > 1:
        raise IndexFormatError(
            f"{', '.join(str(folder.place) for folder in found.folders)}: token ids of "
            f"{' and '.join(map(str, sorted(widths)))} bytes, so the tokenizers differ; open the folders as different "
            "indexes"
        )
    size = sum(facts.size_bytes for folder in found.folders for facts in folder.files.values())
    return OpenedFiles(session, shards, size)


def _shards_of(folder: Folder) -> list[tuple[str, str]]:
    """Return the folder (with a slash) and the suffix of each shard, in the order of infini-gram's engine."""
    matches = [
        match for name in folder.files if (match := _SHARD_FILE.fullmatch(name)) and match["kind"] == "tokenized"
    ]
    flat = sorted(match["suffix"] for match in matches if not match["folder"])
    if flat:
        return [("", suffix) for suffix in flat]
    return sorted((f"{match['folder']}/", match["suffix"]) for match in matches)


def _published_files(
    folder: Folder, number: int, shard_folder: str, suffix: str, source: PlaceSource, identity: list[str]
) -> ShardFiles:
    def file(kind: str) -> ObjectFile:
        name = f"{shard_folder}{kind}{suffix}"
        facts = folder.files.get(name)
        if facts is None:
            raise IndexFormatError(f"{folder.place / name} is missing; copy the index again or rebuild it")
        source.expect(folder.place / name, facts.size_bytes, facts.tag)
        identity.extend([str(folder.place / name), str(facts.size_bytes), facts.tag])
        return ObjectFile(folder.place / name, f"{number}/{name}", facts.size_bytes)

    files = ShardFiles(
        str(folder.place / shard_folder.rstrip("/")) if shard_folder else str(folder.place),
        suffix,
        file("tokenized"),
        file("table"),
        file("offset"),
        metadata=(file("metadata"), file("metaoff")) if f"{shard_folder}metadata{suffix}" in folder.files else None,
    )
    if files.metadata is not None and files.metadata[1].size != files.offset.size:
        raise IndexFormatError(
            f"{files.metadata[1]} must have one offset for each of {files.offset.size // 8} documents; copy the index "
            "again"
        )
    return files


_CHECKED = "checked"


def prepare(shards: Sequence[RemoteShard], analyzer: FixedAnalyzer | None, name: str) -> None:
    """Probe the first landmarks of shards without a sample; check the files and the tokenizer of published indexes.

    Args:
        shards: The shards.
        analyzer: The analyzer of an index that infini-gram built, to check; None for an index with a manifest.
        name: The name of the index, for messages.

    Raises:
        IndexFormatError: A document does not begin with a separator, or the number of documents is wrong.
        InputError: The documents were not tokenized with this tokenizer.
    """
    if not shards:
        return
    session = shards[0].session
    marker = analyzer.label.encode() if analyzer is not None else b""
    known = analyzer is None or session.cache.load(_CHECKED) == marker
    most = max(_ROWS_OF_SHARD[0], min(_ROWS_OF_SHARD[1], FIRST_ROWS // len(shards)))
    sampled = max(2, JUDGED_DOCUMENTS // len(shards))
    works = [_prepare_shard(shard, most, 0 if known else sampled) for shard in shards]
    beginnings = session.ask(together(works))
    for shard in shards:
        shard.save_grid()
    if analyzer is not None and not known:
        judge_tokenizer([ids for each in beginnings for ids in each if len(ids) >= 8], analyzer, name)
        session.cache.store(_CHECKED, marker)


def _prepare_shard(shard: RemoteShard, rows: int, documents: int) -> Steps[list[list[int]]]:
    """Probe evenly spaced rows, and read the beginnings of some documents in the same rounds."""
    works: list[Steps[list[list[int]]]] = []
    if not shard.table.sample.rows and not shard.table.grid.rows and shard.table.table.size > WINDOW_BYTES:
        works.append(_probe_rows(shard, rows))
    if documents and shard.documents:
        works += [_check_end(shard), _read_beginnings(shard, documents)]
    found = yield from together(works)
    return [each for part in found for each in part]


def _probe_rows(shard: RemoteShard, most: int) -> Steps[list[list[int]]]:
    table = shard.table
    step = 1
    while table.rows // step > most:
        step *= 2
    rows = range(step, table.rows, step)
    entries = yield [table.entry_span(row, row + 1) for row in rows]
    positions = [int(table.positions(entry)[0]) for entry in entries]
    keys = yield [table.token_span(position, table.grid.key_bytes) for position in positions]
    table.grid.add(zip(rows, keys, strict=True))
    if (row := table.grid.disorder()) is not None:
        raise IndexFormatError(f"{table.table} is damaged: row {row} is out of order; copy the index again")
    return []


def _check_end(shard: RemoteShard) -> Steps[list[list[int]]]:
    """Check that exactly the last rows, one per document, are separators, which sort last."""
    table = shard.table
    first = table.rows - shard.documents
    rows = [row for row in (first - 1, first, table.rows - 1) if 0 <= row < table.rows]
    entries = yield [table.entry_span(row, row + 1) for row in rows]
    tokens = yield [table.token_span(int(table.positions(entry)[0]), shard.token_bytes) for entry in entries]
    separator = b"\xff" * shard.token_bytes
    if [token == separator for token in tokens] != [row >= first for row in rows]:
        raise IndexFormatError(
            f"{shard.files.offset} has {shard.documents} documents, but {table.table} has another number; the index is "
            "damaged or only partly copied, so copy it again"
        )
    return []


def _read_beginnings(shard: RemoteShard, number: int) -> Steps[list[list[int]]]:
    """Read the first tokens of some documents, and check that each begins with a separator."""
    offsets, stream = shard.files.offset, shard.files.tokenized
    documents = range(0, shard.documents, max(1, shard.documents // number))
    data = yield [Span(offsets, 8 * each, min(8 * each + 16, offsets.size)) for each in documents]
    width = shard.token_bytes
    places = [np.frombuffer(each, "<u8").tolist() for each in data]
    for document, place in zip(documents, places, strict=True):
        if place[0] % width and place[0] < stream.size:
            raise IndexFormatError(
                f"{shard.files.folder}: tokenized{shard.files.suffix} has tokens of one byte, but "
                f"table{shard.files.suffix} has {width} bytes per token, so its counts are wrong; rebuild the index "
                "with infini-gram's --token_dtype u8"
            )
        if not place[0] < (place[1] if len(place) > 1 else stream.size) <= stream.size:
            raise _no_separator(shard, document)
    ends = [place[1] if len(place) > 1 else stream.size for place in places]
    texts = yield [
        Span(stream, place[0], min(place[0] + width * (1 + JUDGED_TOKENS), end))
        for place, end in zip(places, ends, strict=True)
    ]
    for document, text in zip(documents, texts, strict=True):
        if text[:width] != b"\xff" * width:
            raise _no_separator(shard, document)
    return [np.frombuffer(text, shard.token_dtype)[1:].tolist() for text in texts]


def _no_separator(shard: RemoteShard, document: int) -> IndexFormatError:
    return IndexFormatError(
        f"{shard.files.folder}: document {document} of offset{shard.files.suffix} does not begin with a separator in "
        f"tokenized{shard.files.suffix}; the index is damaged"
    )
