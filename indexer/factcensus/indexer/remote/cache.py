"""The cache folder, which keeps data of remote indexes for later commands.

It has a folder per content of an index, with small whole files, the offsets of documents, and landmarks. The name of
this folder is a digest of whatever identifies the content: the manifest, or the URLs (without credentials), sizes and
tags of all files. So a changed index never meets files of the old one, and any folder may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path

from factcensus.indexer.environment import CACHE
from factcensus.indexer.system.files import write_atomically


def cache_folder() -> Path:
    """Return the folder for all of the user's cached files."""
    if chosen := os.environ.get(CACHE):
        return Path(chosen).expanduser()
    home = Path.home()
    usual = home / "Library/Caches" if sys.platform == "darwin" else home / ".cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or usual) / "factcensus"


class Cache:
    """The cached files of one version of one index.

    Args:
        identity: The texts that identify the content.
    """

    def __init__(self, identity: Iterable[str]) -> None:
        digest = hashlib.sha256("\0".join(identity).encode()).hexdigest()[:32]
        self.folder = cache_folder() / "remote" / digest
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not os.access(self.folder, os.W_OK):
                raise PermissionError
        except OSError:  # kept for this process only
            self.folder = Path(tempfile.mkdtemp(prefix="factcensus-"))
            weakref.finalize(self, _remove, self.folder)

    def path(self, name: str) -> Path:
        """Return the path of a cached file, which need not exist."""
        return self.folder / name.replace("/", "%2F")

    def has(self, name: str, size: int) -> bool:
        """Return whether a file of this size is cached."""
        try:
            return self.path(name).stat().st_size == size
        except OSError:
            return False

    def load(self, name: str, size: int | None = None) -> bytes | None:
        """Return a cached file; None if it is missing or has another size."""
        try:
            content = self.path(name).read_bytes()
        except OSError:
            return None
        return content if size is None or len(content) == size else None

    def store(self, name: str, content: bytes) -> None:
        """Keep a file; several processes may do so at the same time.

        Raises:
            OSError: The disk is full.
        """
        write_atomically(self.path(name), content, shared=True)


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
