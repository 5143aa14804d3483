"""Building an index at a URL: in a temporary folder of this machine, and then uploaded whole, with the manifest last.

A folder without a manifest is not an index, so a partial upload cannot be opened.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from factcensus.indexer.errors import InputError
from factcensus.indexer.storage.manifest import MANIFEST
from factcensus.indexer.system.places import Place, PlaceError

#: Number of files that are uploaded at the same time.
_UPLOADS = 8


def check_new(place: Place) -> None:
    """Check that an index can be written to a URL.

    Raises:
        InputError: There are files already, or nothing can be written there.
    """
    (place / MANIFEST).check_writable()
    if place.is_folder() and place.files():
        raise InputError(f"{place} exists and is not empty; choose another --out")


@contextmanager
def uploaded(place: Place, progress: Callable[[str, int, int, str], None]) -> Iterator[Path]:
    """Yield the path of a local index folder to build; afterwards it is uploaded and removed.

    Raises:
        InputError: See :func:`check_new`.
        PlaceError: The upload failed. The message names the local folder, which is kept.
    """
    check_new(place)
    folder = Path(tempfile.mkdtemp(prefix="factcensus-index-"))
    local = folder / place.name
    try:
        yield local
        upload_index(local, place, progress)
    except PlaceError as error:
        if not (local / MANIFEST).exists():
            shutil.rmtree(folder, ignore_errors=True)
            raise
        raise PlaceError(f"{error}; the finished index is in {local}, copy it to {place}") from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder)


def upload_index(local: Path, place: Place, progress: Callable[[str, int, int, str], None]) -> None:
    """Upload all files of an index folder, the manifest last.

    Raises:
        PlaceError: A file could not be written; the message names it.
    """
    files = sorted((file for file in local.rglob("*") if file.is_file()), key=lambda file: -file.stat().st_size)
    files = [file for file in files if file.relative_to(local).as_posix() != MANIFEST]
    total, done = sum(file.stat().st_size for file in files), 0
    with ThreadPoolExecutor(_UPLOADS) as pool:
        for size in pool.map(lambda file: _upload(file, place / file.relative_to(local).as_posix()), files):
            done += size
            progress("upload", done, total, "B")
    (place / MANIFEST).upload(local / MANIFEST)


def _upload(file: Path, place: Place) -> int:
    place.upload(file)
    return file.stat().st_size
