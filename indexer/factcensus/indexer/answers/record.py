"""The base of all answers, and the helpers they share: JSON, groups, tables for notebooks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any, ClassVar, TypeVar

Json = dict[str, Any]
Counts = TypeVar("Counts")
#: Maximum rows of a table in a notebook.
MOST_ROWS = 50


class Answer:
    """A frozen record that can be written as JSON."""

    __slots__ = ()
    #: Read by pydantic: the OpenAPI document of the service describes a field with the string below it.
    __pydantic_config__: ClassVar[Mapping[str, bool]] = {"use_attribute_docstrings": True}

    @abstractmethod
    def as_json(self) -> Json:
        """Return the JSON object that the command line prints and the service sends."""


def grouped_json(by: str | None, groups: Mapping[str, Answer | int] | None) -> Json:
    """Return ``{"by_COLUMN": {value: counts}}`` for answers grouped by a column; empty without groups."""
    if by is None or groups is None:
        return {}
    counted = {value: each if isinstance(each, int) else each.as_json() for value, each in groups.items()}
    return {f"by_{by}": counted}


def groups_from(
    json: Mapping[str, Any], read: Callable[[Any], Counts]
) -> tuple[str, dict[str, Counts]] | tuple[None, None]:
    """Return the column and the groups in the JSON of an answer; None twice without groups."""
    for key, groups in json.items():
        if key.startswith("by_") and groups is not None:
            return key.removeprefix("by_"), {value: read(counts) for value, counts in groups.items()}
    return None, None


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return an HTML table; texts are escaped, numbers have thousands separators and are aligned to the right."""
    shown = list(rows)
    lines = [f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in shown[:MOST_ROWS]]
    if len(shown) > MOST_ROWS:
        lines.append(f'<tr><td colspan="{len(header)}">… and {len(shown) - MOST_ROWS:,} more rows</td></tr>')
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{''.join(lines)}</table>"


def _cell(value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f'<td style="text-align: right">{value:,}</td>'
    return f"<td>{'' if value is None else escape(str(value))}</td>"
