"""The documents of Parquet files: texts, ids and sources are taken as they are stored if possible, otherwise by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from factcensus.indexer.arrays import as_arrow, repeated
from factcensus.indexer.corpus.batches import batch_of, schema_of
from factcensus.indexer.corpus.files import SourceFile
from factcensus.indexer.corpus.records import UNKNOWN_SOURCE, BadRecordError, as_json, as_text, document_of_record
from factcensus.indexer.corpus.streams import open_raw
from factcensus.indexer.errors import InputError
from factcensus.indexer.names import suggestion

if TYPE_CHECKING:
    import pyarrow as pa

    from factcensus.indexer.corpus.reading import Fields, OnBad, Piece


def read_parquet(
    piece: Piece, fields: Fields, on_bad: OnBad, on_bytes: Callable[[int], None]
) -> Iterator[pa.RecordBatch]:
    """Yield the documents of a piece of a Parquet file.

    Raises:
        InputError: See :func:`open_parquet`.
    """
    with open_parquet(piece.file, fields.text) as parquet:
        row = 0
        groups, first_rows = [], []
        for number in range(parquet.num_row_groups):
            group = parquet.metadata.row_group(number)
            if piece.begin <= _first_byte(group) and (piece.end is None or _first_byte(group) < piece.end):
                groups.append(number)
                first_rows.append(row)
            row += group.num_rows
        all_rows = max(1, sum(parquet.metadata.row_group(number).num_rows for number in groups))
        done = 0
        for number, row in zip(groups, first_rows, strict=True):
            for batch in parquet.iter_batches(_rows_at_once(parquet.metadata.row_group(number)), [number]):
                yield from _read_batch(batch, row, fields, on_bad)
                row += batch.num_rows
                done += batch.num_rows
                on_bytes(piece.size_bytes * done // all_rows)


def _first_byte(group: Any) -> int:
    """Return the position of the first page of a row group."""
    column = group.column(0)
    pages = [column.data_page_offset, column.dictionary_page_offset if column.has_dictionary_page else None]
    return int(min(page for page in pages if page is not None))


def _read_batch(batch: Any, first_row: int, fields: Fields, on_bad: OnBad) -> Iterator[pa.RecordBatch]:
    """Yield the documents of some rows."""
    plain = _plain_batch(batch, first_row, fields)
    if plain is not None:
        yield plain
        return
    documents = []
    for record, row in enumerate(_rows_of(batch), first_row):
        try:
            documents.append(document_of_record(record, row, None, fields.text, fields.id))
        except BadRecordError as error:
            on_bad(record, error)
    if documents:
        yield batch_of(documents, whole=fields.whole)


def _plain_batch(batch: Any, first_row: int, fields: Fields) -> pa.RecordBatch | None:
    """Return the documents of rows if all are valid, and text, id and source are plain columns; otherwise None."""
    import pyarrow as pa

    names = batch.schema.names
    if fields.text not in names or not batch.num_rows or not (fields.whole or _all_plain(batch.schema)):
        return None
    text = batch[fields.text]
    if text.null_count or not _is_text(text.type):
        return None
    try:
        batch.validate(full=True)  # checks that all strings are UTF-8
    except pa.ArrowInvalid:
        return None
    columns = [text.cast(pa.large_binary()), as_arrow(np.arange(first_row, first_row + batch.num_rows))]
    if fields.whole:
        if fields.text in (fields.id, "source") or fields.id == "source":
            return None
        ids, sources = _ids(batch, fields), _sources(batch)
        others = [name for name in names if name not in (fields.text, fields.id, "source")]
        metadata = None if ids is None or sources is None else _metadata(batch.select(others))
        if metadata is None:
            return None
        columns += [ids, sources, metadata]
    return pa.RecordBatch.from_arrays(columns, schema=schema_of(whole=fields.whole))


def _ids(batch: Any, fields: Fields) -> Any:
    """Return the ids of rows; None if they must be converted in Python."""
    import pyarrow as pa

    if fields.id not in batch.schema.names:
        return None if fields.needs_id else pa.nulls(batch.num_rows, pa.string())
    ids = batch[fields.id]
    return ids.cast(pa.string()) if _is_text(ids.type) or pa.types.is_integer(ids.type) else None


def _sources(batch: Any) -> Any:
    """Return the sources of rows; None if one is missing or not text, or may be in the metadata."""
    import pyarrow as pa
    from pyarrow.compute import call_function as compute

    if "source" not in batch.schema.names:
        if "meta" in batch.schema.names:
            return None
        return repeated(UNKNOWN_SOURCE, batch.num_rows)
    sources = batch["source"]
    if not _is_text(sources.type) or sources.null_count:
        return None
    return sources.cast(pa.string()) if compute("min", [compute("binary_length", [sources])]).as_py() else None


def _metadata(batch: Any) -> Any:
    """Return rows as JSON objects; None if a row is invalid."""
    import pyarrow as pa

    if not batch.num_columns:
        return repeated("{}", batch.num_rows)
    try:
        rows = [as_json(row) for row in _rows_of(batch) if isinstance(row, dict)]
    except BadRecordError:
        return None
    return pa.array(rows, pa.string(), from_pandas=False) if len(rows) == batch.num_rows else None


def _all_plain(schema: Any) -> bool:
    """Return whether every valid value of these columns can be converted to a Python type."""
    import pyarrow as pa

    return all(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
        for kind in schema.types
    )


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


@contextmanager
def open_parquet(file: SourceFile, text_field: str) -> Iterator[Any]:
    """Open a Parquet file that has a column for the text; explain damage that is found while it is open.

    Raises:
        InputError: It is damaged, has no such column, or two columns with the same name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_raw(file.url, at_random=True) as raw, pq.ParquetFile(raw, page_checksum_verification=True) as parquet:
            _refuse_repeated_columns(file, parquet.schema_arrow)
            names = _column_names(parquet.schema_arrow)
            if text_field not in names:
                raise InputError(f"{file.name}: no column {text_field!r}{suggestion(text_field, names)}")
            yield parquet
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk or the network, not what the file holds
            error.filename = error.filename or file.name
            raise
        raise InputError(f"{file.name}: not a readable Parquet file ({error}); replace the file") from error


def _refuse_repeated_columns(file: SourceFile, fields: Any, inside: str = "") -> None:
    """Refuse two columns, or two fields of a struct, with the same name, because the name would be ambiguous."""
    import pyarrow as pa

    seen = set()
    for column in fields:
        if column.name in seen:
            raise InputError(f"{file.name}: two columns have the name {inside + column.name!r}; rename one of them")
        seen.add(column.name)
        if pa.types.is_struct(column.type):
            _refuse_repeated_columns(file, column.type, f"{inside}{column.name}.")


def _column_names(fields: Any) -> list[str]:
    """Return the names of columns and of struct fields, separated by dots; the keys of maps are unknown here."""
    import pyarrow as pa

    names = []
    for column in fields:
        names.append(column.name)
        if pa.types.is_struct(column.type):
            names += [f"{column.name}.{name}" for name in _column_names(column.type)]
    return names


def _rows_at_once(group: Any) -> int:
    """Return the number of rows of a row group to read at once: 8 MiB of documents, or at least one row."""
    return int(max(1, min(1000, (8 << 20) * group.num_rows // max(1, group.total_byte_size))))


def _rows_of(batch: Any) -> Iterator[dict[str, Any] | str]:
    """Yield the rows of a batch, or an error message for text that is not UTF-8 or a date outside Python's range."""
    batch = _in_microseconds(batch)
    try:
        rows = _with_maps(batch.to_pylist(), batch.schema)
    except (ValueError, OverflowError):
        for i in range(batch.num_rows):
            try:
                yield _with_maps(batch.slice(i, 1).to_pylist(), batch.schema)[0]
            except (ValueError, OverflowError) as error:
                yield f"unreadable value ({error})"
    else:
        yield from rows


def _in_microseconds(batch: Any) -> Any:
    """Return a batch with times in microseconds instead of nanoseconds.

    Arrow converts nanoseconds to the types of pandas if it is installed, so their text would depend on it.
    """
    import pyarrow as pa

    schema = pa.schema([field.with_type(_microseconds(field.type)) for field in batch.schema])
    return batch if schema.equals(batch.schema) else batch.cast(schema, safe=False)


def _microseconds(kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_microseconds(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_microseconds(kind.key_type), _microseconds(kind.item_type))
    for is_kind, make in ((pa.types.is_list, pa.list_), (pa.types.is_large_list, pa.large_list)):
        if is_kind(kind):
            return make(kind.value_field.with_type(_microseconds(kind.value_type)))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_microseconds(kind.value_type)), kind.list_size)
    return kind


def _with_maps(rows: list[dict[str, Any]], schema: Any) -> list[dict[str, Any]]:
    """Return rows with maps as objects, which Arrow converts to lists of pairs.

    Raises:
        ValueError: A map has a key twice.
    """
    for column in schema:
        if "map<" in str(column.type):
            for row in rows:
                row[column.name] = _with_map(row[column.name], column.type)
    return rows


def _with_map(value: Any, kind: Any) -> Any:
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_map(kind):
        found = {as_text(key): _with_map(each, kind.item_type) for key, each in value}
        if len(found) < len(value):
            (twice, _), *_ = Counter(as_text(key) for key, _ in value).most_common(1)
            raise ValueError(f"the key {twice!r} is given twice in a map")
        return found
    if pa.types.is_struct(kind):
        return {field.name: _with_map(value[field.name], field.type) for field in kind}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return [_with_map(each, kind.value_type) for each in value]
    return value
