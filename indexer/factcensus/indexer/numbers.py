"""Numbers as people write them in options, settings, requests and tables, and as messages show them.

Python's ``int`` and ``float`` also read ``1_0``, ``１０`` and padding, so a misspelt number could pass as another one.
Here only ASCII digits are numbers. Everything that reads a number from a text uses this module.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from factcensus.indexer.errors import InputError

_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_DECIMAL = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
#: An integer in a cell of a table: without leading zeros, because ``007`` is a code; programs write ``12.0`` for 12.
_CELL = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0)?", re.ASCII)
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?: ?([A-Za-z]+))?", re.ASCII)
_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", 1)}
_UNITS |= {f"{prefix}IB": 1024**power for power, prefix in enumerate("KMGT", 1)}


def whole_number(text: str, least: int | None = 0, most: int | None = None) -> int:
    """Return an integer of at most 18 digits, from ``least`` to ``most``; None for no bound.

    Raises:
        ValueError: The text is not such a number; the message states what was expected.
    """
    number = int(text) if _WHOLE.fullmatch(text) else None
    if number is None or (least is not None and number < least) or (most is not None and number > most):
        bounds = "" if least is None else f" of at least {least}" if most is None else f" from {least} to {most}"
        raise ValueError(f"expected an integer{bounds}, got {text!r}")
    return number


def decimal_number(text: str) -> float:
    """Return a finite decimal number, such as ``2``, ``0.5`` or ``1e-5``.

    Raises:
        ValueError: The text is not such a number.
    """
    number = float(text) if _DECIMAL.fullmatch(text) else math.inf
    if not math.isfinite(number):
        raise ValueError(f"expected a number, got {text!r}")
    return number


def whole_cell(text: str) -> int:
    """Return the integer in a cell of a table: ``12`` or ``12.0``, but not ``012``, which is a code.

    Raises:
        ValueError: The text is not an integer.
    """
    found = _CELL.fullmatch(text)
    if found is None:
        raise ValueError(f"expected an integer, got {text!r}")
    return int(found[1])


def parse_size(text: str) -> int:
    """Return the number of bytes of a size such as 8GiB, 500MB or 1048576.

    Raises:
        InputError: The text is not a size.
    """
    found = _SIZE.fullmatch(text)
    size = float(found[1]) * _UNITS.get((found[2] or "").upper(), 0) if found else 0.0
    if not 1 <= size < 1 << 63:
        raise InputError(f"invalid size {text!r}; write it like 8GiB, 500MB or a number of bytes")
    return int(size)


def counted(number: int, one: str, several: str | None = None) -> str:
    """Return a number with its noun: ``1 fact``, ``1,000 facts``; give the plural if it is not ``one`` and s."""
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def also_rows(rows: Sequence[int]) -> str:
    """Return a remark about further rows: `` (also in rows 3, 4, 5 and 2 more)``; empty without any."""
    if not rows:
        return ""
    listed, more = ", ".join(map(str, rows[:5])), len(rows) - 5
    return f" (also in {'row' if len(rows) == 1 else 'rows'} {listed}{f' and {more:,} more' if more > 0 else ''})"


def size_text(size_bytes: float) -> str:
    """Format a size in decimal units, such as 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size_bytes < 1000 or unit == "TB":
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    raise AssertionError


def duration_text(seconds: float) -> str:
    """Format a duration, such as 42 s or 3:05 min."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{clock_text(seconds)} min"


def clock_text(seconds: float) -> str:
    """Format seconds as minutes and seconds, such as 3:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
