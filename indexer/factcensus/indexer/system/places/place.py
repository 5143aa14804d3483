"""One place, a local path or a URL: its size and stamp, its bytes, the files below it, and atomic writes.

A read is retried while its failure may pass. A write makes the whole object or nothing. Messages name the place without
its credentials, and so does ``str(place)``; only ``place.url`` has them.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

from factcensus.indexer.errors import InputError
from factcensus.indexer.system.files import replaced_file, write_atomically
from factcensus.indexer.system.places.failures import NoFileError, PlaceError, with_retries
from factcensus.indexer.system.places.protocols import (
    NO_OPTIONS,
    Access,
    file_system_of,
    is_url,
    protocol_of,
    redact,
    without_query,
)

#: Bytes that a file is read ahead, when it is read from its beginning to its end.
READ_AHEAD = 8 << 20
#: Names that object stores and web servers use for the stamp that changes with a file.
_TAGS = ("ETag", "etag", "mtime", "blob_id", "LastModified", "Last-Modified", "updated", "last_commit", "created")
_WEB = ("http", "https")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The size of a file, and a stamp that changes with its content if the file system has one."""

    size_bytes: int
    tag: str


@dataclass(frozen=True, slots=True)
class Place:
    """A local path or a URL; picklable and hashable.

    Attributes:
        url: The path, or the URL with its credentials.
        protocol: Such as ``s3``; empty for a local path.
        access: How it is accessed.
    """

    url: str
    protocol: str = ""
    access: Access = NO_OPTIONS

    @classmethod
    def of(cls, given: str | os.PathLike[str] | Place, access: Access = NO_OPTIONS) -> Place:
        """Return the place for a text; a text with ``://`` is a URL unless a local file has this name.

        Raises:
            InputError: The protocol is unknown, or the text is empty.
        """
        if isinstance(given, Place):
            return given
        text = os.fspath(given)
        if not text:
            raise InputError("a path is empty; give a path or a URL")
        if os.path.lexists(text):
            return cls(text)
        if not is_url(text):
            if match := re.match(r"(s3|gs|gcs|https?|hf):/(?=[^/])", text):
                raise InputError(f"{text} is a path, made from a URL with {match[1]}://; give the URL as text")
            return cls(os.path.expanduser(text))
        protocol = protocol_of(text)
        if not protocol:
            path = re.sub(r"^(?:file|local)://", "", text, flags=re.IGNORECASE)
            return cls(path if os.path.lexists(path) else unquote(path))
        access.options(protocol)
        return cls(text, protocol, access)

    def __str__(self) -> str:
        return redact(self.url) if self.protocol else self.url

    def __repr__(self) -> str:
        return f"Place({str(self)!r})"

    @property
    def is_local(self) -> bool:
        """Whether this is a local path."""
        return not self.protocol

    @property
    def path(self) -> Path:
        """The local path.

        Raises:
            InputError: This is a URL.
        """
        if self.protocol:
            raise InputError(f"{self} is a URL; give a local path here")
        return Path(self.url)

    @property
    def name(self) -> str:
        """The last component, without a query."""
        url = without_query(self.url) if self.protocol in _WEB else self.url
        return url.rstrip("/").rpartition("/")[2]

    def __truediv__(self, name: str) -> Place:
        """Return the place with this name, or relative path, below this one; a query stays at the end."""
        if self.protocol in _WEB:
            base = without_query(self.url)
            return Place(f"{base.rstrip('/')}/{name}{self.url[len(base) :]}", self.protocol, self.access)
        return Place(f"{self.url.rstrip('/')}/{name}", self.protocol, self.access)

    @property
    def parent(self) -> Place:
        """The folder of this place."""
        if not self.protocol:
            return Place(os.path.dirname(os.path.abspath(self.url)))
        base = without_query(self.url) if self.protocol in _WEB else self.url
        return Place(base.rstrip("/").rpartition("/")[0], self.protocol, self.access)

    # --- facts --------------------------------------------------------------------------------------------------------

    def facts(self) -> FileFacts | None:
        """Return size and stamp of a file; None if there is no such file, or if it is a folder.

        Raises:
            PlaceError: The request failed.
        """
        if not self.protocol:
            try:
                found = os.stat(self.url)
            except (FileNotFoundError, NotADirectoryError):
                return None
            return None if os.path.isdir(self.url) else FileFacts(found.st_size, str(found.st_mtime))
        file_system, path = self._opened()
        try:
            info = with_retries(f"find {self}", lambda: file_system.info(path))
        except NoFileError:
            return None
        return None if info.get("type") == "directory" else _facts(info)

    def exists(self) -> bool:
        """Return whether this is a file, or a folder with a file in it."""
        return os.path.exists(self.url) if not self.protocol else self.facts() is not None or self.is_folder()

    def is_folder(self) -> bool:
        """Return whether this is a folder; in an object store, a prefix of a name; on the web, a page with links."""
        if not self.protocol:
            return os.path.isdir(self.url)
        file_system, path = self._opened()
        if self.protocol not in _WEB:
            return bool(with_retries(f"find {self}", lambda: file_system.isdir(path)))
        # Not isdir(), which would download a file to look for links in it.
        if without_query(self.url).endswith("/"):
            return True
        try:
            info = with_retries(f"find {self}", lambda: file_system.info(path))
        except NoFileError:
            return False
        return str(info.get("mimetype", "")).startswith("text/html")

    def files(self) -> dict[str, FileFacts]:
        """Return size and stamp of all files below this folder, by path relative to it, in order of paths.

        One or few requests list a whole folder of an object store. The listing of a web server has no sizes, so each
        file is asked for.
        """
        if not self.protocol:
            root = Path(self.url)
            found = {path.relative_to(root).as_posix(): path.stat() for path in root.rglob("*") if path.is_file()}
            return {name: FileFacts(each.st_size, str(each.st_mtime)) for name, each in sorted(found.items())}
        file_system, path = self._opened()
        infos = with_retries(f"list {self}", lambda: file_system.find(path, detail=True))
        begin = without_query(path).rstrip("/") + "/" if self.protocol in _WEB else path.rstrip("/") + "/"
        named = {each.removeprefix(begin): info for each, info in infos.items() if info.get("type") != "directory"}
        return {
            name: _facts(info) if info.get("size") is not None else (self / name).facts() or _facts(info)
            for name, info in sorted(named.items())
        }

    # --- reading ------------------------------------------------------------------------------------------------------

    def open(self, *, at_random: bool = False) -> BinaryIO:
        """Open a file for reading.

        Args:
            at_random: The file will be read in pieces, rather than from its beginning to its end.

        Raises:
            NoFileError: There is no such file.
            PlaceError: It cannot be opened.
        """
        if not self.protocol:
            try:
                return open(self.url, "rb")
            except FileNotFoundError:
                raise NoFileError(f"cannot read {self}: there is no such file") from None
        return io.BufferedReader(cast(Any, _RemoteFile(self, at_random)), 1 << 20)

    def read(self) -> bytes:
        """Return all bytes of a file.

        Raises:
            NoFileError: There is no such file.
            PlaceError: It cannot be read.
        """
        if not self.protocol:
            with self.open() as file:
                return file.read()
        file_system, path = self._opened()
        return bytes(with_retries(f"read {self}", lambda: file_system.cat_file(path)))

    def download(self, target: Path) -> None:
        """Write all bytes of a file to a local file, in one step."""
        with replaced_file(target) as partial, partial.open("wb") as file, self.open() as source:
            shutil.copyfileobj(source, file, READ_AHEAD)

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, content: bytes) -> None:
        """Write a file completely or not at all; an existing one is replaced.

        Raises:
            PlaceError: It cannot be written.
            OSError: The local disk refused it.
        """
        if not self.protocol:
            write_atomically(self._made(), content, durable=True, shared=True)
            return
        self._refuse_read_only()
        file_system, path_in = self._opened()
        with_retries(f"write {self}", lambda: file_system.pipe_file(path_in, content))

    def upload(self, source: Path) -> None:
        """Copy a local file here, completely or not at all.

        Raises:
            PlaceError: It cannot be written.
            OSError: The local disk refused it.
        """
        if not self.protocol:
            with replaced_file(self._made(), shared=True) as partial:
                shutil.copyfile(source, partial)
            return
        self._refuse_read_only()
        file_system, path_in = self._opened()
        with_retries(f"write {self}", lambda: file_system.put_file(str(source), path_in))

    def delete(self) -> None:
        """Remove a file; it need not exist."""
        if not self.protocol:
            Path(self.url).unlink(missing_ok=True)
            return
        file_system, path = self._opened()
        with suppress(NoFileError):
            with_retries(f"remove {self}", lambda: file_system.rm_file(path))

    def check_writable(self) -> None:
        """Check that a file can be written here, before the work for it begins.

        In an object store, an object is written next to it and removed; nothing else would find a missing right.

        Raises:
            InputError: Nothing can be written here.
        """
        if not self.protocol:
            above = next(each for each in (Path(self.url).absolute().parents) if each.exists())
            if not above.is_dir():
                raise InputError(f"{above} is a file, so {self} cannot be created; give another path")
            if not os.access(above, os.W_OK):
                raise InputError(f"cannot write {self}: no permission to write in {above}; give another path")
            return
        self._refuse_read_only()
        trial = self.parent / f".factcensus-{uuid.uuid4().hex}"
        try:
            trial.write(b"")
            trial.delete()
        except PlaceError as error:
            reason = str(error).partition(": ")[2]
            raise InputError(f"cannot write {self}: {reason}; give another URL, or check the credentials") from None

    def _made(self) -> Path:
        """Create the folder of a local file, and return the path of the file."""
        path = self.path
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _refuse_read_only(self) -> None:
        if self.protocol in _WEB:
            raise InputError(f"cannot write {self}: a web server only serves files; give a local path, s3:// or gs://")

    def _opened(self) -> tuple[Any, str]:
        return file_system_of(self.url, self.protocol, self.access)


def _facts(info: dict[str, Any]) -> FileFacts:
    tag = next((info[name] for name in _TAGS if info.get(name) is not None), "")
    return FileFacts(int(info.get("size") or 0), str(tag))


class _RemoteFile(io.RawIOBase):
    """A file of another file system, whose reads are retried where they stopped."""

    def __init__(self, place: Place, at_random: bool) -> None:
        self._place = place
        self._options: dict[str, Any] = {"cache_type": "none"} if at_random else {"block_size": READ_AHEAD}
        self._file = self._open()

    def _open(self) -> Any:
        file_system, path = self._place._opened()
        return with_retries(f"read {self._place}", lambda: file_system.open(path, "rb", **self._options))

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return whether the server returns parts of the file."""
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position and return the new position."""
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """Return the position."""
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer and return the number of bytes; 0 at the end."""
        data = with_retries(f"read {self._place}", lambda: self._read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        if self._file.closed:
            raise OSError("the connection was closed")
        try:
            return bytes(self._file.read(size))
        except ValueError as error:
            if "range requests" not in str(error) or self._file.tell():
                raise
            # The server sends whole files only, which is enough to read one from its beginning to its end.
            self._options = {"block_size": 0}
            self._file = self._open()
            return bytes(self._file.read(size))

    def close(self) -> None:
        """Close the file."""
        if not self.closed and hasattr(self, "_file"):
            self._file.close()
        super().close()
