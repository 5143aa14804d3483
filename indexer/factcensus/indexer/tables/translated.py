"""Tables of published shapes (:mod:`published`) as fact tables: their columns under our names.

Values inside lists and objects are translated in batches of rows, so that the memory for Python values is limited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from factcensus.indexer.errors import InputError
from factcensus.indexer.numbers import also_rows
from factcensus.indexer.tables.columns import ASKED_LIST_COLUMNS, LIST_COLUMNS, plain
from factcensus.indexer.tables.published import PublishedShape, shape_of, sources
from factcensus.indexer.tables.values import as_list, python_values, texts_of

#: Rows translated at a time.
BATCH_ROWS = 10_000
_SEPARATOR = "[SEP]"
#: The columns of one row by their names in lower case.
Cells = Mapping[str, Any]


def recognised(table: pa.Table) -> tuple[pa.Table, dict[str, str]]:
    """Return a table with our names of the columns if it has a published shape, and unchanged otherwise.

    Returns:
        The table, and the columns of the given table by the names that they have here, for messages.

    Raises:
        InputError: A value does not have the form of its shape; the message names row and field.
    """
    names = tuple(table.column_names)
    shape = shape_of(names)
    if shape is None:
        return table, {}
    found = sources(shape, names)
    renamed = {theirs: ours for ours, theirs in found.items() if plain(theirs) in shape.renamed}
    made = _translated(table, shape, found)
    kept = [name for name in names if plain(name) not in shape.translated or name not in found.values()]
    read = table.select(kept).rename_columns([renamed.get(name, name) for name in kept])
    for ours, theirs in found.items():
        if plain(theirs) in shape.copied and ours not in read.column_names:
            read = read.append_column(ours, table[theirs])
    for ours, column in made.items():
        read = read.append_column(ours, column)
    return read.replace_schema_metadata(table.schema.metadata), found


def _translated(table: pa.Table, shape: PublishedShape, found: Mapping[str, str]) -> dict[str, pa.ChunkedArray]:
    """Return our columns that are made of values of theirs; those without any value are left out."""
    if shape.translation is None:
        return {}
    read = _TRANSLATIONS[shape.translation]
    wanted = [ours for ours, theirs in found.items() if plain(theirs) in shape.translated]
    chunks: dict[str, list[pa.Array]] = {name: [] for name in wanted}
    wrong = _WrongRows()
    for first, rows in _batches(table.select([name for name in table.column_names if plain(name) in shape.translated])):
        translated: list[dict[str, Any]] = []
        for row, cells in enumerate(rows, first):
            with wrong.collected(row):
                translated.append(read(cells, row))
        for name in () if wrong else wanted:
            chunks[name].append(_array([row.get(name) for row in translated], name, first))
    wrong.check()
    columns = {name: pa.chunked_array(arrays, _kind(name)) for name, arrays in chunks.items()}
    return {name: column for name, column in columns.items() if column.null_count < len(column) or not len(column)}


class _WrongRows:
    """The first wrong row of a table, and further rows with the same error."""

    def __init__(self) -> None:
        self._first: InputError | None = None
        self._kind = ""
        self._further: list[int] = []

    def __bool__(self) -> bool:
        return self._first is not None

    @contextmanager
    def collected(self, row: int) -> Iterator[None]:
        """Keep the error of a row."""
        try:
            yield
        except InputError as error:
            kind = str(error).removeprefix(f"row {row} ").partition(", got ")[0]
            if self._first is None:
                self._first, self._kind = error, kind
            elif kind == self._kind:
                self._further.append(row)

    def check(self) -> None:
        """Check that no row is wrong.

        Raises:
            InputError: A row is wrong; the message names it and further rows.
        """
        if self._first is not None:
            raise InputError(f"{self._first}{also_rows(self._further)}") from self._first


def _batches(table: pa.Table) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield the number of the first row and the rows of each batch."""
    names = [plain(name) for name in table.column_names]
    for start in range(0, table.num_rows, BATCH_ROWS):
        piece = table.slice(start, BATCH_ROWS)
        columns = [python_values(piece[name], name) for name in table.column_names]
        yield start + 1, [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _kind(name: str) -> pa.DataType:
    return pa.list_(pa.string()) if name in (*LIST_COLUMNS, *ASKED_LIST_COLUMNS) else pa.string()


def _array(values: list[Any], name: str, first: int) -> pa.Array:
    kind = _kind(name)
    return pa.array(
        [each or None for each in values] if pa.types.is_list(kind) else texts_of(values, name, first), kind
    )


def _edit(cells: Cells, row: int) -> dict[str, Any]:
    """Translate an edit of zsRE: ``alt`` is the new, wrong answer."""
    right = _answers(cells["answers"], "answers", row)
    wrong = [each for each in as_list(_alone(cells.get("alt")), "alt", row) or [] if each not in right]
    return {"object": right[0], "object_aliases": right[1:], "distractors": wrong}


def _slot(cells: Cells, row: int) -> dict[str, Any]:
    """Translate a question of KILT's slot filling, whose input is ``subject [SEP] relation``."""
    given = cells["input"]
    subject, separator, relation = str(given or "").partition(_SEPARATOR)
    if not isinstance(given, str) or not separator or not subject.strip():
        expected = (
            f"'subject {_SEPARATOR} relation', as in KILT's zsRE and T-REx (other tables need subject and object)"
        )
        raise _wrong(row, "input", given, expected)
    outputs = cells["output"]
    if not isinstance(outputs, list) or not all(isinstance(each, dict) for each in outputs):
        raise _wrong(row, "output", outputs, "a list of objects with 'answer'")
    right = _answers([each.get("answer") for each in outputs], "output.answer", row)
    meta = cells.get("meta") or {}
    if not isinstance(meta, dict):
        raise _wrong(row, "meta", meta, "an object")
    asked = _texts(meta.get("template_questions"), "meta.template_questions", row)
    aliases = _texts(meta.get("subj_aliases"), "meta.subj_aliases", row)
    return {
        "subject": subject.strip(),
        "relation": relation.strip() or None,
        "object": right[0],
        "object_aliases": right[1:],
        "question": asked[0] if asked else None,
        "paraphrases": asked[1:],
        "subject_aliases": [alias for alias in aliases if alias != subject.strip()],
    }


def _rewrite(cells: Cells, row: int) -> dict[str, Any]:
    """Translate a record of CounterFact: the true object and the sentence up to it, and the false one."""
    given = cells["requested_rewrite"]
    if not isinstance(given, dict):
        raise _wrong(row, "requested_rewrite", given, "an object with 'prompt', 'subject' and 'target_true'")
    subject, prompt, true, new, relation = (
        _text(_target(given.get(name)), f"requested_rewrite.{name}", row)
        for name in ("subject", "prompt", "target_true", "target_new", "relation_id")
    )
    for name, value in (("subject", subject), ("target_true", true)):
        if not value:
            raise _wrong(row, f"requested_rewrite.{name}", given.get(name), "a text")
    if prompt and "{}" not in prompt:
        raise _wrong(row, "requested_rewrite.prompt", prompt, "a text with {} in the place of the subject")
    return {
        "subject": subject,
        "object": true,
        "relation": relation,
        "cloze": prompt.replace("{}", subject or "") if prompt else None,
        "distractors": [new] if new and new != true else [],
    }


def _given_answers(cells: Cells, row: int) -> dict[str, Any]:
    right = _answers(cells["answers"], "answers", row)
    return {"object": right[0], "object_aliases": right[1:]}


_TRANSLATIONS: dict[str, Callable[[Cells, int], dict[str, Any]]] = {
    "edits": _edit,
    "slots": _slot,
    "rewrites": _rewrite,
    "answers": _given_answers,
}


def _answers(value: Any, field: str, row: int) -> list[str]:
    """Return the accepted answers, each once, at least one."""
    found = _texts(value, field, row)
    if not found:
        raise InputError(
            f"row {row} of the fact table: {field!r} has no answer, but the first answer is the object of the fact; "
            "add one, or remove the row"
        )
    return found


def _texts(value: Any, field: str, row: int) -> list[str]:
    return list(dict.fromkeys(as_list(value, field, row) or []))


def _text(value: Any, field: str, row: int) -> str | None:
    (text,) = texts_of([value], field, row)
    return text.strip() or None if text is not None else None


def _target(value: Any) -> Any:
    return value.get("str") if isinstance(value, dict) else value


def _alone(value: Any) -> Any:
    """Return a single value as a list, even a text that looks like a list."""
    return value if value is None or isinstance(value, list) else [value]


def _wrong(row: int, field: str, value: Any, expected: str) -> InputError:
    return InputError(f"row {row} of the fact table: {field!r} must be {expected}, got {value!r:.60}")
