"""Remarks about doubtful cells and columns of a fact table, which are still read as written."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.compute import call_function as compute

from factcensus.indexer.numbers import counted
from factcensus.indexer.tables.columns import LIST_COLUMNS, TEXT_COLUMNS, misspelt_columns
from factcensus.indexer.tables.values import is_list, looks_like_broken_list

#: Words that programs such as R, spreadsheets, pandas and SQL write for null.
_NULL_WORDS = frozenset(("NA", "N/A", "#N/A", "<NA>", "nan", "NaN", "NULL", "null", "None"))

#: Maximum number of aliases that are looked up in the index for a hint.
_MOST_ASKED = 1000
_SEPARATORS = frozenset(",;")
#: Number of words from which an object is probably a sentence, such as an answer, and not a name.
_LONG = 12
#: Minimum number of questions for a remark about most of them.
_LEAST_ASKED = 10


def remarks(raw: pa.Table, facts: pa.Table) -> Iterable[str]:
    """Yield remarks about doubtful columns and cells."""
    for name, known in misspelt_columns(facts.column_names).items():
        yield f"the column {name!r} is copied but not used; if you meant {known!r}, rename it: --columns {known}={name}"
    for name in TEXT_COLUMNS:
        if name in facts.column_names and pa.types.is_floating(raw.schema.field(name).type):
            yield (
                f"the column {name!r} has floating-point numbers, which lose their spelling (3.10 becomes 3.1); store "
                "it as text if the spelling matters"
            )
    yield from _doubtful_texts(facts)
    yield from _doubtful_facts(facts)
    for name in LIST_COLUMNS:
        if name in facts.column_names and is_list(facts.schema.field(name).type):
            lists = facts[name].to_pylist()
            broken = [row for row, cell in enumerate(lists, 1) if cell and looks_like_broken_list(cell[0])]
            if broken:
                what = "begins like a list but is not a valid list, so it"
                if len(broken) > 1:
                    what = "begin like a list but are not valid lists, so each"
                yield (
                    f"{counted(len(broken), 'cell')} of {name!r} {what} is read as one text (first: row {broken[0]})"
                )


def _doubtful_texts(facts: pa.Table) -> Iterable[str]:
    """Yield remarks about texts that may mean null, or that have surrounding spaces."""
    for name in (*TEXT_COLUMNS, *LIST_COLUMNS):
        if name not in facts.column_names:
            continue
        several = is_list(facts[name].type)
        column = _items(facts[name]) if several else facts[name]
        options = pc.SetLookupOptions(value_set=pa.array(sorted(_NULL_WORDS), column.type))
        found = column.filter(compute("is_in", [column], options))
        if len(found):
            yield (
                f"{counted(len(found), 'text' if several else 'cell')} of {name!r} "
                f"{'is' if len(found) == 1 else 'are'} the word {found[0].as_py()!r}, "
                "which is read as text; if it means a missing value, leave the cell empty"
            )
        padded = column.filter(compute("not_equal", [compute("utf8_trim_whitespace", [column]), column]))
        if len(padded) and not several:
            yield (
                f"{counted(len(padded), 'cell')} of {name!r} {'has' if len(padded) == 1 else 'have'} spaces around the "
                f"text, which are kept (first: {padded[0].as_py()!r:.60}); remove them if they are unintended"
            )


def _doubtful_facts(facts: pa.Table) -> Iterable[str]:
    """Yield remarks about objects that are sentences, and questions that fit several objects, or not the subject."""
    objects = facts["object"]
    long = objects.filter(compute("greater_equal", [_count_spaces(objects), _LONG - 1]))
    if len(long):
        yield (
            f"{counted(len(long), 'object')} {'has' if len(long) == 1 else 'have'} {_LONG} words or more (such as "
            f"{long[0].as_py()!r:.80}); only documents with exactly these words count, so give the name itself as "
            "object and the sentence as answer"
        )
    if "question" not in facts.column_names:
        return
    asked = facts.select(["question", "object"]).group_by("question").aggregate([("object", "count_distinct")])
    several = asked.filter(compute("greater", [asked["object_count_distinct"], 1]))["question"].drop_null()
    if len(several):
        yield (
            f"{counted(len(several), 'question')} {'occurs' if len(several) == 1 else 'occur'} with several objects "
            f"(such as {several[0].as_py()!r:.80}); each row accepts only its own object and aliases as answer"
        )
    yield from _questions_about_others(facts)


def _count_spaces(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return compute("count_substring", [texts], pc.MatchSubstringOptions(" "))


def _questions_about_others(facts: pa.Table) -> Iterable[str]:
    """Yield a remark if most questions do not contain the subject, so that it may be the subject of something else."""
    aliases = facts["subject_aliases"].to_pylist() if "subject_aliases" in facts.column_names else [None] * len(facts)
    asked = others = first = 0
    rows = zip(facts["question"].to_pylist(), facts["subject"].to_pylist(), aliases, strict=True)
    for row, (question, subject, names) in enumerate(rows, 1):
        text = question.casefold() if question else ""
        if text:
            asked += 1
            if not any(name.casefold() in text for name in (subject, *(names or ()))):
                others += 1
                first = first or row
    if asked >= _LEAST_ASKED and others > asked / 2:
        yield (
            f"{others:,} of {counted(asked, 'question')} do not contain the subject or an alias (first: row {first}); "
            "check that the column 'subject' names the subject of each fact"
        )


def _items(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type)


def unmatched_commas(counts: pa.Table, occurs: Callable[[str], bool] | None = None) -> str | None:
    """Return a hint about names and aliases with a comma or semicolon that match nothing; often the separator is wrong.

    Args:
        counts: A counts table.
        occurs: A function that returns whether a text occurs; without it, only names and aliases of entities without
            mentions are checked.
    """
    names: dict[str, None] = {}
    listed: dict[str, None] = {}
    asked: set[str] = set()
    for role in ("subject", "object"):
        aliases = f"{role}_aliases"
        several = counts[aliases].to_pylist() if aliases in counts.column_names else [None] * counts.num_rows
        mentions = counts[f"{role}_mentions"].to_pylist()
        for name, others, number in zip(counts[role].to_pylist(), several, mentions, strict=True):
            if not number and _SEPARATORS & set(name):
                names[name] = None
            for alias in others or ():
                if not _SEPARATORS & set(alias) or alias in asked:
                    continue
                if not number:
                    listed[alias] = None
                elif occurs is not None and len(asked) < _MOST_ASKED:
                    asked.add(alias)
                    if not occurs(alias):
                        listed[alias] = None
    found = listed | names
    if not found:
        return None
    remedy = "separate lists by | or write them as JSON" if listed else "give their other spellings as aliases"
    return (
        f"{counted(len(found), 'name or alias', 'names or aliases')} with a comma or semicolon "
        f"{'matches' if len(found) == 1 else 'match'} nothing (such as {next(iter(found))[:60]!r}); {remedy}"
    )
