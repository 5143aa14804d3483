"""The base of all answers: JSON derived from the fields of a record, and tables for notebooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, fields
from functools import cache
from html import escape
from types import UnionType
from typing import Any, ClassVar, Self, Union, cast, get_args, get_origin, get_type_hints

Json = dict[str, Any]
#: Maximum rows of a table in a notebook.
MOST_ROWS = 50


class Answer:
    """A frozen dataclass with slots that is written as JSON, one key per field in the order of the fields.

    A field with the default None is left out if it is None. The fields ``by`` and ``groups`` are written as one key,
    ``by_COLUMN``. A class that writes other keys has its own ``as_json``, and is not read back.
    """

    __slots__ = ()
    #: Read by pydantic: the OpenAPI document of the service describes a field with the string below it.
    __pydantic_config__: ClassVar[Mapping[str, bool]] = {"use_attribute_docstrings": True}

    def as_json(self) -> Json:
        """Return the JSON object that the command line prints and the service sends."""
        return _functions_of(cast(Any, type(self)))[0](self)

    @classmethod
    def from_json(cls, json: Mapping[str, Any]) -> Self:
        """Return the record for a JSON object that :meth:`as_json` returned; unknown keys are ignored."""
        return cast(Self, _functions_of(cast(Any, cls))[1](json))

    def _repr_html_(self) -> str:
        """Return the fields that ``repr`` shows as a table, for notebooks."""
        shown = [(each.name, getattr(self, each.name)) for each in fields(cast(Any, self)) if each.repr]
        return html_table(type(self).__name__, ["field", "value"], shown)


@cache
def _functions_of(cls: Any) -> tuple[Callable[[Any], Json], Callable[[Mapping[str, Any]], Any]]:
    """Return the functions that write and read a class.

    They are made from source like the methods of a dataclass, because a loop over the fields takes several times as
    long.

    Raises:
        TypeError: The class has its own ``as_json``, or a field that JSON cannot hold.
    """
    if cls.as_json is not Answer.as_json:
        raise TypeError(f"{cls.__name__} cannot be read from JSON")
    names: dict[str, Any] = {"cls": cls, "groups_of": _groups_of}
    types = get_type_hints(cls)
    writes = ", ".join(_write(each, types[each.name], names) for each in fields(cls) if each.name != "by")
    positional_first = sorted(fields(cls), key=lambda each: each.kw_only is True)
    reads = ", ".join(_read(each, types[each.name], names) for each in positional_first)
    column = "    by, groups = groups_of(json)\n" if "groups" in types else ""
    source = f"def write(self):\n    return {{{writes}}}\ndef read(json):\n{column}    return cls({reads})\n"
    exec(source, names)  # noqa: S102 - made of the names of fields and classes
    cls.as_json = names["write"]  # later calls need no look-up
    cls.as_json.__doc__ = Answer.as_json.__doc__
    return names["write"], names["read"]


def _write(each: Field[Any], kind: Any, names: dict[str, Any]) -> str:
    value = f"self.{each.name}"
    if each.name == "groups":
        return (
            f'**({{}} if self.by is None or {value} is None else {{"by_" + self.by: {_each(kind, value, names, 0)}}})'
        )
    pair = f'"{each.name}": {_each(kind, value, names, 0)}'
    return f"**({{}} if {value} is None else {{{pair}}})" if each.default is None else pair


def _read(each: Field[Any], kind: Any, names: dict[str, Any]) -> str:
    if each.name in ("by", "groups"):
        value = each.name
    else:
        value = f'json.get("{each.name}")' if each.default is None else f'json["{each.name}"]'
    read = _each(kind, value, names, 0, read=True)
    return f"{each.name}={read}" if each.kw_only else read


def _each(kind: Any, value: str, names: dict[str, Any], depth: int, *, read: bool = False) -> str:
    """Return the source that converts ``value``, of the type ``kind``, to JSON or reads it from there.

    Args:
        kind: A type whose values are JSON, an answer, None, or a list, a dict or a union of these.
        value: The source of the value.
        names: Receives the functions that the source calls.
        depth: Number of loops around the value.
        read: Read the value from JSON.
    """
    if isinstance(kind, type) and issubclass(kind, Answer):
        write, parse = _functions_of(cast(Any, kind))
        name = f"{'read' if read else 'write'}_{kind.__name__}"
        names[name] = parse if read else write
        return f"{name}({value})"
    inside = [each for each in get_args(kind) if each is not type(None)]
    item = f"each{depth}"
    if not inside or _each(inside[-1], item, names, depth + 1, read=read) == item:
        return value
    converted = _each(inside[-1], item, names, depth + 1, read=read)
    match get_origin(kind):
        case found if found is list:
            return f"[{converted} for {item} in {value}]"
        case found if found is dict:
            return f"{{key: {converted} for key, {item} in {value}.items()}}"
        case found if found in (Union, UnionType) and len(inside) == 1:
            return f"None if {value} is None else {_each(inside[0], value, names, depth, read=read)}"
    raise TypeError(f"an answer cannot have a field of the type {kind}")


def _groups_of(json: Mapping[str, Any]) -> tuple[str, Any] | tuple[None, None]:
    """Return the column and the groups in the JSON of an answer; (None, None) without groups."""
    for key, groups in json.items():
        if key.startswith("by_") and groups is not None:
            return key.removeprefix("by_"), groups
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
