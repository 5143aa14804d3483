"""The compiled reader of lines of JSON, which takes only the text out of them.

It checks every line as strictly as the readers in Python, and leaves a line to them whenever anything about it is
unusual: damage, a repeated or escaped key, a lone surrogate, invalid UTF-8, deep nesting, or no text. So the texts are
the same, and so are the messages about bad lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from factcensus.indexer.kernels.compiled import compiled

Array = npt.NDArray[Any]

#: What is known about a line; texts begin at their start in the arena.
BLANK, ODD = -1, -2
#: Deepest nesting and most open keys that are read here.
_DEEPEST, _MOST_KEYS = 64, 512

_QUOTE, _BACKSLASH, _COLON, _COMMA = 34, 92, 58, 44
_OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = 123, 125, 91, 93
_BAD = -1


class LineReader:
    """Reads the texts of lines of JSON.

    Args:
        text_field: The key of the text; without dots and escapes.
    """

    def __init__(self, text_field: str) -> None:
        self._key = np.frombuffer(text_field.encode(), np.uint8)
        self._keys = np.empty((_MOST_KEYS, 2), np.int64)
        self._open = np.empty((_DEEPEST + 1, 2), np.int64)

    def read(self, block: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> tuple[bytes, list[int], list[int]]:
        """Return the texts of some lines.

        Args:
            block: The lines, one after another.
            ends: int64 (lines,): the position after each line.

        Returns:
            The concatenated texts in UTF-8; the start of each line's text in it, or BLANK or ODD; and the end.
        """
        arena = np.empty(block.size + 8, np.uint8)
        starts, stops = np.empty(len(ends), np.int64), np.empty(len(ends), np.int64)
        size = _read_lines(block, ends, self._key, self._keys, self._open, arena, starts, stops)
        return arena[:size].tobytes(), starts.tolist(), stops.tolist()


@compiled()
def _read_lines(
    block: Array, ends: Array, key: Array, keys: Array, opened: Array, arena: Array, starts: Array, stops: Array
) -> int:
    size = 0
    begin = 0
    for line in range(ends.size):
        end = ends[line]
        place = _skip_space(block, begin, end)
        if place == end:
            starts[line] = BLANK
        else:
            stop = _read_line(block, place, end, key, keys, opened, arena, size)
            if stop < 0:
                starts[line] = ODD
            else:
                starts[line] = size
                stops[line] = stop
                size = stop
        begin = end
    return size


@compiled()
def _skip_space(block: Array, place: int, end: int) -> int:
    while place < end and (block[place] == 32 or block[place] == 10 or block[place] == 13 or block[place] == 9):
        place += 1
    return place


@compiled()
def _read_line(  # noqa: C901, PLR0912, PLR0915 - compiled: one loop over the characters
    block: Array, place: int, end: int, key: Array, keys: Array, opened: Array, arena: Array, size: int
) -> int:
    """Check one line, copy its text to the arena, and return the end of the text there; -1 if the line is unusual.

    ``opened`` has for each open object the number of its first key (-1 for a list) and the number of keys before it.
    """
    if block[place] != _OPEN:
        return _BAD
    depth = 0
    opened[0, 0] = 0
    count = 0
    place = _skip_space(block, place + 1, end)
    found = _BAD
    value = False  # whether a value comes next, otherwise a key
    if place < end and block[place] == _CLOSE:
        return _BAD
    while True:
        if place >= end:
            return _BAD
        is_text = False
        if not value:
            if block[place] != _QUOTE:
                return _BAD
            stop = _plain_string(block, place + 1, end)
            if stop < 0 or count == _MOST_KEYS:
                return _BAD
            first = opened[depth, 0]
            for other in range(first, count):
                if _same_bytes(block, keys[other, 0], keys[other, 1], place + 1, stop):
                    return _BAD
            keys[count, 0] = place + 1
            keys[count, 1] = stop
            count += 1
            is_text = depth == 0 and _is_key(block, place + 1, stop, key)
            place = _skip_space(block, stop + 1, end)
            if place >= end or block[place] != _COLON:
                return _BAD
            place = _skip_space(block, place + 1, end)
            if place >= end:
                return _BAD
        value = False
        byte = block[place]
        if is_text:
            if byte != _QUOTE:
                return _BAD
            place, found = _copy_string(block, place + 1, end, arena, size)
            if place < 0:
                return _BAD
        elif byte == _QUOTE:
            place = _any_string(block, place + 1, end)
            if place < 0:
                return _BAD
        elif (byte == _OPEN) | (byte == _OPEN_LIST):
            if depth == _DEEPEST:
                return _BAD
            depth += 1
            opened[depth, 0] = count if byte == _OPEN else -1
            opened[depth, 1] = count
            place = _skip_space(block, place + 1, end)
            if place >= end:
                return _BAD
            if block[place] != (_CLOSE if byte == _OPEN else _CLOSE_LIST):
                value = byte == _OPEN_LIST
                continue
            count = opened[depth, 1]
            depth -= 1
            place += 1
        else:
            place = _scalar(block, place, end)
            if place < 0:
                return _BAD
        # After a value: a comma, or the ends of objects and lists.
        while True:
            place = _skip_space(block, place, end)
            if place >= end:
                return _BAD
            byte = block[place]
            in_list = depth > 0 and opened[depth, 0] < 0
            if byte == _COMMA:
                value = in_list
                place = _skip_space(block, place + 1, end)
                break
            if byte != (_CLOSE_LIST if in_list else _CLOSE):
                return _BAD
            place += 1
            if depth == 0:
                return found if _skip_space(block, place, end) == end else _BAD
            count = opened[depth, 1]
            depth -= 1


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
def _plain_string(block: Array, place: int, end: int) -> int:
    """Return the end of a string of ASCII without escapes, or -1."""
    while place < end:
        byte = block[place]
        if byte == _QUOTE:
            return place
        if byte < 32 or byte >= 128 or byte == _BACKSLASH:
            return _BAD
        place += 1
    return _BAD


@compiled()
def _any_string(  # noqa: C901 - compiled: one loop over the characters
    block: Array, place: int, end: int
) -> int:
    """Return the position after a string, or -1."""
    while place < end:
        byte = block[place]
        if byte == _QUOTE:
            return place + 1
        if byte < 32:
            return _BAD
        if byte == _BACKSLASH:
            place += 1
            if place >= end:
                return _BAD
            if block[place] == 117:
                if _hexadecimal(block, place + 1, end) < 0:
                    return _BAD
                place += 4
            elif _escaped(block[place]) == 0:
                return _BAD
            place += 1
        elif byte < 128:
            place += 1
        else:
            size = _code_point_size(block, place, end)
            if size == 0:
                return _BAD
            place += size
    return _BAD


@compiled()
def _copy_string(  # noqa: C901, PLR0912 - compiled: one loop over the characters
    block: Array, place: int, end: int, arena: Array, at: int
) -> tuple[int, int]:
    """Copy a string to the arena; return the position after it and the end in the arena, or -1 and -1."""
    while place < end:
        byte = block[place]
        if byte == _QUOTE:
            return place + 1, at
        if byte >= 32 and byte < 128 and byte != _BACKSLASH:
            arena[at] = byte
            at += 1
            place += 1
            continue
        if byte < 32:
            return _BAD, _BAD
        if byte >= 128:
            size = _code_point_size(block, place, end)
            if size == 0:
                return _BAD, _BAD
            for _ in range(size):
                arena[at] = block[place]
                at += 1
                place += 1
            continue
        place += 1
        if place >= end:
            return _BAD, _BAD
        if block[place] != 117:
            arena[at] = _escaped(block[place])
            if arena[at] == 0:
                return _BAD, _BAD
            at += 1
            place += 1
            continue
        code = _hexadecimal(block, place + 1, end)
        place += 5
        if code >= 0xD800 and code < 0xE000:
            if code >= 0xDC00 or place + 6 > end or block[place] != _BACKSLASH or block[place + 1] != 117:
                return _BAD, _BAD
            low = _hexadecimal(block, place + 2, end)
            if low < 0xDC00 or low >= 0xE000:
                return _BAD, _BAD
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
            place += 6
        if code < 0:
            return _BAD, _BAD
        at = _put(code, arena, at)
    return _BAD, _BAD


@compiled()
def _put(code: int, arena: Array, at: int) -> int:
    """Write a code point as UTF-8 and return the position after it."""
    if code < 0x80:
        arena[at] = code
        return at + 1
    if code < 0x800:
        arena[at] = 0xC0 | code >> 6
        arena[at + 1] = 0x80 | code & 0x3F
        return at + 2
    if code < 0x10000:
        arena[at] = 0xE0 | code >> 12
        arena[at + 1] = 0x80 | code >> 6 & 0x3F
        arena[at + 2] = 0x80 | code & 0x3F
        return at + 3
    arena[at] = 0xF0 | code >> 18
    arena[at + 1] = 0x80 | code >> 12 & 0x3F
    arena[at + 2] = 0x80 | code >> 6 & 0x3F
    arena[at + 3] = 0x80 | code & 0x3F
    return at + 4


@compiled()
def _escaped(byte: int) -> Any:
    """Return the character of an escape such as ``n``; 0 if there is none."""
    if (byte == _QUOTE) | (byte == _BACKSLASH) | (byte == 47):
        return np.int64(byte)
    if byte == 110:
        return np.int64(10)
    if byte == 116:
        return np.int64(9)
    if byte == 114:
        return np.int64(13)
    if byte == 98:
        return np.int64(8)
    if byte == 102:
        return np.int64(12)
    return np.int64(0)


@compiled()
def _hexadecimal(block: Array, place: int, end: int) -> Any:
    """Return the value of four hexadecimal digits, or -1."""
    if place + 4 > end:
        return _BAD
    code: Any = 0
    for i in range(4):
        byte = np.int64(block[place + i])
        if byte >= 48 and byte <= 57:
            digit = byte - 48
        elif (byte | 32) >= 97 and (byte | 32) <= 102:
            digit = (byte | 32) - 87
        else:
            return _BAD
        code = code << 4 | digit
    return code


@compiled()
def _code_point_size(block: Array, place: int, end: int) -> int:
    """Return the number of bytes of a code point in UTF-8; 0 if they are not valid."""
    first = np.int64(block[place])
    if first < 0xC2 or first > 0xF4:
        return 0
    size = 2 if first < 0xE0 else (3 if first < 0xF0 else 4)
    if place + size > end:
        return 0
    for i in range(1, size):
        if block[place + i] & 0xC0 != 0x80:
            return 0
    second = np.int64(block[place + 1])
    if (first == 0xE0 and second < 0xA0) or (first == 0xED and second >= 0xA0):
        return 0
    if (first == 0xF0 and second < 0x90) or (first == 0xF4 and second >= 0x90):
        return 0
    return size


@compiled()
def _scalar(  # noqa: C901 - compiled: one pass over the digits
    block: Array, place: int, end: int
) -> int:
    """Return the position after a number, true, false or null; -1 if there is none."""
    byte = block[place]
    if byte == 116:
        return _word(block, place, end, 4, 0x65757274)
    if byte == 110:
        return _word(block, place, end, 4, 0x6C6C756E)
    if byte == 102:
        return _word(block, place + 1, end, 4, 0x65736C61)
    if byte == 45:
        place += 1
    digits = _digits(block, place, end)
    if digits == 0 or (digits > 1 and block[place] == 48):
        return _BAD
    place += digits
    if place < end and block[place] == 46:
        digits = _digits(block, place + 1, end)
        if digits == 0:
            return _BAD
        place += 1 + digits
    if place < end and (block[place] | 32) == 101:
        place += 1
        if place < end and (block[place] == 43 or block[place] == 45):
            place += 1
        digits = _digits(block, place, end)
        if digits == 0:
            return _BAD
        place += digits
    return place


@compiled()
def _word(block: Array, place: int, end: int, size: int, letters: int) -> int:
    if place + size > end:
        return _BAD
    for i in range(size):
        if np.int64(block[place + i]) != letters >> (8 * i) & 0xFF:
            return _BAD
    return place + size


@compiled()
def _digits(block: Array, place: int, end: int) -> int:
    begin = place
    while place < end and block[place] >= 48 and block[place] <= 57:
        place += 1
    return place - begin
