"""The everyday counting commands: count, cooc."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from factcensus.indexer.answers.counts import by_documents
from factcensus.indexer.cli.chosen_index import IndexChoice, index_argument, usage_of
from factcensus.indexer.cli.command import argument, command, option
from factcensus.indexer.cli.options import (
    ScopeChoice,
    Whole,
    json_option,
    scope_options,
)
from factcensus.indexer.numbers import counted
from factcensus.indexer.system.console import print_json, print_table, terminal_text

if TYPE_CHECKING:
    from factcensus.indexer.answers import CooccurrenceAnswer, GroupCounts
    from factcensus.indexer.system.text_tables import Cell


@command(
    "count",
    needs={"top": "by"},
    example='factcensus count indexes/wiki "capital of France" --json\n'
    'factcensus count indexes/wiki "capital of France" --by source --top 5',
)
@index_argument
@argument("text", metavar="TEXT", help="the text to count, analysed like the corpus; overlapping occurrences all count")
@option(
    "--verbatim",
    is_flag=True,
    help="count the text exactly as written, not as part of a longer word, number or address; needs an index built "
    "with --keep-text",
)
@option("--top", type=Whole(1), metavar="N", help="with --by, only the N values with the most documents")
@scope_options()
@json_option
def count(index: IndexChoice, text: str, verbatim: bool, top: int | None, scope: ScopeChoice, as_json: bool) -> None:
    """Count a text: its occurrences, and the documents that contain it.

    With --by, values are sorted by documents, and those without any are left out of the table. Training steps stay in
    their order.
    """
    with index.open() as opened, scope.timed() as deadline:
        answer = scope.ordered(opened).count(
            text, verbatim=verbatim, by=scope.by, scope=scope.scope(), deadline=deadline
        )
        used = usage_of(opened)
    if top is not None:
        groups = by_documents(answer.groups, answer.by, lambda counts: counts.documents)
        answer = replace(answer, groups=dict(groups[:top]))
    if as_json:
        print_json(answer.as_json() | used)
        return
    what = f"{answer.text!r} as written" if verbatim else repr(" ".join(answer.tokens))
    print(f"{terminal_text(what)} in {answer.index} ({answer.analyzer}, exact)")
    rows: list[list[Cell]] = [["all", answer.occurrences, answer.documents]]
    rows += [[name, counts.occurrences, counts.documents] for name, counts in answer.shown_groups()]
    print_table(rows, [scope.by or "source", "occurrences", "documents"])


@command(
    "cooc",
    example="factcensus cooc indexes/wiki --subject France --object Paris --object-alias Lutetia --window 10",
)
@index_argument
@option("--subject", required=True, metavar="NAME", help="name of the subject")
@option("--subject-alias", "subject_aliases", multiple=True, metavar="ALIAS", help="another name; may be repeated")
@option("--object", "object_name", required=True, metavar="NAME", help="name of the object")
@option("--object-alias", "object_aliases", multiple=True, metavar="ALIAS", help="another name; may be repeated")
@option(
    "--window",
    type=Whole(0),
    metavar="W",
    default_text="the whole document",
    help="count only pairs with at most W tokens strictly between the two mentions",
)
@scope_options()
@json_option
def cooc(
    index: IndexChoice,
    subject: str,
    subject_aliases: tuple[str, ...],
    object_name: str,
    object_aliases: tuple[str, ...],
    window: int | None,
    scope: ScopeChoice,
    as_json: bool,
) -> None:
    """Count the documents in which two entities occur together.

    With --by, values are sorted by the documents with both, and those without either entity are left out of the table.
    Training steps stay in their order.
    """
    from factcensus.indexer.records import Entity

    both = Entity(subject, subject_aliases), Entity(object_name, object_aliases)
    with index.open() as opened, scope.timed() as deadline:
        answer = scope.ordered(opened).cooccurrence(
            *both, window=window, by=scope.by, scope=scope.scope(), deadline=deadline
        )
        used = usage_of(opened)
    if as_json:
        print_json(answer.as_json() | used)
        return
    names = [terminal_text(entity.name) for entity in both]
    where = "in one document" if window is None else f"at most {counted(window, 'token')} apart"
    print(f"{' and '.join(names)} {where}, in {answer.index} ({answer.analyzer}, exact)")
    lines: list[tuple[str, CooccurrenceAnswer | GroupCounts]] = [("all", answer), *answer.shown_groups()]
    rows: list[list[Cell]] = [
        [
            name,
            counts.subject.documents,
            counts.object.documents,
            counts.cooccurrence.documents,
            counts.cooccurrence.pairs,
        ]
        for name, counts in lines
    ]
    header = [scope.by or "source", f"documents with {names[0]}", f"with {names[1]}", "with both", "pairs"]
    print_table(rows, header)
