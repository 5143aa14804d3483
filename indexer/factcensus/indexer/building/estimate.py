"""Estimates of the disk space, memory and time of a build, and the check that it fits on the disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from factcensus.indexer.analyzers import NUMPY_DTYPE, Analyzer, get_analyzer
from factcensus.indexer.building.staging import staging_folder
from factcensus.indexer.building.upload import check_new
from factcensus.indexer.corpus import SourceFile, find_source_files
from factcensus.indexer.corpus.streams import compression_of
from factcensus.indexer.errors import InputError
from factcensus.indexer.numbers import size_text
from factcensus.indexer.storage.manifest import Layout
from factcensus.indexer.system.places import Place

# All rates were measured in November 2026 on the corpora of the tests (Wikipedia, the Pile's sources, the Factbook;
# 20 to 60 MB of text per file), with one process on one core; see docs/scale.md.

#: Bytes of text per byte of a file, by its ending: the lowest and a typical value.
TEXT_PER_BYTE = {
    "": (0.5, 0.9),
    ".gz": (2.0, 2.7),
    ".zst": (2.0, 3.6),
    ".xz": (2.5, 4.0),
    ".bz2": (2.5, 3.8),
    ".parquet": (1.5, 3.3),
}
#: Tokens per byte of text: 0.162 to 0.172 for words of English; 0.23 for subwords.
TOKENS_PER_BYTE = {"words": 0.167, "words-cased": 0.167, "bytes": 1.0}
SUBWORDS_PER_BYTE = 0.23
#: Bytes of an index per token, besides the token itself: its entry in the table, documents, and smaller files.
INDEX_BYTES_PER_TOKEN = 4.5
#: Bytes of an index in the layout compact per token: 2.6 to 2.9 for words of English.
COMPACT_BYTES_PER_TOKEN = 2.8
#: Bytes of the original texts in an index per byte of text: 0.34 to 0.43.
KEPT_PER_TEXT_BYTE = 0.4
#: Bytes of the spool per token, besides the token: documents and words.
SPOOL_BYTES_PER_TOKEN = 0.5
#: Seconds of a core per token for the whole build (0.23 to 0.52 µs).
SECONDS_PER_TOKEN = 0.34e-6

#: Returns the free bytes of the disk of a folder.
FreeBytes = Callable[[Path], int]


@dataclass(frozen=True, slots=True)
class BuildEstimate:
    """The estimated cost of a build.

    Attributes:
        source_bytes: Size of the source files.
        text_bytes: Size of their texts.
        tokens: Number of their tokens.
        index_bytes: Size of the index.
        disk_bytes: Disk space needed during the build: the index and temporary files.
        least_disk_bytes: The same for texts that compress least; a build with less cannot succeed.
        memory_bytes: The limit of ``--memory``.
        hours: Time on the given number of cores.
    """

    source_bytes: int
    text_bytes: int
    tokens: int
    index_bytes: int
    disk_bytes: int
    least_disk_bytes: int
    memory_bytes: int
    hours: float


def estimate_build(
    files: Sequence[SourceFile],
    analyzer: Analyzer,
    *,
    memory_bytes: int,
    jobs: int,
    layout: Layout = "suffix-array",
    keep_text: bool = False,
) -> BuildEstimate:
    """Return the estimated cost of building an index from some files."""
    rates = [TEXT_PER_BYTE[".parquet" if _is_parquet(file) else compression_of(file.name)] for file in files]
    least_text, text = (
        sum(file.size_bytes * rate[which] for file, rate in zip(files, rates, strict=True)) for which in (0, 1)
    )
    per_byte = TOKENS_PER_BYTE.get(analyzer.name, SUBWORDS_PER_BYTE)
    token_bytes = np.dtype(NUMPY_DTYPE[analyzer.token_dtype]).itemsize
    index_bytes = COMPACT_BYTES_PER_TOKEN if layout == "compact" else token_bytes + INDEX_BYTES_PER_TOKEN
    building = index_bytes + token_bytes + SPOOL_BYTES_PER_TOKEN
    tokens = text * per_byte
    kept = KEPT_PER_TEXT_BYTE if keep_text else 0.0
    kept_while_building = kept + 1 if keep_text else 0.0  # the spool has the texts uncompressed
    return BuildEstimate(
        source_bytes=sum(file.size_bytes for file in files),
        text_bytes=int(text),
        tokens=int(tokens),
        index_bytes=int(tokens * index_bytes + text * kept),
        disk_bytes=int(tokens * building + text * kept_while_building),
        least_disk_bytes=int(least_text * (per_byte * building + kept_while_building)),
        memory_bytes=memory_bytes,
        hours=tokens * SECONDS_PER_TOKEN / jobs / 3600,
    )


def _is_parquet(file: SourceFile) -> bool:
    return file.name.lower().endswith(".parquet")


def free_bytes(folder: Path) -> int:
    """Return the free bytes of the disk of a folder, which need not exist yet."""
    folder = folder.absolute()
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    return shutil.disk_usage(existing).free


def check_disk(
    estimate: BuildEstimate, folder: Path, staging: Path | None = None, free: FreeBytes = free_bytes
) -> None:
    """Check that a build can fit on its disk, before it starts.

    Args:
        estimate: Its estimated cost.
        folder: The folder of the index.
        staging: The folder of an interrupted build of it, whose files count as done.
        free: Returns the free bytes of the disk.

    Raises:
        InputError: It cannot fit, even if the texts compress as badly as texts ever do.
    """
    there = sum(file.stat().st_size for file in staging.rglob("*") if file.is_file()) if staging is not None else 0
    available = free(folder) + there
    if estimate.least_disk_bytes > available:
        raise InputError(
            f"the index needs at least {size_text(estimate.least_disk_bytes)} of disk while it is built (about "
            f"{size_text(estimate.disk_bytes)}), and the disk of {folder} has {size_text(available)} free; choose "
            "another disk for --out, give fewer sources, or build on many machines with --work"
        )


def plan_build(
    sources: str | Path | Sequence[str | Path],
    out: str | Path | Place,
    *,
    analyzer: str = "words",
    layout: Layout = "suffix-array",
    keep_text: bool = False,
    jobs: int | None = None,
    memory_bytes: int = 8 << 30,
    notice: Callable[[str], None] = lambda _message: None,
) -> BuildEstimate:
    """Estimate the cost of ``build_index`` with the same arguments, and check that it fits, without building.

    Raises:
        InputError: A source or setting is invalid, ``out`` exists or cannot be written, or the disk is too small.
    """
    place = Place.of(out)
    files = find_source_files(sources, notice=notice)
    estimate = estimate_build(
        files,
        get_analyzer(analyzer),
        memory_bytes=memory_bytes,
        jobs=jobs or os.cpu_count() or 1,
        layout=layout,
        keep_text=keep_text and analyzer != "bytes",
    )
    if place.is_local:
        if place.path.exists():
            raise InputError(f"{out} exists; add to it with 'factcensus index add', or choose another --out")
        check_disk(estimate, place.path, staging_folder(place.path))
    else:
        check_new(place)
        check_disk(estimate, Path(tempfile.gettempdir()))
    return estimate
