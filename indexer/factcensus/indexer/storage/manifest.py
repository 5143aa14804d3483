"""``manifest.json``: the description of an index, with the size and checksum of each of its files.

It contains no time, host or absolute path, so the same corpus and settings give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, Literal, get_args

from factcensus.indexer.answers.indexes import IndexSlice
from factcensus.indexer.errors import IndexFormatError, InputError, NoIndexError
from factcensus.indexer.numbers import counted, size_text
from factcensus.indexer.storage.layout import explain_unreadable
from factcensus.indexer.system.files import write_atomically

FORMAT = 3
MANIFEST = "manifest.json"
#: The tokenizer of an ``hf:`` index.
TOKENIZER = "tokenizer.json"
#: Maximum number of changes listed in a manifest. Older answers are treated as outdated, which is safe.
MOST_CHANGES = 100
#: The plan of a build, in an unfinished folder.
PLAN = "plan.json"
#: The suffix of the folder in which an index is built.
STAGING_ENDING = ".building"
#: File names that do not occur in indexes built by infini-gram.
_ONLY_OURS = re.compile(
    r"documents\.\d+\.parquet|(first|sample|text|lists|kept)\.\d+|(frequent|deleted|repeated|vocabulary)\.\d+\..+"
)


def kept_name(shard: int) -> str:
    """Return the name of the file with the original texts of a shard."""
    return f"kept.{shard}"


def keeps_no_text(index: object) -> InputError:
    """Return the error for an index without the original texts; ``index`` names it."""
    return InputError(
        f"index {index} keeps no text; build it again with 'factcensus index build --keep-text', or leave out the "
        "options that need the text"
    )


def refuse_unfinished(folder: Path) -> None:
    """Refuse a factcensus folder without a manifest, whose shards look like those of infini-gram.

    Raises:
        NoIndexError: The folder is an interrupted build.
        IndexFormatError: The manifest is missing. Without it, deleted documents would be counted again.
    """
    if (folder / PLAN).exists():
        raise NoIndexError(f"{folder} is unfinished; run the 'factcensus index' command that creates it again")
    if any(_ONLY_OURS.fullmatch(path.name) for path in folder.iterdir()):
        raise IndexFormatError(f"{folder / MANIFEST} is missing; copy the index again or rebuild it")


@dataclass(frozen=True, slots=True)
class FileRecord:
    """The size and SHA-256 of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One shard.

    Attributes:
        number: The shard number in the names of its files.
        documents: Number of documents, including deleted ones.
        tokens: Number of tokens of all documents, without separators.
        types: Number of token ids covered by ``first.N``: 0 … types - 1.
        generation: The number in the names of files that are rewritten when documents are deleted or added.
        deleted_documents: Number of documents excluded from all counts.
        deleted_tokens: Number of tokens of deleted documents.
        repeated_documents: Number of documents with the text of an earlier document of the index.
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
        """The names of ``frequent``, ``deleted`` and ``repeated``; the last two files may not exist."""
        frequent, deleted, repeated = (
            f"{what}.{self.number}.{self.generation}" for what in ("frequent", "deleted", "repeated")
        )
        return frequent, deleted, repeated


#: The layouts of an index: the files of its shards and of its vocabulary.
Layout = Literal["suffix-array", "compact"]
#: The files of a shard N (besides its document table), and of a vocabulary, in each layout.
SHARD_FILES: dict[Layout, tuple[str, ...]] = {
    "suffix-array": ("tokenized", "table", "offset", "first"),
    "compact": ("text", "lists"),
}
VOCABULARY_FILES: dict[Layout, tuple[str, ...]] = {"suffix-array": ("utf8", "starts", "sorted"), "compact": ("front",)}

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
        analyzer: The name by which users choose it (``words``); ``analyzer_label`` also has the version.
        vocabulary_size: Number of types of a words index; otherwise one more than the largest id.
        vocabulary_generation: The current generation of ``vocabulary.G.*``; None for an analyzer with fixed ids.
        sources: Documents and tokens of each source, without deleted documents; likewise ``text_bytes``.
        generation: Number of changes since the index was built.
        changes: The latest changes, at most :data:`MOST_CHANGES`, oldest first.
        contents: A digest of the ids and texts of each corpus file in the index, which reveals repeated additions.
        files: All files except the manifest.
        slice: The part of a whole index that this index has; None for a whole index.
        layout: The files of the shards and the vocabulary. ``manifest.json`` names it only if it is not
            ``suffix-array``.
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
    slice: IndexSlice | None = None
    layout: Layout = "suffix-array"

    @property
    def documents(self) -> int:
        """Number of documents of all shards, without deleted ones."""
        return sum(shard.documents - shard.deleted_documents for shard in self.shards)

    @property
    def tokens(self) -> int:
        """Number of tokens of these documents, without separators."""
        return sum(shard.tokens - shard.deleted_tokens for shard in self.shards)

    @property
    def keeps_text(self) -> bool:
        """Whether the index has the original texts of its documents in separate files."""
        return any(kept_name(shard.number) in self.files for shard in self.shards)

    def check_keeps_text(self, index: object) -> None:
        """Check that the index has the original texts; the tokens of the analyzer ``bytes`` are the texts.

        Raises:
            InputError: It does not; ``index`` names it in the message.
        """
        if not self.keeps_text and self.analyzer != "bytes":
            raise keeps_no_text(index)

    def without_text(self) -> Manifest:
        """Return the manifest without the files of the original texts."""
        kept = {kept_name(shard.number) for shard in self.shards}
        return replace(self, files={name: record for name, record in self.files.items() if name not in kept})

    @property
    def digest(self) -> str:
        """SHA-256 of the whole content; equal for equal content, independent of time and machine."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    def _content(self) -> dict[str, Any]:
        content = asdict(self)
        if self.slice is None:
            del content["slice"]
        if self.layout == "suffix-array":
            del content["layout"]
        return content

    def after(self, old: Manifest, what: What) -> Manifest:
        """Return this manifest as the generation after ``old``, created by the change ``what``."""
        changes = (*old.changes, Change(old.digest, what))[-MOST_CHANGES:]
        return replace(self, generation=old.generation + 1, changes=changes)

    def descends_from(self, digest: str | None) -> bool:
        """Return whether the index had this digest before, as far as the listed changes show."""
        return self.changes_since(digest) is not None

    def changes_since(self, digest: str | None) -> tuple[Change, ...] | None:
        """Return the changes since the index had this digest; None if the listed changes do not show that it had."""
        if digest == self.digest:
            return ()
        found = [number for number, change in enumerate(self.changes) if change.digest == digest]
        return self.changes[found[-1] :] if found else None

    def held_digests(self) -> Iterator[str]:
        """Yield the digests of this generation and of earlier ones after which no document was deleted.

        Counts, cursors and results with other digests must no longer be shown.
        """
        yield self.digest
        for change in reversed(self.changes):
            if change.what in ("delete", "replace"):
                return
            yield change.digest

    def holds_all_of(self, digest: str | None) -> bool:
        """Return whether the index had this digest and no document was deleted since."""
        return any(digest == held for held in self.held_digests())

    def check_files(self) -> None:
        """Check that the files are exactly those of the shards, the vocabulary and the tokenizer.

        Raises:
            ValueError: A shard is listed twice, or a file is missing or superfluous; the message names it.
        """
        numbers = [shard.number for shard in self.shards]
        if len(set(numbers)) != len(numbers):
            raise ValueError(f"a shard number occurs twice in {numbers}")
        wanted = {f"{name}.{number}" for number in numbers for name in SHARD_FILES[self.layout]}
        wanted |= {f"documents.{number}.parquet" for number in numbers}
        if self.vocabulary_generation is not None:
            wanted |= {f"vocabulary.{self.vocabulary_generation}.{part}" for part in VOCABULARY_FILES[self.layout]}
        allowed = {name for shard in self.shards for name in shard.state_files} | {TOKENIZER}
        if self.layout == "suffix-array":
            allowed |= {f"sample.{number}" for number in numbers}
        if self.keeps_text:
            wanted |= {kept_name(number) for number in numbers}  # of all shards or of none
        if missing := wanted - self.files.keys():
            raise ValueError(f"it does not list the file {min(missing)}")
        if more := self.files.keys() - wanted - allowed:
            raise ValueError(f"it lists {min(more)!r:.80}, which is not a file of this index")

    def summary(self) -> str:
        """Return the size of the index in words, such as ``6,721 documents, 14,743,820 tokens, 1 shard, 122.3 MB``."""
        skipped = f", {self.skipped_lines:,} bad lines skipped" if self.skipped_lines else ""
        size = size_text(sum(file.bytes for file in self.files.values()))
        shards = counted(len(self.shards), "shard")
        return f"{counted(self.documents, 'document')}, {counted(self.tokens, 'token')}, {shards}, {size}{skipped}"

    def render(self) -> bytes:
        """Return the bytes of ``manifest.json``."""
        content = {
            "format": FORMAT,
            "digest": self.digest,
            "documents": self.documents,
            "tokens": self.tokens,
            **self._content(),
        }
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()

    def write(self, folder: Path) -> None:
        """Write ``manifest.json`` in one step, and wait until it is on disk."""
        write_atomically(folder / MANIFEST, self.render(), durable=True)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of an index folder.

        Raises:
            IndexFormatError: The manifest cannot be read, or has another format version.
        """
        path = folder / MANIFEST
        with explain_unreadable(path, "read"):
            stored = path.read_bytes()
        return cls.parse(stored, path)

    @classmethod
    def parse(cls, stored: bytes, path: object) -> Manifest:
        """Return the manifest for the bytes of ``manifest.json``; ``path`` is its name in messages.

        Raises:
            IndexFormatError: The manifest is damaged, or has another format version.
        """
        try:
            manifest = read_content(json.loads(stored))
            intact = manifest.render() == stored
        except FormatVersionError as error:
            raise IndexFormatError(
                f"{path} has format {error}, but this version reads {FORMAT}; rebuild the index with "
                "'factcensus index build'"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise IndexFormatError(
                f"{path} is invalid ({type(error).__name__}: {error}); copy the index again or rebuild it"
            ) from error
        if not intact:
            raise IndexFormatError(
                f"{path} is damaged: its content does not match its digest; copy the index again or rebuild it"
            )
        return manifest


class FormatVersionError(ValueError):
    """The manifest has another format version; the message is the version."""


def read_content(content: Any) -> Manifest:
    """Return the manifest for parsed JSON, after checking the type and form of every value.

    A manifest names files that are opened and deleted, so nothing in it is trusted.

    Raises:
        FormatVersionError: The manifest has another format version.
        ValueError, KeyError, TypeError: A value is invalid; the message names it.
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
        slice=_slice(content["slice"]) if "slice" in content else None,
        layout=_one_of(content, "layout", get_args(Layout)) if "layout" in content else "suffix-array",
    )
    manifest.check_files()
    return manifest


def _slice(content: Any) -> IndexSlice:
    names = [each.name for each in dataclass_fields(IndexSlice)]
    if not isinstance(content, dict) or set(content) != set(names):
        raise ValueError(f"a slice must have {', '.join(names)}, got {content!r:.80}")
    whole = _matching(content, "whole", _HEX)
    return IndexSlice(whole, *(_number(content, name) for name in names[1:]))


_HEX = re.compile("[0-9a-f]{32}|[0-9a-f]{64}")


def _number(content: dict[str, Any], name: str) -> int:
    value = content[name]
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError(f"{name} must be an integer of at least 0, got {value!r:.80}")
    return value


def _text(content: dict[str, Any], name: str) -> str:
    value = content[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string, got {value!r:.80}")
    return value


def _one_of(content: dict[str, Any], name: str, known: tuple[str, ...]) -> Any:
    value = content[name]
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r:.80}")
    return value


def _matching(content: dict[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = _text(content, name)
    if not pattern.fullmatch(value):
        raise ValueError(f"{name} must be a digest, got {value!r:.80}")
    return value


def _list(content: dict[str, Any], name: str) -> list[Any]:
    value = content[name]
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list, got {value!r:.80}")
    return value


def _object(content: dict[str, Any], name: str) -> dict[str, Any]:
    value = content[name]
    if not isinstance(value, dict) or not all(isinstance(each, dict) for each in value.values()):
        raise ValueError(f"{name} must be an object of objects, got {value!r:.80}")
    return value


def _numbers_of(kind: type[ShardRecord], content: Any) -> ShardRecord:
    names = [each.name for each in dataclass_fields(kind)]
    if not isinstance(content, dict) or set(content) != set(names):
        raise ValueError(f"a shard must have {', '.join(names)}, got {content!r:.80}")
    return kind(**{name: _number(content, name) for name in names})
