"""``manifest.json``: what an index is, and the size and checksum of each of its files.

It holds no time, host or path, so the same corpus and settings give the same bytes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, Literal, get_args

from factcensus.indexer.errors import IndexFormatError, NoIndexError, too_many_files
from factcensus.indexer.storage.layout import write_atomically

FORMAT = 3
MANIFEST = "manifest.json"
#: The tokenizer of an ``hf:`` index.
TOKENIZER = "tokenizer.json"
#: Changes that a manifest remembers. Answers from before them are taken for outdated, which is safe.
MOST_CHANGES = 100
#: What a build is made of; in a folder that is not finished.
PLAN = "plan.json"
#: The end of the name of a folder in which an index is built.
STAGING_ENDING = ".building"
#: Names that indexes of infini-gram's do not have.
_ONLY_OURS = re.compile(r"documents\.\d+\.parquet|first\.\d+|(frequent|deleted|repeated|vocabulary)\.\d+\..+")


def refuse_unfinished(folder: Path) -> None:
    """Raise if a folder without a manifest is one of ours all the same; its shards look like infini-gram's.

    Raises:
        NoIndexError: it is a build that was interrupted.
        IndexFormatError: the manifest is lost. Without it, deleted documents would count again.
    """
    if (folder / PLAN).exists():
        raise NoIndexError(f"{folder} is not finished: start the 'factcensus index' command again that makes it")
    if any(_ONLY_OURS.fullmatch(path.name) for path in folder.iterdir()):
        raise IndexFormatError(f"{folder / MANIFEST} is missing; copy the index anew or rebuild it")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """Size and SHA-256 of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One shard.

    Attributes:
        number: in the names of its files.
        documents: all of them, deleted ones included.
        tokens: of all documents, separators not counted.
        types: token ids that its ``first.N`` knows: 0 … types - 1.
        generation: in the names of the files that deleting or adding documents makes anew.
        deleted_documents: those that no count takes notice of.
        deleted_tokens: their tokens.
        repeated_documents: those whose text an earlier document of the index has.
    """

    number: int
    documents: int
    tokens: int
    types: int
    generation: int = 0
    deleted_documents: int = 0
    deleted_tokens: int = 0
    repeated_documents: int = 0

    @property
    def state_files(self) -> tuple[str, str, str]:
        """The names of ``frequent``, ``deleted`` and ``repeated``; of the last two there may be none."""
        frequent, deleted, repeated = (
            f"{what}.{self.number}.{self.generation}" for what in ("frequent", "deleted", "repeated")
        )
        return frequent, deleted, repeated


#: The commands that change an index.
What = Literal["add", "delete", "replace", "compact"]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an index: the digest of the manifest before it, and the command that made it."""

    digest: str
    what: What


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of ``manifest.json``.

    Attributes:
        analyzer: the name it is asked for by (``words``), and ``analyzer_label`` that name with its version.
        vocabulary_size: types of a words index, one more than the largest id of the others.
        vocabulary_generation: which ``vocabulary.G.*`` holds, or None where the analyzer brings its own.
        sources: documents and tokens of each source, deleted documents left out; likewise ``text_bytes``.
        generation: number of changes since the index was built.
        changes: the latest of them, at most :data:`MOST_CHANGES`, oldest first.
        contents: a digest of the ids and texts of each corpus file that went in, by which repeated additions are found.
        files: every file but this one.
    """

    analyzer: str
    analyzer_label: str
    token_dtype: str
    vocabulary_size: int
    vocabulary_generation: int | None
    shards: tuple[ShardRecord, ...]
    sources: dict[str, dict[str, int]]
    text_bytes: int
    skipped_lines: int
    generation: int = 0
    changes: tuple[Change, ...] = ()
    contents: tuple[str, ...] = ()
    files: dict[str, FileRecord] = field(default_factory=dict)

    @property
    def documents(self) -> int:
        """Documents of all shards that are not deleted."""
        return sum(shard.documents - shard.deleted_documents for shard in self.shards)

    @property
    def tokens(self) -> int:
        """Tokens of these documents, separators not counted."""
        return sum(shard.tokens - shard.deleted_tokens for shard in self.shards)

    @property
    def digest(self) -> str:
        """SHA-256 over all of this: equal for equal content, whoever built it and when."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def after(self, old: Manifest, what: What) -> Manifest:
        """Return this manifest as the next generation of an index, made from ``old`` by the change ``what``."""
        changes = (*old.changes, Change(old.digest, what))[-MOST_CHANGES:]
        return replace(self, generation=old.generation + 1, changes=changes)

    def descends_from(self, digest: str | None) -> bool:
        """Return whether the index had this digest at some time, as far as its manifest remembers."""
        return digest == self.digest or any(change.digest == digest for change in self.changes)

    def held_digests(self) -> Iterator[str]:
        """Yield the digests of this generation and of the earlier ones that held no document that is deleted now.

        Counts, cursors and results with other digests must not be shown any more.
        """
        yield self.digest
        for change in reversed(self.changes):
            if change.what in ("delete", "replace"):
                return
            yield change.digest

    def holds_all_of(self, digest: str | None) -> bool:
        """Return whether the index had this digest and has lost no document since."""
        return any(digest == held for held in self.held_digests())

    def check_files(self) -> None:
        """Check that the files are those of the shards, the vocabulary and the tokenizer, and none is missing.

        Raises:
            ValueError: A shard stands there twice, or a file is missing or too many; the message names it.
        """
        numbers = [shard.number for shard in self.shards]
        if len(set(numbers)) != len(numbers):
            raise ValueError(f"a shard number occurs twice in {numbers}")
        wanted = {f"{name}.{number}" for number in numbers for name in ("tokenized", "table", "offset", "first")}
        wanted |= {f"documents.{number}.parquet" for number in numbers}
        if self.vocabulary_generation is not None:
            wanted |= {f"vocabulary.{self.vocabulary_generation}.{part}" for part in ("utf8", "starts", "sorted")}
        allowed = {name for shard in self.shards for name in shard.state_files} | {TOKENIZER}
        if missing := wanted - self.files.keys():
            raise ValueError(f"it does not list the file {min(missing)}")
        if more := self.files.keys() - wanted - allowed:
            raise ValueError(f"it lists {min(more)!r:.80}, which is no file of this index")

    def render(self) -> bytes:
        """The bytes of ``manifest.json``."""
        content = {
            "format": FORMAT,
            "digest": self.digest,
            "documents": self.documents,
            "tokens": self.tokens,
            **asdict(self),
        }
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()

    def write(self, folder: Path) -> None:
        """Write ``manifest.json`` in one step, and wait until it is on the disk."""
        write_atomically(folder / MANIFEST, self.render(), durable=True)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of an index folder.

        Raises:
            IndexFormatError: it cannot be read, or is of another format version.
        """
        path = folder / MANIFEST
        try:
            stored = path.read_bytes()
            manifest = read_content(json.loads(stored))
            intact = manifest.render() == stored
        except FormatVersionError as error:
            raise IndexFormatError(
                f"{path} has format {error}, this version reads {FORMAT}; rebuild the index with "
                "'factcensus index build'"
            ) from error
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise too_many_files(path) from error
            raise IndexFormatError(f"{path} cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise IndexFormatError(f"{path} cannot be read ({type(error).__name__}: {error})") from error
        if not intact:
            raise IndexFormatError(f"{path} is damaged: it does not hold what its digest says")
        return manifest


class FormatVersionError(ValueError):
    """A manifest of another format version; the message is the version."""


def read_content(content: Any) -> Manifest:
    """Return the manifest that parsed JSON stands for, if every value has the type and form that it must have.

    A manifest names files and numbers that are opened, deleted and asked for, so nothing in it is taken on trust.

    Raises:
        FormatVersionError: It has another format version.
        ValueError, KeyError, TypeError: It is no manifest; the message names the value.
    """
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if content["format"] != FORMAT:
        raise FormatVersionError(str(content["format"])[:40])
    generation = content["vocabulary_generation"]
    manifest = Manifest(
        analyzer=_text(content, "analyzer"),
        analyzer_label=_text(content, "analyzer_label"),
        token_dtype=_one_of(content, "token_dtype", ("u8", "u16", "u32")),
        vocabulary_size=_number(content, "vocabulary_size"),
        vocabulary_generation=None if generation is None else _number(content, "vocabulary_generation"),
        shards=tuple(_numbers_of(ShardRecord, each) for each in _list(content, "shards")),
        sources={
            source: {name: _number(counts, name) for name in ("documents", "tokens")}
            for source, counts in _object(content, "sources").items()
        },
        text_bytes=_number(content, "text_bytes"),
        skipped_lines=_number(content, "skipped_lines"),
        generation=_number(content, "generation"),
        changes=tuple(
            Change(_matching(each, "digest", _HEX), _one_of(each, "what", get_args(What)))
            for each in _list(content, "changes")
        ),
        contents=tuple(_matching({"contents": each}, "contents", _HEX) for each in _list(content, "contents")),
        files={
            name: FileRecord(_number(record, "bytes"), _matching(record, "sha256", _HEX))
            for name, record in _object(content, "files").items()
        },
    )
    manifest.check_files()
    return manifest


_HEX = re.compile("[0-9a-f]{32}|[0-9a-f]{64}")


def _number(content: dict[str, Any], name: str) -> int:
    value = content[name]
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{name} is not a number of at least 0 but {value!r:.80}")
    return value


def _text(content: dict[str, Any], name: str) -> str:
    value = content[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a string but {value!r:.80}")
    return value


def _one_of(content: dict[str, Any], name: str, known: tuple[str, ...]) -> Any:
    value = content[name]
    if value not in known:
        raise ValueError(f"{name} is not one of {', '.join(known)} but {value!r:.80}")
    return value


def _matching(content: dict[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = _text(content, name)
    if not pattern.fullmatch(value):
        raise ValueError(f"{name} is not a digest but {value!r:.80}")
    return value


def _list(content: dict[str, Any], name: str) -> list[Any]:
    value = content[name]
    if not isinstance(value, list):
        raise ValueError(f"{name} is not a list but {value!r:.80}")
    return value


def _object(content: dict[str, Any], name: str) -> dict[str, Any]:
    value = content[name]
    if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
        raise ValueError(f"{name} is not an object of objects but {value!r:.80}")
    return value


def _numbers_of(kind: type[ShardRecord], content: Any) -> ShardRecord:
    names = [each.name for each in dataclass_fields(kind)]
    if not isinstance(content, dict) or set(content) != set(names):
        raise ValueError(f"a shard is not described by {', '.join(names)} but by {content!r:.80}")
    return kind(**{name: _number(content, name) for name in names})
