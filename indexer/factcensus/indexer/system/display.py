"""Text in the columns of a terminal, where a Chinese character or an emoji takes two and a combining mark none."""

from __future__ import annotations

import unicodedata

#: Characters that end or change the direction of the text around them; they are not part of a name.
_DIRECTIONS = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
#: Control characters, which could move the cursor or change colours.
_CONTROLS = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)])
_NOT_SHOWN = _DIRECTIONS | _CONTROLS
_FIRST_STRONG_ISOLATE, _END_OF_ISOLATE = "\u2068", "\u2069"
_RIGHT_TO_LEFT = ("R", "AL", "AN")


def display_width(text: str) -> int:
    """Return the number of columns that a terminal needs for a text without control characters."""
    if text.isascii():
        return len(text)
    from wcwidth import wcswidth  # its tables take a few milliseconds to load

    return max(wcswidth(text), 0)


def pad_right(text: str, columns: int) -> str:
    """Add spaces after a text until it is as wide as ``columns``."""
    return text + " " * (columns - display_width(text))


def pad_left(text: str, columns: int) -> str:
    """Add spaces before a text until it is as wide as ``columns``."""
    return " " * (columns - display_width(text)) + text


def cut(text: str, columns: int) -> str:
    """Return a text that is at most as wide as ``columns``; a longer one ends with an ellipsis."""
    if display_width(text) <= columns:
        return text
    end = min(len(text), max(columns, 1))
    while end and (display_width(text[:end]) >= columns or _continues(text, end)):
        end -= 1
    return text[:end] + "…"


def on_one_line(text: str) -> str:
    """Return a text without line breaks, control characters and characters that change its direction."""
    line = " ".join(text.split())
    return line if line.isascii() and line.isprintable() else line.translate(_NOT_SHOWN)


def isolated(text: str) -> str:
    """Return a text that leaves the order of its neighbours unchanged, even if it is written from right to left.

    Without the two invisible characters around it, an Arabic or Hebrew name reverses the numbers after it, and a line
    that begins with it is shown from right to left as a whole.
    """
    if text.isascii() or not any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in text):
        return text
    return f"{_FIRST_STRONG_ISOLATE}{text}{_END_OF_ISOLATE}"


def _continues(text: str, at: int) -> bool:
    """Return whether the character at a position belongs to the one before it, such as an accent or a joined emoji."""
    if at >= len(text):
        return False
    is_part = unicodedata.category(text[at]) in ("Mn", "Me", "Mc", "Cf") or "🏻" <= text[at] <= "🏿"
    return is_part or text[at - 1] == "\u200d"
