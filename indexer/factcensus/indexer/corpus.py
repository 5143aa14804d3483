"""Readers of corpora: JSON Lines (plain, .gz, .zst), Parquet, or folders of these; local or any fsspec URL.

Documents are streamed; nothing holds a whole file. A bad line stops the reading with its file and line number, or
is counted and skipped.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import fsspec
import orjson
import zstandard
from isal import igzip
from isal.igzip_lib import IsalError

from factcensus.indexer.analyzers import clean_text
from factcensus.indexer.errors import InputError

BadLinePolicy = Literal["fail", "skip"]
#: File endings that are read; anything else in a folder is left alone.
ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".json.gz", ".json.zst", ".parquet")
#: The source of a document that names none.
UNKNOWN_SOURCE = "unknown"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One shard of a corpus.

    Attributes:
        url: where it is opened.
        name: the path below the folder that was asked for, as the document table shows it.
        size_bytes: on disk, compressed.
        modified: a stamp that changes when the file does, where the file system has one.
    """

    url: str
    name: str
    size_bytes: int
    modified: str


@dataclass(frozen=True, slots=True)
class Document:
    """One record of a corpus shard.

    Attributes:
        text: UTF-8.
        record: 0-based line (blank ones included) or row.
        metadata: JSON object of all other fields.
    """

    text: bytes
    record: int
    id: str | None
    source: str
    metadata: str


def find_source_files(
    sources: Sequence[str | Path], *, notice: Callable[[str], None] = lambda _message: None
) -> list[SourceFile]:
    """The files of all sources, folders searched recursively, each folder's in path order.

    A plain ``.json`` file in a folder that begins with ``[`` is a JSON array, not JSON Lines (a manifest, mostly): it
    is left out, as is an index, finished or not, that lies in the folder; ``notice`` is told.

    Raises:
        InputError: a source does not exist, is of no known format, has no shard, or is named twice.
    """
    files = [file for source in sources for file in _files_of(str(source), notice)]
    seen: set[str] = set()
    for file in files:
        if file.url in seen:
            raise InputError(f"the file {file.url} would be indexed twice; name it, or a folder above it, once")
        seen.add(file.url)
    if not files:
        raise InputError("no sources given")
    return files


def _files_of(source: str, notice: Callable[[str], None]) -> list[SourceFile]:
    try:
        file_system, root = fsspec.core.url_to_fs(source)
    except (ValueError, ImportError) as error:
        raise InputError(f"cannot open {source}: {error}") from error
    if not file_system.exists(root):
        raise InputError(f"no such file or folder: {source}")
    if not file_system.isdir(root):
        if not root.endswith(ENDINGS):
            raise InputError(f"{source}: unknown kind of file; known endings: {', '.join(ENDINGS)}")
        return [_source_file(file_system, root, PurePosixPath(root).name)]
    found = []
    paths = sorted(file_system.find(root))
    places = {(folder, name) for folder, _, name in (path.rpartition("/") for path in paths)}
    indexes = sorted({folder for folder, name in places if _of_index(folder, name)})
    for folder in indexes:
        notice(f"left out {folder}: an index, no corpus")
    for path in paths:
        if any(path.startswith(folder + "/") for folder in indexes):
            continue
        relative = str(PurePosixPath(path).relative_to(PurePosixPath(root)))
        if not path.endswith(ENDINGS) or any(part.startswith(".") for part in relative.split("/")):
            continue
        if path.endswith(".json") and file_system.cat_file(path, end=64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"[":
            notice(f"left out {path}: a JSON array, not JSON Lines")
            continue
        found.append(_source_file(file_system, path, relative))
    if not found:
        raise InputError(f"no shards in {source}; looked for files ending in {', '.join(ENDINGS)}")
    return found


def _of_index(folder: str, name: str) -> bool:
    """Whether a file shows that its folder is an index, or one that is being built."""
    return bool(re.fullmatch(r"tokenized\.\d+", name)) or (name == "plan.json" and folder.endswith(".building"))


def _source_file(file_system: Any, path: str, name: str) -> SourceFile:
    info = file_system.info(path)
    stamp = next((info[key] for key in ("mtime", "ETag", "etag", "LastModified", "updated") if key in info), "")
    return SourceFile(file_system.unstrip_protocol(path), clean_text(name), int(info["size"] or 0), str(stamp))


def read_documents(
    file: SourceFile,
    *,
    text_field: str = "text",
    on_bad_line: BadLinePolicy = "fail",
    on_skip: Callable[[str], None] = lambda _reason: None,
    on_bytes: Callable[[int], None] = lambda _position: None,
) -> Iterator[Document]:
    """The documents of one file, in order.

    Args:
        file: as :func:`find_source_files` gives it.
        text_field: the field or column that holds the text.
        on_bad_line: stop, or count and go on.
        on_skip: told the reason of each skipped line.
        on_bytes: told now and then how many (compressed) bytes of the file have been read.

    Raises:
        InputError: a bad line under ``fail`` (file and line number), or a file that is cut off or not what its
            ending says.
    """
    reader = _parquet_rows if file.url.endswith(".parquet") else _json_lines
    records = reader(file, text_field, on_bytes)
    for record, fields_or_reason in records:
        if isinstance(fields_or_reason, dict):
            text = fields_or_reason.pop(text_field, None)
            if isinstance(text, str):
                yield document_of_fields(record, text, fields_or_reason)
                continue
            what = "no field" if text is None else f"not a string but {type(text).__name__} in"
            reason = f"{what} {text_field!r}"
            if text is None and fields_or_reason:
                reason += f" (fields: {', '.join(sorted(fields_or_reason))})"
        else:
            reason = fields_or_reason
        message = f"{file.name}, line {record + 1}: {reason}"
        if on_bad_line == "fail":
            raise InputError(f"{message}; mend it, name another --text-field, or use --on-bad-line skip")
        on_skip(message)


class SkippedLines:
    """Counts the skipped lines of a file and names the first of them; what has a million would drown everything."""

    #: Lines of a file that are named.
    MOST_NAMED = 20

    def __init__(self, file: SourceFile, notice: Callable[[str], None]) -> None:
        self._file, self._notice = file, notice
        self.count = 0

    def __call__(self, reason: str) -> None:
        """One more line was skipped."""
        self.count += 1
        if self.count <= self.MOST_NAMED:
            self._notice(reason)
        elif self.count == self.MOST_NAMED + 1:
            self._notice(f"{self._file.name}: further bad lines are counted, not named")


def document_of_fields(record: int, text: str, fields: dict[str, Any]) -> Document:
    """A document of its text and all other fields, which are used up."""
    name = fields.pop("id", None)
    source = fields.get("source")
    if isinstance(source, str) and source:
        del fields["source"]
    else:
        meta = fields.get("meta")
        source = meta.get("pile_set_name") if isinstance(meta, dict) else None
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        encoded = clean_text(text).encode()
    return Document(
        encoded,
        record,
        None if name is None else clean_text(str(name)),
        clean_text(source) if isinstance(source, str) and source else UNKNOWN_SOURCE,
        _dump(fields),
    )


def _dump(fields: dict[str, Any]) -> str:
    try:
        return orjson.dumps(fields, default=str).decode()
    except (orjson.JSONEncodeError, TypeError):  # lone surrogates, integers beyond 64 bits
        return json.dumps(_strict(fields), default=str, ensure_ascii=False)


def _strict(value: Any) -> Any:
    """A value that strict readers of JSON take too: DuckDB refuses a whole column for one lone surrogate or NaN."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict):
        return {clean_text(str(key)): _strict(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json_lines(
    file: SourceFile, text_field: str, on_bytes: Callable[[int], None]
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    del text_field
    line_number = -1
    try:
        with _open(file.url) as (raw, stream):
            for line_number, line in enumerate(stream):
                if line_number % 256 == 0:
                    on_bytes(raw.tell())
                if line_number == 0:
                    line = line.removeprefix(b"\xef\xbb\xbf")
                if line.isspace() or not line:
                    continue
                yield line_number, parse_line(line)
    except (EOFError, IsalError, igzip.BadGzipFile, zstandard.ZstdError) as error:  # type: ignore[misc]
        raise InputError(f"{file.name}: damaged or cut off after line {line_number + 1} ({error})") from error


def parse_line(line: bytes) -> dict[str, Any] | str:
    """The fields of a line of JSON, or why it has none."""
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        try:  # Python's reader takes lone surrogates and NaN, which real corpora have
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            return f"not JSON ({error})"
    return fields if isinstance(fields, dict) else f"not a JSON object but {type(fields).__name__}"


@contextmanager
def _open(url: str) -> Iterator[tuple[Any, Any]]:
    """The file as it lies, whose position shows progress, and the stream of its decompressed bytes."""
    opened: Any = fsspec.open(url, "rb")
    with opened as raw:
        if url.endswith(".gz"):
            with igzip.GzipFile(fileobj=raw) as stream:  # type: ignore[no-untyped-call]
                yield raw, io.BufferedReader(stream, 1 << 20)
        elif url.endswith(".zst"):
            yield raw, io.BufferedReader(_ZstandardStream(raw), 1 << 20)
        else:
            yield raw, raw


class _ZstandardStream(io.RawIOBase):
    """The frames of a Zstandard file; ends in an error where the library's own reader passes over a cut-off frame."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._frame: Any = None
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what is there; 0 at the end."""
        while not self._ready:
            data = self._rest or self._raw.read(1 << 17)
            self._rest = b""
            if not data:
                if self._frame is not None:
                    raise EOFError("the last Zstandard frame is not complete")
                return 0
            if self._frame is None:
                # Windows of up to 2 GiB, as ``zstd --long=31`` makes them; the memory is taken as the file needs it.
                self._frame = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
            self._ready = memoryview(self._frame.decompress(data))
            if self._frame.eof:
                self._rest, self._frame = self._frame.unused_data, None
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size


def _parquet_rows(
    file: SourceFile, text_field: str, on_bytes: Callable[[int], None]
) -> Iterator[tuple[int, dict[str, Any] | str]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with fsspec.open(file.url, "rb") as raw, pq.ParquetFile(raw, page_checksum_verification=True) as parquet:
            names = parquet.schema_arrow.names
            if text_field not in names:
                raise InputError(f"{file.name}: no column {text_field!r}; columns: {', '.join(names)}")
            row = 0
            for group in range(parquet.num_row_groups):
                for batch in parquet.iter_batches(_rows_at_once(parquet.metadata.row_group(group)), [group]):
                    for fields in _rows_of(batch):
                        yield row, fields
                        row += 1
                    on_bytes(file.size_bytes * row // max(1, parquet.metadata.num_rows))
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk or the network, not what the file holds
            raise
        raise InputError(f"{file.name}: not a readable Parquet file, or a damaged one ({error})") from error


def _rows_at_once(group: Any) -> int:
    """Rows of a row group that are taken together: 8 MiB of documents, or one that is larger."""
    return int(max(1, min(1000, (8 << 20) * group.num_rows // max(1, group.total_byte_size))))


def _rows_of(batch: Any) -> Iterator[dict[str, Any] | str]:
    """The rows of a batch, or why one cannot be read: text that is not UTF-8, a date beyond Python's."""
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):  # raised before the first row is there
        for i in range(batch.num_rows):
            try:
                yield batch.slice(i, 1).to_pylist()[0]
            except (ValueError, OverflowError) as error:
                yield f"a value cannot be read ({error})"
