"""Compiled reading of strings and numbers in JSON, as strict as the readers in Python.

A function returns -1, or 0 where stated, for everything that is not valid or unusual; the caller leaves such a line to
Python.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from factcensus.indexer.arrays import Array
from factcensus.indexer.kernels.compiled import compiled

QUOTE, BACKSLASH = 34, 92
_BAD = -1
#: Spare bytes at the end of an array into which strings are copied.
SPARE = 16
_EIGHT = 8
# The same byte eight times.
_ONES = np.uint64(0x0101010101010101)
_BIT_7 = np.uint64(0x8080808080808080)
_QUOTES = np.uint64(0x2222222222222222)
_BACKSLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_SPACES = np.uint64(0x2020202020202020)
_NONE = np.uint64(0)


@compiled()
def plain_string(block: Array, place: int, end: int) -> int:
    """Return the end of a string of valid UTF-8 without escapes, or -1."""
    while place < end:
        byte = block[place]
        if byte == QUOTE:
            return place
        if byte < 32 or byte == BACKSLASH:
            return _BAD
        size = 1 if byte < 128 else _code_point_size(block, place, end)
        if size == 0:
            return _BAD
        place += size
    return _BAD


@compiled()
def copy_string(  # noqa: C901, PLR0912 - compiled: one loop over the characters
    block: Array, eight: Array, place: int, end: int, arena: Array, arena_eight: Array, at: int, written: bool
) -> tuple[int, int]:
    """Copy a string to the arena.

    Args:
        block: The lines.
        eight: ``block`` by :func:`eights`.
        place: The first byte of the string, after its quotation mark.
        end: The end of the line.
        arena: The array to which the string is copied, with ``SPARE`` bytes at its end.
        arena_eight: ``arena`` by :func:`eights`.
        at: The place in the arena.
        written: Copy the string as orjson writes it, without quotation marks; otherwise its characters.

    Returns:
        The position after the quotation mark that ends the string, and the end in the arena; -1 and -1 if the string is
        invalid or has a lone surrogate.
    """
    while place < end:
        while place + _EIGHT <= end and _is_plain(eight[place]):
            arena_eight[at] = eight[place]
            place += _EIGHT
            at += _EIGHT
        if place >= end:
            break
        byte = block[place]
        if byte == QUOTE:
            return place + 1, at
        if byte >= 32 and byte < 128 and byte != BACKSLASH:
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
        code: Any = _escaped(block[place])
        if block[place] != 117:
            if code == 0:
                return _BAD, _BAD
            place += 1
        else:
            code = _hexadecimal(block, place + 1, end)
            place += 5
            if code >= 0xD800 and code < 0xE000:
                if code >= 0xDC00 or place + 6 > end or block[place] != BACKSLASH or block[place + 1] != 117:
                    return _BAD, _BAD
                low = _hexadecimal(block, place + 2, end)
                if low < 0xDC00 or low >= 0xE000:
                    return _BAD, _BAD
                code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)
                place += 6
            if code < 0:
                return _BAD, _BAD
        if written and (code < 32 or code in (QUOTE, BACKSLASH)):
            at = _put_escaped(code, arena, at)
        else:
            at = _put(code, arena, at)
    return _BAD, _BAD


@compiled(inline="always")
def _is_plain(eight: Any) -> Any:
    """Return whether eight bytes are ASCII without quotation marks, backslashes and control characters."""
    quotes, backslashes = eight ^ _QUOTES, eight ^ _BACKSLASHES
    special = (quotes - _ONES) & ~quotes | (backslashes - _ONES) & ~backslashes | (eight - _SPACES) & ~eight | eight
    return special & _BIT_7 == _NONE


@compiled()
def _put_escaped(code: int, arena: Array, at: int) -> int:
    """Write a control character, quotation mark or backslash as orjson does, and return the position after it."""
    letter = _letter_of(code)
    arena[at] = BACKSLASH
    if letter != 0:
        arena[at + 1] = letter
        return at + 2
    arena[at + 1] = 117
    arena[at + 2] = 48
    arena[at + 3] = 48
    arena[at + 4] = 48 + (code >> 4)
    arena[at + 5] = (code & 15) + (48 if code & 15 < 10 else 87)
    return at + 6


@compiled()
def _letter_of(code: int) -> int:
    """Return the letter of the short escape of a character; 0 if it has none."""
    if code in (QUOTE, BACKSLASH):
        return code
    if code == 10:
        return 110
    if code == 9:
        return 116
    if code == 13:
        return 114
    if code == 8:
        return 98
    return 102 if code == 12 else 0


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
    if (byte == QUOTE) | (byte == BACKSLASH) | (byte == 47):
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
def scalar(  # noqa: C901 - compiled: one pass over the digits
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


@compiled()
def is_as_written(block: Array, place: int, end: int) -> bool:
    """Return whether orjson would write a scalar back with exactly these characters; False if this is hard to decide.

    It is True for words, for integers of up to 18 digits, and for decimals of up to 15 digits that are not very small
    and do not end with a needless zero.
    """
    negative = block[place] == 45
    if negative:
        place += 1
    if block[place] > 57:  # true, false or null
        return True
    digits = _digits(block, place, end)
    zero = block[place] == 48
    if place + digits == end:
        return digits <= 18 and not (negative and zero)
    first = place + digits + 1
    decimals = _digits(block, first, end)
    if block[first - 1] != 46 or first + decimals != end or digits + decimals > 15:
        return False
    if decimals == 1:
        return True
    if block[end - 1] == 48:
        return False
    return not zero or block[first] != 48 or block[first + 1] != 48 or (decimals > 2 and block[first + 2] != 48)
