"""``manifest.json``: what an index is, and the size and checksum of each of its files.

It holds no time, host or path, so the same corpus and settings give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from factcensus.indexer.errors import IndexFormatError, NoIndexError
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


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an index: the digest of the manifest before it, and the command that made it."""

    digest: str
    what: Literal["add", "delete", "replace", "compact"]


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

    def after(self, old: Manifest, what: Literal["add", "delete", "replace", "compact"]) -> Manifest:
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
            content: dict[str, Any] = json.loads(stored)
            if content["format"] != FORMAT:
                raise IndexFormatError(
                    f"{path} has format {content['format']}, this version reads {FORMAT}; rebuild the index with "
                    "'factcensus index build'"
                )
            manifest = cls(
                analyzer=content["analyzer"],
                analyzer_label=content["analyzer_label"],
                token_dtype=content["token_dtype"],
                vocabulary_size=content["vocabulary_size"],
                vocabulary_generation=content["vocabulary_generation"],
                shards=tuple(ShardRecord(**shard) for shard in content["shards"]),
                sources=content["sources"],
                text_bytes=content["text_bytes"],
                skipped_lines=content["skipped_lines"],
                generation=content["generation"],
                changes=tuple(Change(**change) for change in content["changes"]),
                files={name: FileRecord(**record) for name, record in content["files"].items()},
            )
            intact = manifest.render() == stored
        except IndexFormatError:
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise IndexFormatError(f"{path} cannot be read ({type(error).__name__}: {error})") from error
        if not intact:
            raise IndexFormatError(f"{path} is damaged: it does not hold what its digest says")
        return manifest
