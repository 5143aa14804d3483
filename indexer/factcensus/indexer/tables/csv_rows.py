"""Rows of CSV; every cell is kept as text. The header determines the delimiter: comma, semicolon or tab."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from factcensus.indexer.errors import InputError
from factcensus.indexer.tables.columns import FACT_COLUMNS, REQUIRED, ColumnNames
from factcensus.indexer.tables.json_rows import refuse_utf16

DELIMITERS = (",", ";", "\t")
_TO_QUOTE = re.compile(r'[,"\r\n]')
#: The first bytes of .xlsx and .ods files, and of .xls files.
_SPREADSHEET = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n?')  # a first line for Excel
csv.field_size_limit(1 << 27)


def csv_rows(file: BinaryIO, names: ColumnNames) -> Iterator[dict[str, Any]]:
    """Yield the rows of a CSV with the new names of their columns.

    CSV has no null, so an empty cell in a column of facts is null.

    Raises:
        InputError: A row cannot be read; the message names it.
    """
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    try:
        line = _first_line(text)
        if separator := _SEPARATOR_LINE.fullmatch(line):
            delimiters: tuple[str, ...] = (separator[1],)
            line = _first_line(text)
        else:
            delimiters = DELIMITERS
        if not line.strip():
            raise InputError("the CSV has no header line; write the names of the columns in the first line")
        delimiter, own = _header(line, delimiters, names)
        header = names.of(own)
        nullable = [name in FACT_COLUMNS for name in header]
        for number, cells in enumerate(csv.reader(text, strict=True, delimiter=delimiter), 1):
            if not cells:
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"row {number} of the CSV has {len(cells)} cells, but the header has {len(header)}; put cells that "
                    f"contain {delimiter!r} in quotation marks, without a space before them"
                )
            yield {
                name: cell or (None if null else cell) for name, cell, null in zip(header, cells, nullable, strict=True)
            }
    except UnicodeDecodeError as error:
        refuse_utf16(error.object)
        if error.object.startswith(_SPREADSHEET):
            raise InputError(
                "the file is a spreadsheet with the ending of a CSV; open it and save it as CSV in UTF-8"
            ) from error
        shown = error.object[max(0, error.start - 20) : error.end + 20].decode("ascii", "replace")
        raise InputError(
            f"the CSV is not valid UTF-8, near {shown!r}; save it as UTF-8, which Excel calls 'CSV UTF-8'"
        ) from error
    except csv.Error as error:
        raise InputError(f"cannot read the CSV ({error})") from error
    finally:
        text.detach()


def _first_line(text: io.TextIOWrapper) -> str:
    """Return the next record; a quoted name may contain a line break."""
    line = more = text.readline()
    while more and line.count('"') % 2:
        more = text.readline()
        line += more
    return line


def _header(line: str, delimiters: tuple[str, ...], names: ColumnNames) -> tuple[str, list[str]]:
    """Return the delimiter and the column names: the delimiter that gives the required columns, or else most columns.

    Raises:
        InputError: Several delimiters give the required columns.
    """
    split = {}
    for delimiter in delimiters:
        try:
            cells = next(csv.reader(io.StringIO(line, newline=""), strict=True, delimiter=delimiter))
        except csv.Error:
            if len(delimiters) == 1:
                raise
            continue
        split[delimiter] = _named(cells)
    if not split:
        raise InputError(
            "the header of the CSV has a quotation mark that is not closed, or is followed by text; fix the header"
        )
    fitting = [delimiter for delimiter, cells in split.items() if {*REQUIRED} <= {*names.preview(cells)}]
    if len(fitting) > 1:
        raise InputError(
            f"the separator of the CSV is ambiguous: {' and '.join(map(repr, fitting))} both give the columns subject "
            "and object; quote the names, or write the table as JSON Lines"
        )
    chosen = fitting[0] if fitting else max(split, key=lambda delimiter: len(split[delimiter]))
    return chosen, split[chosen]


def _named(cells: list[str]) -> list[str]:
    """Name columns without a name as pandas does, such as the row numbers that pandas writes first."""
    names: list[str] = []
    for place, cell in enumerate(cells):
        name = cell if cell.strip() else f"Unnamed: {place}"
        while not cell.strip() and name in (*cells, *names):
            name += ".1"
        names.append(name)
    return names


def csv_line(cells: list[str | None]) -> str:
    """Return one line of CSV with its line break; null becomes an empty cell, and an empty text a quoted cell.

    Python's writer does not quote a lone carriage return, which every reader interprets as the end of a row.
    """
    return (",".join(map(_quoted, cells)) or '""') + "\n"


def _quoted(cell: str | None) -> str:
    if cell is None:
        return ""
    return '"' + cell.replace('"', '""') + '"' if not cell or _TO_QUOTE.search(cell) else cell
