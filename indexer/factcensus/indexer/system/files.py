"""Local files and folders that appear whole or not at all.

Everything is written under a temporary name next to its final one (``NAME.partial``) and then renamed, so a reader
never sees half a file, and an interrupted command leaves the old file as it was.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from factcensus.indexer.errors import DiskFullError, InputError
from factcensus.indexer.system.locks import locked

#: Error numbers of a full disk: no space, no quota, and a limit on the size of files (``ulimit -f``).
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: Messages of libraries that report a full disk without an error number.
_FULL_MESSAGES = {"No space left on device": errno.ENOSPC, "Disk quota exceeded": errno.EDQUOT}
#: The ending of temporary names.
PARTIAL = ".partial"
#: Seconds after its last change before a temporary file may be taken for abandoned, in case locks have no effect.
ABANDONED_S = 60.0
#: The end of a temporary name that only one process uses.
_SEPARATE = re.compile(rf"\.[0-9a-f]{{32}}{re.escape(PARTIAL)}\Z")
#: Folders in which this process has removed abandoned files.
_cleaned: set[Path] = set()


@contextmanager
def replaced_file(path: Path, *, durable: bool = False, shared: bool = False) -> Iterator[Path]:
    """Yield the path of a new file that replaces ``path`` in one step; on an error it is removed.

    On a full disk, a partial file would take space that is needed.

    Args:
        path: The final path; its folder exists.
        durable: Wait until the file is on disk, so that a power cut leaves the old file or the new one.
        shared: Several processes may write this path at the same time, because no lock protects it. Each then uses a
            separate temporary name, and the last one to finish wins. Files that killed processes left in the folder
            are removed.
    """
    temporary = path.with_name(f"{path.name}{'.' + uuid4().hex if shared else ''}{PARTIAL}")
    with _explained(path):
        try:
            with _shown_in_use(temporary) if shared else nullcontext():
                yield temporary
            if durable:
                sync_files([temporary])
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        if durable:
            sync_files([path.parent])


@contextmanager
def _shown_in_use(temporary: Path) -> Iterator[None]:
    """Lock a temporary file with a separate name while it is written, and remove abandoned ones from its folder."""
    if temporary.parent not in _cleaned:
        _cleaned.add(temporary.parent)
        _remove_abandoned(temporary.parent)
    with ExitStack() as held:
        with suppress(OSError):  # some network file systems have no locks
            temporary.touch()  # with the usual permissions
            held.enter_context(locked(temporary, wait=True))
        yield


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files with separate names that no process writes any more."""
    with suppress(OSError):
        for path in folder.iterdir():
            if _SEPARATE.search(path.name):
                with suppress(OSError):  # it is in use, or already gone
                    if time.time() - path.stat().st_mtime > ABANDONED_S:
                        with locked(path, wait=False):
                            path.unlink()


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``path`` in one step; on an error it is removed.

    Raises:
        OSError: ``path`` is a folder with content, or a file; it is not changed.
    """
    temporary = path.with_name(path.name + PARTIAL)
    shutil.rmtree(temporary, ignore_errors=True)
    with _explained(path):
        temporary.mkdir(parents=True)
        try:
            yield temporary
            temporary.rename(path)  # POSIX replaces an empty folder
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def write_atomically(path: Path, content: bytes | str, *, durable: bool = False, shared: bool = False) -> None:
    """Replace a small file in one step, with text as UTF-8; for the options see :func:`replaced_file`."""
    with replaced_file(path, durable=durable, shared=shared) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """Replace a file by indented JSON in one step; values without a JSON type, such as paths, become text."""
    write_atomically(path, json.dumps(value, indent=2, default=str) + "\n")


def create_file(path: Path, content: str) -> None:
    """Write a new file that only its owner can read, and wait until it is on disk.

    Raises:
        FileExistsError: The file exists; it is not changed.
    """
    with _explained(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
            sync_files([path, path.parent])
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def place_file(source: Path, target: Path) -> None:
    """Hard-link (or copy) ``source`` to ``target``, replacing an existing file."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno in FULL:
            raise
        shutil.copyfile(source, target)


def sync_files(paths: Iterable[Path]) -> None:
    """Wait until files, or the entries of folders, are on disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def explain_full_disk(folder: Path, then: str) -> Iterator[None]:
    """Turn the error of a full disk into a clear message; ``then`` describes the effect of running the command again.

    Raises:
        DiskFullError: The disk is full.
    """
    try:
        yield
    except Exception as error:
        full = full_disk(error, f"the disk of {folder}", then)
        if full is None:
            raise
        raise full from error


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Report a full disk for a file or folder that appears whole or not at all."""
    try:
        yield
    except DiskFullError:  # of a file in the folder
        raise
    except Exception as error:
        full = full_disk(error, f"the disk of {path.parent}", f"{path} was not written or changed", path)
        if full is None:
            raise
        raise full from error


def full_disk(error: Exception, disk: str, then: str, path: Path | None = None) -> DiskFullError | None:
    """Return the error that explains a full disk; None for an error with another cause.

    Args:
        error: Any error, also one of a library that reports a full disk only in its message.
        disk: The disk, for the message.
        then: The state after the error, or the effect of running the command again.
        path: The file that does not fit, if it is known and not part of the error.
    """
    number = error.errno if isinstance(error, OSError) else None
    if not isinstance(error, OSError | InputError):  # an InputError quotes texts of the user
        number = next((number for message, number in _FULL_MESSAGES.items() if message in str(error)), None)
    if number not in FULL:
        return None
    file = path or getattr(error, "filename", None)
    reason = os.strerror(number) + (f" for {file}" if file else "")
    remedy = "raise the limit on the size of files (ulimit -f)" if number == errno.EFBIG else "free some space"
    full = DiskFullError(f"{disk} is full ({reason}); {remedy} and run the same command again: {then}")
    full.errno = number
    full.filename = None if file is None else str(file)
    return full
