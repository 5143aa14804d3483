"""The compiled reader of documents in lines of JSON.

It checks every line as strictly as the readers in Python. It leaves a line to them whenever anything about it is
unusual: damage, a repeated or escaped key, a lone surrogate, invalid UTF-8, deep nesting, or a number that orjson
writes in another way. So the documents are the same, and so are the messages about bad lines.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from factcensus.indexer.arrays import Array, eights
from factcensus.indexer.kernels.compiled import compiled
from factcensus.indexer.kernels.json_strings import (
    QUOTE,
    SPARE,
    copy_string,
    is_as_written,
    plain_string,
    scalar,
)

#: What is known about a line: it is blank, unusual, or read.
BLANK, ODD, READ = 0, 1, 2
#: Columns of :attr:`Documents.ends`.
TEXT, ID, SOURCE, METADATA = range(4)
#: Deepest nesting and most open keys that are read here.
_DEEPEST, _MOST_KEYS = 64, 512

_COLON, _COMMA = 58, 44
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = 123, 125, 91, 93
_BAD = -1


class Names(NamedTuple):
    """The keys of the fields of a document, and the source of one without a source; uint8, UTF-8."""

    text: Array
    id: Array
    source: Array
    meta: Array
    set_name: Array
    unknown: Array


class OpenKeys(NamedTuple):
    """Arrays that one line after another reuses.

    Attributes:
        keys: int64 (keys, 2): begin and end of each key of the open objects.
        opened: int64 (depth, 2): for each open object the number of its first key (-1 for a list), and the number of
            keys before it.
    """

    keys: Array
    opened: Array


class Documents(NamedTuple):
    """The documents of a block of lines, one after another.

    Attributes:
        text: uint8: their texts.
        id: uint8: their ids, as text.
        source: uint8: their sources.
        metadata: uint8: JSON objects with all other fields, as orjson writes them.
        ends: int64 (lines + 1, 4): where each of these ends for each document, after a row of zeros.
        has_id: uint8 (lines,): whether a document has an id.
        lines: int64 (lines,): the line of each document.
        kinds: uint8 (lines,): whether each line is BLANK, ODD or READ.
    """

    text: Array
    id: Array
    source: Array
    metadata: Array
    ends: Array
    has_id: Array
    lines: Array
    kinds: Array


class LineReader:
    """Reads the documents of lines of JSON.

    Args:
        text_field: The key of the text; without dots and escapes.
        id_field: The key of the id, likewise; None if only texts are wanted. Then all else is arbitrary, but the lines
            are checked in the same way.
        needs_id: Leave documents without an id to Python.
        unknown: The source of a document without a source.
    """

    def __init__(self, text_field: str, id_field: str | None, *, needs_id: bool, unknown: str) -> None:
        names = text_field, id_field or "", "source", "meta", "pile_set_name", unknown
        self._names = Names(*(np.frombuffer(name.encode(), np.uint8) for name in names))
        self._opened = OpenKeys(np.empty((_MOST_KEYS, 2), np.int64), np.empty((_DEEPEST + 1, 2), np.int64))
        self._whole, self._needs_id = id_field is not None, needs_id

    def read(self, block: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], most_bytes: int) -> tuple[Documents, int]:
        """Return the documents of some lines and their number.

        Args:
            block: The lines, one after another; at least 8 bytes.
            ends: int64 (lines,): the position after each line.
            most_bytes: Longer lines are left to Python.
        """
        size, lines = block.size + SPARE, len(ends)
        text, id, metadata = (np.empty(size, np.uint8) for _ in range(3))
        # As many names without an own source as there are lines may be longer than the lines.
        source = np.empty(size + lines * self._names.unknown.size, np.uint8)
        documents = Documents(
            text,
            id,
            source,
            metadata,
            ends=np.zeros((lines + 1, 4), np.int64),
            has_id=np.empty(lines, np.uint8),
            lines=np.empty(lines, np.int64),
            kinds=np.empty(lines, np.uint8),
        )
        eight = Eights(*map(eights, (block, text, id, source, metadata)))
        count = _read_lines(
            block, ends, eight, self._names, self._opened, documents, self._whole, self._needs_id, most_bytes
        )
        return documents, count


class Eights(NamedTuple):
    """The lines, and the arrays of :class:`Documents`, by :func:`eights`."""

    block: Array
    text: Array
    id: Array
    source: Array
    metadata: Array


@compiled()
def _read_lines(  # noqa: PLR0913 - compiled: arrays of several records
    block: Array,
    ends: Array,
    eight: Eights,
    names: Names,
    opened_keys: OpenKeys,
    documents: Documents,
    whole: bool,
    needs_id: bool,
    most_bytes: int,
) -> int:
    count = 0
    begin = 0
    for line in range(ends.size):
        end = ends[line]
        place = _skip_space(block, begin, end)
        documents.kinds[line] = BLANK
        if place < end:
            documents.kinds[line] = ODD
            if end - begin <= most_bytes and _read_line(
                block, place, end, eight, names, opened_keys, documents, count, whole, needs_id
            ):
                documents.kinds[line] = READ
                documents.lines[count] = line
                count += 1
        begin = end
    return count


@compiled()
def _skip_space(block: Array, place: int, end: int) -> int:
    while place < end and (block[place] == 32 or block[place] == 10 or block[place] == 13 or block[place] == 9):
        place += 1
    return place


@compiled()
def _read_line(  # noqa: C901, PLR0912, PLR0913, PLR0915 - compiled: one loop over the characters
    block: Array,
    place: int,
    end: int,
    eight: Eights,
    names: Names,
    opened_keys: OpenKeys,
    documents: Documents,
    number: int,
    whole: bool,
    needs_id: bool,
) -> bool:
    """Check one line and append its document; return False for an unusual line, which is not appended."""
    keys, opened, metadata = opened_keys.keys, opened_keys.opened, documents.metadata
    ends = documents.ends
    text_end: Any = np.int64(_BAD)
    id_end: Any = np.int64(_BAD)
    source_end: Any = np.int64(_BAD)
    first = ends[number, METADATA]
    if block[place] != _OPEN:
        return False
    metadata[first] = _OPEN
    at = first + 1
    has_id = False
    in_meta = False
    set_name: Any = np.int64(_BAD)  # where the name of the set begins
    depth = 0
    opened[0, 0] = 0
    count = 0
    place = _skip_space(block, place + 1, end)
    value = False  # whether a value comes next, otherwise a key
    while True:
        if place >= end:
            return False
        is_text = is_id = is_source = False
        if not value:
            if block[place] != QUOTE:
                return False
            stop = plain_string(block, place + 1, end)
            if stop < 0 or count == _MOST_KEYS:
                return False
            for other in range(opened[depth, 0], count):
                if _same_bytes(block, keys[other, 0], keys[other, 1], place + 1, stop):
                    return False
            keys[count, 0] = place + 1
            keys[count, 1] = stop
            count += 1
            begin = place
            place = _skip_space(block, stop + 1, end)
            if place >= end or block[place] != _COLON:
                return False
            place = _skip_space(block, place + 1, end)
            if place >= end:
                return False
            if depth == 0:
                is_text = _is_key(block, begin + 1, stop, names.text)
                is_id = whole and _is_key(block, begin + 1, stop, names.id)
                is_source = whole and _is_key(block, begin + 1, stop, names.source)
                in_meta = whole and _is_key(block, begin + 1, stop, names.meta)
            elif depth == 1 and in_meta and _is_key(block, begin + 1, stop, names.set_name):
                if block[place] != QUOTE:
                    return False
                set_name = place + 1
            if not (is_text or is_id or is_source):
                if depth == 0 and at > first + 1:
                    metadata[at] = _COMMA
                    at += 1
                for i in range(begin, stop + 1):
                    metadata[at] = block[i]
                    at += 1
                metadata[at] = _COLON
                at += 1
        value = False
        byte = block[place]
        if is_text:
            if byte != QUOTE:
                return False
            begin = ends[number, TEXT]
            place, text_end = copy_string(block, eight.block, place + 1, end, documents.text, eight.text, begin, False)
            if place < 0:
                return False
        elif is_source:
            if byte != QUOTE:
                return False
            begin = ends[number, SOURCE]
            place, source_end = copy_string(
                block, eight.block, place + 1, end, documents.source, eight.source, begin, False
            )
            if place < 0 or source_end == begin:
                return False
        elif is_id and byte == QUOTE:
            has_id = True
            begin = ends[number, ID]
            place, id_end = copy_string(block, eight.block, place + 1, end, documents.id, eight.id, begin, False)
            if place < 0:
                return False
        elif byte == QUOTE:
            metadata[at] = QUOTE
            place, at = copy_string(block, eight.block, place + 1, end, metadata, eight.metadata, at + 1, True)
            if place < 0:
                return False
            metadata[at] = QUOTE
            at += 1
        elif ((byte == _OPEN) | (byte == _OPEN_LIST)) and not is_id:
            if depth == _DEEPEST:
                return False
            depth += 1
            opened[depth, 0] = count if byte == _OPEN else -1
            opened[depth, 1] = count
            metadata[at] = byte
            at += 1
            place = _skip_space(block, place + 1, end)
            if place >= end:
                return False
            if block[place] != (_CLOSE if byte == _OPEN else _CLOSE_LIST):
                value = byte == _OPEN_LIST
                continue
            count = opened[depth, 1]
            depth -= 1
            metadata[at] = block[place]
            at += 1
            place += 1
        else:
            begin = place
            place = scalar(block, place, end)
            if place < 0 or (whole and not is_as_written(block, begin, place)):
                return False
            if is_id:
                has_id = True
                # A number is an id as written, and null is none.
                if block[begin] <= 57 and is_integer(block, begin, place):
                    id_end = ends[number, ID]
                    for i in range(begin, place):
                        documents.id[id_end] = block[i]
                        id_end += 1
                elif block[begin] != 110:
                    return False
            else:
                for i in range(begin, place):
                    metadata[at] = block[i]
                    at += 1
        # After a value: a comma, or the ends of objects and lists.
        while True:
            place = _skip_space(block, place, end)
            if place >= end:
                return False
            byte = block[place]
            in_list = depth > 0 and opened[depth, 0] < 0
            place += 1
            if byte == _COMMA:
                value = in_list
                if depth > 0:
                    metadata[at] = _COMMA
                    at += 1
                place = _skip_space(block, place, end)
                break
            if byte != (_CLOSE_LIST if in_list else _CLOSE):
                return False
            metadata[at] = byte
            at += 1
            if depth == 0:
                if text_end < 0 or (needs_id and not has_id) or _skip_space(block, place, end) != end:
                    return False
                if source_end < 0:
                    source_end = _source_of_set(block, end, set_name, eight, names, documents, ends[number, SOURCE])
                ends[number + 1, TEXT] = text_end
                ends[number + 1, ID] = max(id_end, ends[number, ID])
                ends[number + 1, SOURCE] = source_end
                ends[number + 1, METADATA] = at
                documents.has_id[number] = id_end >= 0
                return True
            count = opened[depth, 1]
            depth -= 1


@compiled()
def _source_of_set(
    block: Array, end: int, place: int, eight: Eights, names: Names, documents: Documents, begin: int
) -> int:
    """Write the source of a document without the field; ``place`` is where the name of its set is, or -1."""
    at = begin
    if place >= 0:
        _, at = copy_string(block, eight.block, place, end, documents.source, eight.source, begin, False)
    if at == begin:
        for i in range(names.unknown.size):
            documents.source[at] = names.unknown[i]
            at += 1
    return at


@compiled()
def _is_key(block: Array, begin: int, end: int, key: Array) -> bool:
    if end - begin != key.size:
        return False
    for i in range(key.size):  # noqa: SIM110 - compiled: a generator is slower
        if block[begin + i] != key[i]:
            return False
    return True


@compiled()
def _same_bytes(block: Array, begin: int, end: int, other: int, other_end: int) -> bool:
    if end - begin != other_end - other:
        return False
    for i in range(end - begin):  # noqa: SIM110 - compiled: a generator is slower
        if block[begin + i] != block[other + i]:
            return False
    return True


@compiled()
def is_integer(block: Array, begin: int, end: int) -> bool:
    """Return whether a valid number in JSON is an integer."""
    for i in range(begin, end):  # noqa: SIM110 - compiled: a generator is slower
        if block[i] > 57 or block[i] == 46:
            return False
    return True
