"""The metadata of documents in an index built by infini-gram: ``metadata.N`` and ``metaoff.N``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factcensus.indexer.corpus import UNKNOWN_SOURCE, BadRecordError, document_of_fields, parse_line
from factcensus.indexer.errors import IndexFormatError
from factcensus.indexer.storage.layout import map_file


class Metadata:
    """The mapped ``metadata.N`` and ``metaoff.N`` of one shard.

    Raises:
        IndexFormatError: The number of offsets differs from the number of documents.
    """

    def __init__(self, folder: Path, suffix: str, documents: int) -> None:
        self._path = folder / f"metadata{suffix}"
        self._lines = map_file(self._path)
        offsets = folder / f"metaoff{suffix}"
        if not offsets.exists() or offsets.stat().st_size != 8 * documents:
            raise IndexFormatError(
                f"{offsets} must have one offset for each of {documents} documents; copy the index again"
            )
        self._offsets = map_file(offsets).view("<u8")

    def rows(self, documents: Sequence[int]) -> list[dict[str, Any]]:
        """Return ``id, source, path, record, metadata`` of some documents, as in the document table of a factcensus
        index.

        Raises:
            IndexFormatError: An offset is not at the beginning of a line.
        """
        return [self._row(document) for document in documents]

    def _row(self, document: int) -> dict[str, Any]:
        begin = int(self._offsets[document])
        last = document + 1 == len(self._offsets)
        end = len(self._lines) if last else int(self._offsets[document + 1])
        before = bytes(self._lines[max(0, begin - 1) : begin])
        return metadata_row(self._path, document, before, bytes(self._lines[begin:end]))


def wrong_line(path: object, document: int) -> IndexFormatError:
    """Return the error for a document whose offset is not at the beginning of a line."""
    return IndexFormatError(
        f"{path}: the offset of document {document} is not at the beginning of a line; move the metadata and metaoff "
        "files away to continue without them"
    )


def metadata_row(path: object, document: int, before: bytes, line: bytes) -> dict[str, Any]:
    """Return ``id, source, path, record, metadata`` of a document.

    Args:
        path: ``metadata.N``, for messages.
        document: Number of the document in the shard.
        before: The byte before the line, or nothing.
        line: The bytes up to the line of the next document.

    Raises:
        IndexFormatError: These bytes are not a line.
    """
    if before not in (b"", b"\n") or line.find(b"\n") != len(line) - 1:
        raise wrong_line(path, document)
    parsed = parse_line(line, exact=True)
    fields = parsed.get("metadata") if isinstance(parsed, dict) else None
    try:
        if not isinstance(parsed, dict) or not isinstance(fields, dict):
            raise BadRecordError("a line in another format")
        found = document_of_fields(parsed.get("linenum", -1), "", fields, fields.pop("id", None))
    except BadRecordError:
        text = line.decode(errors="replace").strip()
        return {"id": None, "source": UNKNOWN_SOURCE, "path": None, "record": None, "metadata": text}
    return {
        "id": found.id,
        "source": found.source,
        "path": parsed.get("path"),
        "record": parsed.get("linenum"),
        "metadata": found.metadata,
    }
