"""Adding the answers of the slices of an index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from factcensus.api.client.tables import LABELS, count_columns
from factcensus.indexer.answers import (
    CooccurrenceAnswer,
    CooccurrenceCounts,
    CountAnswer,
    DocumentsAnswer,
    EntityCounts,
    GroupCounts,
    IndexInfo,
    MentionCounts,
    SourceSize,
    TextCounts,
)

Part = TypeVar("Part")


def add_groups(
    groups: Sequence[Mapping[str, Part] | None], add: Callable[[Part, Part], Part]
) -> dict[str, Part] | None:
    """Add the counts of the same group, in alphabetical order of the groups; None without groups."""
    found: dict[str, Part] = {}
    for each in groups:
        if each is None:
            return None
        for name, counts in each.items():
            found[name] = add(found[name], counts) if name in found else counts
    return dict(sorted(found.items()))


def counts_of(answer: CountAnswer | CooccurrenceAnswer | DocumentsAnswer) -> TextCounts | GroupCounts | int:
    """Return the counts of an answer as those of one group."""
    if isinstance(answer, DocumentsAnswer):
        return answer.total
    if isinstance(answer, CountAnswer):
        return TextCounts(answer.occurrences, answer.documents)
    subject, object_ = (MentionCounts(each.mentions, each.documents) for each in (answer.subject, answer.object))
    return GroupCounts(subject, object_, answer.cooccurrence)


def add_counts(name: str, answers: Sequence[CountAnswer]) -> CountAnswer:
    """Return the counts of a text in all slices, under the name of the index."""
    return replace(
        answers[0],
        index=name,
        occurrences=sum(answer.occurrences for answer in answers),
        documents=sum(answer.documents for answer in answers),
        exact=all(answer.exact for answer in answers),
        groups=add_groups([answer.groups for answer in answers], _add_texts),
    )


def _add_texts(one: TextCounts, other: TextCounts) -> TextCounts:
    return TextCounts(one.occurrences + other.occurrences, one.documents + other.documents)


def add_cooccurrences(name: str, answers: Sequence[CooccurrenceAnswer]) -> CooccurrenceAnswer:
    """Return the counts of two entities in all slices, under the name of the index."""
    return replace(
        answers[0],
        index=name,
        subject=_add_entities([answer.subject for answer in answers]),
        object=_add_entities([answer.object for answer in answers]),
        cooccurrence=sum((answer.cooccurrence for answer in answers), CooccurrenceCounts(0, 0)),
        exact=all(answer.exact for answer in answers),
        groups=add_groups([answer.groups for answer in answers], lambda one, other: one + other),
    )


def _add_entities(entities: Sequence[EntityCounts]) -> EntityCounts:
    return replace(
        entities[0],
        mentions=sum(entity.mentions for entity in entities),
        documents=sum(entity.documents for entity in entities),
    )


def add_tables(tables: Sequence[pa.Table], windows: Sequence[int], labels: Mapping[str, str | None]) -> pa.Table:
    """Return a table of facts with the counts of all slices, and with other values in some of its label columns."""
    table = tables[0]
    for name, kind in count_columns(windows).items():
        place = table.schema.get_field_index(name)
        if name in labels:
            column = pa.chunked_array([pa.array([labels[name]] * table.num_rows, kind)])
        elif name in LABELS:
            continue
        else:
            column = table[name]
            for other in tables[1:]:
                column = pc.call_function("add", [column, other[name]])
        table = table.set_column(place, name, column)
    return table


def add_infos(name: str, digest: str | None, infos: Sequence[IndexInfo]) -> IndexInfo:
    """Return the properties of the whole index, given those of its slices."""

    def total(field: str) -> int | None:
        values = [getattr(info, field) for info in infos]
        return None if None in values else sum(values)

    sizes, texts = total("bytes"), total("text_bytes")
    sources = add_groups([info.sources for info in infos], _add_sources)
    return replace(
        infos[0],
        name=name,
        digest=digest,
        documents=sum(info.documents for info in infos),
        repeated_documents=total("repeated_documents"),
        deleted_documents=total("deleted_documents"),
        tokens=sum(info.tokens for info in infos),
        shards=sum(info.shards for info in infos),
        bytes=sizes or 0,
        text_bytes=texts,
        bytes_per_text_byte=round(sizes / texts, 4) if sizes and texts else None,
        keeps_text=all(info.keeps_text for info in infos),
        kept_bytes_per_text_byte=None,
        sources=sources,
        slice=None,
    )


def _add_sources(one: SourceSize, other: SourceSize) -> SourceSize:
    return SourceSize(one.documents + other.documents, one.tokens + other.tokens)
