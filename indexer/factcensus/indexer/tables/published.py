"""Published tables of questions whose columns have other names: they are read as they are.

The paper on frequency and unlearning (arXiv:2504.05058) has splits with ``question, answer, country, capital, count``,
files of questions with ``direct_question, direct_answer, paraphrased_question, country, capital``, and biographies with
``NAME, question, answer, qa``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from factcensus.indexer.tables.columns import REQUIRED, plain


@dataclass(frozen=True, slots=True)
class _Shape:
    """A kind of table: columns that it must have, and their names here.

    Attributes:
        needed: All columns that identify the shape, in lower case.
        reading: Our names of columns by theirs.
        copied: Our names of further columns that repeat one of theirs.
    """

    needed: frozenset[str]
    reading: Mapping[str, str]
    copied: Mapping[str, str] = field(default_factory=dict)


#: Names of questions and answers before the splits were made.
_ASKED = {"direct_question": "question", "direct_answer": "answer", "paraphrased_question": "paraphrase"}
_SHAPES = (
    _Shape(frozenset(("country", "capital")), {"country": "subject", "capital": "object", **_ASKED}),
    _Shape(frozenset(("name", "question", "answer", "qa")), {"name": "subject"}, {"answer": "object"}),
)


def recognised(table: pa.Table) -> pa.Table:
    """Return a table with our names of the columns if it has a published shape, and unchanged otherwise."""
    shape = _shape_of(table.column_names)
    if shape is None:
        return table
    names = _names(shape, table.column_names)
    read = table.rename_columns(names).replace_schema_metadata(table.schema.metadata)
    for theirs, ours in shape.copied.items():
        read = read.append_column(ours, read[names[[plain(name) for name in table.column_names].index(theirs)]])
    return read


def reading(names: Sequence[str]) -> str | None:
    """Return a sentence about how columns of a published shape are read; None for other tables."""
    shape = _shape_of(names)
    if shape is None:
        return None
    pairs = [(theirs, ours) for theirs, ours in zip(names, _names(shape, names), strict=True) if theirs != ours]
    pairs += [(theirs, ours) for theirs, ours in shape.copied.items()]
    return "reads " + ", ".join(f"{theirs!r} as {ours!r}" for theirs, ours in pairs)


def _shape_of(names: Sequence[str]) -> _Shape | None:
    there = {plain(name) for name in names}
    if there & {*REQUIRED} or len(there) < len(names):
        return None
    return next((shape for shape in _SHAPES if shape.needed <= there), None)


def _names(shape: _Shape, names: Sequence[str]) -> list[str]:
    """Return our names of all columns; a column whose name here is taken keeps its own."""
    there = {plain(name) for name in names}
    return [name if (ours := shape.reading.get(plain(name))) is None or ours in there else ours for name in names]
