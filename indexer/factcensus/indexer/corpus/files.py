"""Finding the files of a corpus: named files, and the files in folders that have a known format.

In folders, links are followed and each real file is read once. Names that begin with ``_`` or ``.`` are left out, as
are files of other kinds, metadata that other tools store next to their data, and indexes. The caller receives a notice
of everything that is left out.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from factcensus.indexer.corpus.streams import COMPRESSIONS, HEAD_BYTES, compression_of, first_bytes
from factcensus.indexer.errors import InputError
from factcensus.indexer.paths import not_found
from factcensus.indexer.records import clean_text, paths
from factcensus.indexer.system.places import FileFacts, Place, redact

#: Endings of readable files, in upper or lower case; other files in a folder are left out.
ENDINGS = (*(kind + end for kind in (".jsonl", ".ndjson", ".json") for end in ("", *COMPRESSIONS)), ".parquet")
#: Files that the ``datasets`` library stores next to its data.
_HUGGING_FACE = {"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json"}
#: Maximum number of names listed in a notice.
_MOST_NAMED = 20
#: Number of concurrent requests for the first bytes of files.
_REQUESTS = 16

Notice = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One shard of a corpus.

    Attributes:
        url: The URL, possibly with credentials, or the absolute path of a local file.
        name: The path below the given folder, as shown in the document table.
        size_bytes: The size on disk, compressed.
        modified: A stamp that changes with the file, if the file system has one.
    """

    url: str
    name: str
    size_bytes: int
    modified: str

    @property
    def shown(self) -> str:
        """The URL without credentials, or the path; for plans, messages and logs."""
        return self.url if self.url.startswith("/") else redact(self.url)


def find_source_files(
    sources: str | Path | Sequence[str | Path], *, notice: Notice = lambda _message: None
) -> list[SourceFile]:
    """Find the files of all sources; folders are searched recursively, in order of paths.

    Args:
        sources: One or several files, folders, or URLs that fsspec opens. A string is a URL if it contains ``://`` and
            is not a local path.
        notice: Called with a message about everything left out in folders.

    Raises:
        InputError: A source does not exist, is not a regular file or folder, has an unknown format, contains no shard,
            or is given twice, possibly through a link, or as a folder and a file in it.
    """
    seen: dict[Hashable, str] = {}
    files: list[SourceFile] = []
    for source in paths(sources, "sources"):
        place = Place.of(source)
        for identity, file in _local_files(place.url, notice) if place.is_local else _remote_files(place, notice):
            if identity in seen:
                both = file.shown if seen[identity] == file.shown else f"{seen[identity]}, also given as {file.shown},"
                raise InputError(
                    f"the file {clean_text(both)} would be read twice; give it once, directly or through a folder"
                )
            seen[identity] = file.shown
            files.append(file)
    if not files:
        raise InputError("no sources given; name at least one file, folder or URL")
    return files


def kind_of(name: str) -> str | None:
    """Return the ending of a readable file in lower case; None for files of other kinds."""
    return next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)


@dataclass(slots=True)
class _LeftOut:
    """The files left out of a folder."""

    folder: str
    notice: Notice
    kinds: Counter[str] = field(default_factory=Counter)
    named: dict[str, list[str]] = field(default_factory=dict)

    def add(self, why: str, name: str) -> None:
        """Leave out a file for a reason; these files are listed by name."""
        self.named.setdefault(why, []).append(name)

    def add_other(self, name: str) -> None:
        """Leave out a file of another kind; these files are counted by ending."""
        self.kinds[os.path.splitext(name)[1].lower() or "no ending"] += 1

    def tell(self) -> None:
        """Report the files that were left out."""
        for why, names in self.named.items():
            shown = ", ".join(sorted(names)[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
            self.notice(clean_text(f"left out in {self.folder}: {shown} ({why})"))
        if self.kinds:
            shown = ", ".join(f"{count:,} {ending}" for ending, count in sorted(self.kinds.items()))
            number = sum(self.kinds.values())
            self.notice(
                clean_text(f"left out in {self.folder}: {number:,} file{'s' * (number > 1)} of other kinds ({shown})")
            )


# --- local files ------------------------------------------------------------------------------------------------------


def _local_files(path: str, notice: Notice) -> Iterator[tuple[Hashable, SourceFile]]:
    try:
        found = os.stat(path)
    except FileNotFoundError as error:
        raise InputError(clean_text(not_found("corpus", Path(path)))) from error
    except OSError as error:
        raise InputError(f"cannot open {clean_text(path)}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{clean_text(path)} is not a regular file; write its content to a file and give that")
        _check_named(path, path, lambda: _what_else(path))
        yield _identity(path, found), _local_file(path, os.path.basename(path), found)
        return
    left_out = _LeftOut(path, notice)
    shards = sorted(_walk(path, left_out), key=lambda shard: shard[0])
    files = [(_identity(os.path.join(path, name), found), name, found) for name, found in shards]
    kept = []
    for identity, name, found in files:
        if reason := _what_else(os.path.join(path, name)):
            left_out.add(reason, name)
        else:
            kept.append((identity, _local_file(os.path.join(path, name), name, found)))
    left_out.tell()
    if not kept:
        raise _no_shards(path)
    yield from kept


def _walk(root: str, left_out: _LeftOut) -> Iterator[tuple[str, os.stat_result]]:
    """Yield the shards of a folder with their relative paths, each real file once; links come last."""
    files: set[Hashable] = set()
    folders: set[str] = set()
    waiting, links = [""], list[str]()
    while waiting or links:
        if waiting:
            plain = _entries(root, waiting.pop(), folders, waiting, links, left_out)
        else:
            plain = _linked(root, links.pop(0), waiting, left_out)
        for inside, found in plain:
            if _is_shard(inside, found, left_out):
                identity = _identity(os.path.join(root, inside), found)
                if identity not in files:
                    files.add(identity)
                    yield inside, found


def _entries(
    root: str, name: str, folders: set[str], waiting: list[str], links: list[str], left_out: _LeftOut
) -> list[tuple[str, os.stat_result]]:
    """Return the plain files of a folder unless it is in ``folders``; add its folders and links to the lists."""
    real = os.path.realpath(os.path.join(root, name))
    if real in folders:
        return []
    folders.add(real)
    entries = sorted(os.scandir(os.path.join(root, name)), key=lambda entry: entry.name)
    if _is_index(real, [entry.name for entry in entries]):
        left_out.add("an index, not a corpus", name or ".")
        return []
    plain = []
    for entry in entries:
        inside = os.path.join(name, entry.name)
        if entry.name.startswith((".", "_")):
            left_out.add("the name begins with . or _", inside)
        elif entry.is_symlink():
            links.append(inside)
        elif entry.is_dir():
            waiting.append(inside)
        else:
            plain.append((inside, entry.stat()))
    return plain


def _linked(root: str, link: str, waiting: list[str], left_out: _LeftOut) -> list[tuple[str, os.stat_result]]:
    """Return the file of a link, or add its folder to ``waiting``."""
    try:
        found = os.stat(os.path.join(root, link))
    except (FileNotFoundError, OSError):  # also for a link to itself
        left_out.add("a broken link", link)
        return []
    if stat.S_ISDIR(found.st_mode):
        waiting.append(link)
        return []
    return [(link, found)]


def _is_shard(name: str, found: os.stat_result, left_out: _LeftOut) -> bool:
    if not stat.S_ISREG(found.st_mode):
        left_out.add("not a regular file", name)
    elif kind_of(name) is None:
        left_out.add_other(name)
    elif os.path.basename(name).lower() in _HUGGING_FACE:
        left_out.add("metadata of Hugging Face's datasets", name)
    else:
        return True
    return False


def _identity(path: str, found: os.stat_result) -> Hashable:
    """Return a key that is equal for two paths of the same file; not all file systems number their files."""
    return (found.st_dev, found.st_ino) if found.st_nlink > 1 else os.path.realpath(path)


def _local_file(path: str, name: str, found: os.stat_result) -> SourceFile:
    return SourceFile(os.path.abspath(path), clean_text(name), found.st_size, str(found.st_mtime))


# --- other file systems -----------------------------------------------------------------------------------------------


def _remote_files(source: Place, notice: Notice) -> Iterator[tuple[Hashable, SourceFile]]:
    # In this order, because asking whether a file is a folder costs a listing.
    facts = source.facts() if kind_of(source.name) is not None else None
    if facts is not None:
        _check_named(source.name, str(source), lambda: _what_else_remote(source, facts))
        yield _remote_identity(source), _remote_file(source, source.name, facts)
        return
    if not source.is_folder():
        if source.exists():
            _check_named(source.name, str(source), lambda: None)
        raise InputError(f"no such file or folder: {source}")
    left_out = _LeftOut(str(source), notice)
    shards = list(_remote_shards(source, left_out))
    with ThreadPoolExecutor(_REQUESTS) as requests:
        reasons = list(requests.map(lambda shard: _what_else_remote(source / shard[0], shard[1]), shards))
    kept = []
    for (name, each), reason in zip(shards, reasons, strict=True):
        if reason:
            left_out.add(reason, name)
        else:
            kept.append((_remote_identity(source / name), _remote_file(source / name, name, each)))
    left_out.tell()
    if not kept:
        raise _no_shards(str(source))
    yield from kept


def _remote_identity(place: Place) -> Hashable:
    """Return a key that is equal for two URLs of the same file; ``simplecache::`` may lead to a local file."""
    if place.protocol != "file":
        return place.url
    path = place.url.partition("://")[2]
    return _identity(path, os.stat(path))


def _remote_shards(root: Place, left_out: _LeftOut) -> Iterator[tuple[str, FileFacts]]:
    files = root.files()
    inside: dict[str, list[str]] = {}
    for path in files:
        folder, _, name = path.rpartition("/")
        inside.setdefault(folder, []).append(name)
    indexes = {folder for folder, names in inside.items() if _is_index(folder, names)}
    for folder in sorted(indexes):
        left_out.add("an index, not a corpus", folder or ".")
    hidden = set()
    for name, facts in files.items():
        parts = name.split("/")
        if any(f"{name}/".startswith(f"{folder}/" if folder else "") for folder in indexes):
            continue
        at = next((at for at, part in enumerate(parts) if part.startswith((".", "_"))), None)
        if at is not None:
            hidden.add("/".join(parts[: at + 1]))
        elif kind_of(name) is None:
            left_out.add_other(name)
        elif parts[-1].lower() in _HUGGING_FACE:
            left_out.add("metadata of Hugging Face's datasets", name)
        else:
            yield name, facts
    for name in hidden:
        left_out.add("the name begins with . or _", name)


def _remote_file(place: Place, name: str, facts: FileFacts) -> SourceFile:
    return SourceFile(place.url, clean_text(name), facts.size_bytes, facts.tag)


# --- what files hold --------------------------------------------------------------------------------------------------


def _check_named(name: str, source: str, what_else: Callable[[], str | None]) -> None:
    """Raise an error if a named file cannot be a shard."""
    if kind_of(name) is None:
        raise InputError(f"{clean_text(source)}: unknown kind of file; known endings: {', '.join(ENDINGS)}")
    if reason := what_else():
        raise InputError(
            f"{clean_text(source)} is {reason}; write one JSON object per line (jq -c '.[]' converts an array)"
        )


def _may_hold_anything(name: str) -> bool:
    """Return whether a file may hold JSON other than JSON Lines, judging by its ending."""
    return bool(re.fullmatch(r".json(\.\w+)?", str(kind_of(name))))


def _no_lines(name: str, head: bytes) -> str | None:
    """Return the kind of a .json file that is not JSON Lines, given its first (compressed) bytes; otherwise None."""
    begin = first_bytes(head, name).lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin.startswith(b"["):
        return "a JSON array, not JSON Lines"
    return "one JSON object spread over several lines, not JSON Lines" if re.match(rb"\{[ \t\r]*\n", begin) else None


def _what_else(path: str) -> str | None:
    """Return the actual kind of a local file if it does not match its ending; otherwise None."""
    if not _may_hold_anything(path):
        return None
    with open(path, "rb") as file:
        return _no_lines(path, file.read(_head_bytes(path)))


def _what_else_remote(place: Place, facts: FileFacts) -> str | None:
    if not _may_hold_anything(place.name):
        return None
    with place.open(at_random=True) as file:
        return _no_lines(place.name, file.read(min(facts.size_bytes, _head_bytes(place.name))))


def _head_bytes(name: str) -> int:
    return HEAD_BYTES[compression_of(name)]


def _is_index(folder: str, names: Sequence[str]) -> bool:
    """Return whether a folder is an index, or an unfinished one."""
    building = folder.endswith(".building") and "plan.json" in names
    shard = any(re.fullmatch(r"tokenized\.\d+", name) for name in names)
    return building or shard or {"tokenized", "table", "offset"} <= set(names)


def _no_shards(source: str) -> InputError:
    return InputError(f"no corpus files in {clean_text(source)}; known endings: {', '.join(ENDINGS)}")
