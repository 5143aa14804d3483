"""Limits for the width and depth of the rows of a text table.

Types are inferred from the rows. So every key adds a column to all rows, and every level of nesting another type: 900
levels in 5 KB took 6.5 GB and 39 s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from factcensus.indexer.errors import InputError

#: Maximum nesting depth of lists and objects in one cell.
MOST_NESTING = 32
_NESTED = frozenset({dict, list})


class ShapeError(InputError):
    """The rows of a table are too wide or too deep."""


class Shape:
    """The columns of all rows so far, including fields of objects, with their limits.

    Args:
        nesting: Maximum depth of lists and objects in one cell.
        columns: Maximum number of columns of all rows together; None for no limit.
        name_chars: Maximum number of characters of a column name; None for no limit.
        line_bytes: Maximum number of bytes of a row of JSON Lines; None for no limit.
    """

    def __init__(
        self,
        nesting: int = MOST_NESTING,
        *,
        columns: int | None = None,
        name_chars: int | None = None,
        line_bytes: int | None = None,
    ) -> None:
        self._nesting, self._most, self._name_chars, self._line_bytes = nesting, columns, name_chars, line_bytes
        self._top: set[str] = set()
        self._inner: set[tuple[str | None, ...]] = set()

    def lines(self, file: BinaryIO) -> Iterator[bytes]:
        """Yield the lines of a file.

        Raises:
            ShapeError: A line is too long; the rest of it is not read.
        """
        if self._line_bytes is None:
            yield from file
            return
        number = 0
        while line := file.readline(self._line_bytes + 1):
            number += 1
            if len(line) > self._line_bytes:
                raise ShapeError(
                    f"line {number} has more than {self._line_bytes} bytes; write each row in a separate line"
                )
            yield line

    def check(self, row: Mapping[str, Any]) -> None:
        """Add the columns of another row.

        Raises:
            ShapeError: There are too many columns, or a column is too deep, or its name is too long.
        """
        if not row.keys() <= self._top:
            for name in row.keys() - self._top:
                self._check_name(name)
            self._top |= row.keys()
            self._check_number()
        for name, value in row.items():
            if type(value) in _NESTED:
                self._walk(name, value)

    def _walk(self, name: str, cell: dict[str, Any] | list[Any]) -> None:
        waiting: list[tuple[Any, tuple[str | None, ...]]] = [(cell, (name,))]
        while waiting:
            value, path = waiting.pop()
            if len(path) > self._nesting:
                raise ShapeError(
                    f"column {name[:100]!r} is nested more than {self._nesting} levels deep; write it as text, or "
                    "remove it"
                )
            if type(value) is dict:
                for key in value:
                    if (*path, key) not in self._inner:
                        self._check_name(key)
                        self._inner.add((*path, key))
                self._check_number()
                waiting += [(each, (*path, key)) for key, each in value.items() if type(each) in _NESTED]
            else:
                inner = (*path, None)
                waiting += [(each, inner) for each in value if type(each) in _NESTED]

    def _check_number(self) -> None:
        if self._most is not None and len(self._top) + len(self._inner) > self._most:
            raise ShapeError(
                f"the table has more than {self._most} columns, including fields of objects; remove those that "
                "counting does not need"
            )

    def _check_name(self, name: str) -> None:
        if self._name_chars is not None and len(name) > self._name_chars:
            raise ShapeError(
                f"the column name {name[:60]!r}… has {len(name)} characters, more than {self._name_chars}; rename it"
            )
