"""The everyday commands that show text: documents, trace."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.indexer.cli.chosen_index import IndexChoice, index_argument, usage_of
from factcensus.indexer.cli.command import argument, command, option
from factcensus.indexer.cli.options import (
    PATH,
    ScopeChoice,
    Whole,
    json_option,
    scope_options,
    strings_options,
)
from factcensus.indexer.errors import InputError
from factcensus.indexer.numbers import counted
from factcensus.indexer.system.console import print_json, print_table, terminal_text

if TYPE_CHECKING:
    from factcensus.indexer.answers import DocumentsAnswer, FoundDocument, Passage

#: Seconds after which the search for a pattern stops if there is no --deadline.
PATTERN_S = 60.0


@command(
    "documents",
    one_of=[("text", "subject", "pattern")],
    exclusive=[("verbatim", "normalise")],
    needs={
        "verbatim": "text",
        "normalise": "text",
        "region": "normalise",
        "object_name": "subject",
        "window": "object_name",
        "subject_aliases": "subject",
        "object_aliases": "object_name",
    },
    example='factcensus documents indexes/wiki --text "capital of France" --limit 5\n'
    "factcensus documents indexes/wiki --subject France --object Paris --window 10\n"
    "factcensus documents indexes/wiki --text jane.doe@example.org --verbatim\n"
    "factcensus documents indexes/wiki --text '030 901820' --normalise phone --region DE",
)
@index_argument
@option("--text", metavar="TEXT", help="find the documents that contain this text")
@option(
    "--subject",
    metavar="NAME",
    help="find the documents that mention this entity; with --object, those that mention both",
)
@option("--subject-alias", "subject_aliases", multiple=True, metavar="ALIAS", help="another name; may be repeated")
@option("--object", "object_name", metavar="NAME", help="name of the object")
@option("--object-alias", "object_aliases", multiple=True, metavar="ALIAS", help="another name; may be repeated")
@option("--window", type=Whole(0), metavar="W", help="only pairs with at most W tokens strictly between the mentions")
@strings_options
@option(
    "--pattern",
    metavar="REGEX",
    help="find the documents whose original text matches a regular expression (RE2); stops at --deadline, by default "
    "after 60 seconds, and reports how much it searched",
)
@option("--limit", type=Whole(1), default=20, metavar="N", help="maximum number of documents")
@option("--start", type=Whole(0), default=0, metavar="N", help="number of documents to skip")
@scope_options(steps=False)
@json_option
def documents(  # noqa: PLR0913 - one for each option
    index: IndexChoice,
    text: str | None,
    subject: str | None,
    subject_aliases: tuple[str, ...],
    object_name: str | None,
    object_aliases: tuple[str, ...],
    window: int | None,
    pattern: str | None,
    limit: int,
    start: int,
    scope: ScopeChoice,
    as_json: bool,
    **strings: Any,
) -> None:
    """Show the documents that contain a text or a pair of entities: ids, sources, titles, passages."""
    from factcensus.indexer.counting.deadline import Deadline
    from factcensus.indexer.records import Entity

    timed = Deadline(PATTERN_S) if pattern is not None and scope.deadline is None else scope.timed()
    with index.open() as opened, timed as deadline:
        page = opened.find_documents(
            text=text,
            pattern=pattern,
            **strings,
            subject=None if subject is None else Entity(subject, subject_aliases),
            object=None if object_name is None else Entity(object_name, object_aliases),
            window=window,
            limit=limit,
            start=start,
            by=scope.by,
            scope=scope.scope(),
            deadline=deadline,
        )
        used = usage_of(opened)
        bound = "deadline" if deadline is not None and deadline.flag[0] else "limit of reads over the network"
    if as_json:
        print_json(page.as_json() | used)
        return
    shown = f"documents {start + 1:,} to {start + len(page.documents):,} of {page.total:,}"
    if not page.documents:
        shown = f"no documents from {start + 1:,} on, of {page.total:,}" if page.total else "no documents"
    print(f"{shown} in {page.index} ({page.analyzer}{_remarks(page, bound)})")
    for document in page.documents:
        print()
        _print_document(document)
    if any(not document.original for document in page.documents):
        print("\npassages are normalised words, because the index keeps no text")
    if page.next is not None:
        print(f"\nmore: --start {page.next}")
    if page.groups is not None:
        print()
        print_table([[name, number] for name, number in page.groups.items()], [scope.by or "", "documents"])


@command(
    "trace",
    example='factcensus trace indexes/wiki "It was the best of times, it was the worst of times"\n'
    "factcensus trace indexes/wiki --file output.txt --json",
)
@index_argument
@argument("text", required=False, metavar="[TEXT]", help="a text, such as the output of a model")
@option("--file", type=PATH, metavar="FILE", help="read the text from a file; - is stdin")
@option("--least-tokens", type=Whole(1), default=4, metavar="N", help="minimum length of a span in tokens")
@option("--limit", type=Whole(1), default=50, metavar="N", help="maximum number of spans, longest first")
@option("--documents", "shown", type=Whole(0), default=1, metavar="N", help="documents shown for each span")
@scope_options(by=False)
@json_option
def trace(
    index: IndexChoice,
    text: str | None,
    file: Path | None,
    least_tokens: int,
    limit: int,
    shown: int,
    scope: ScopeChoice,
    as_json: bool,
) -> None:
    """Find the longest spans of a text that occur in the corpus, with their counts and documents."""
    if (text is None) == (file is None):
        raise InputError("give either TEXT or --file FILE")
    searched = _read(file) if text is None else text
    with index.open() as opened, scope.timed() as deadline:
        answer = opened.trace(
            searched,
            least_tokens=least_tokens,
            limit=limit,
            documents=shown,
            scope=scope.scope(),
            deadline=deadline,
        )
        used = usage_of(opened)
    if as_json:
        print_json(answer.as_json() | used)
        return
    print(
        f"{answer.covered:,} of {counted(len(answer.tokens), 'token')} in {counted(answer.total, 'span')} that "
        f"{'occurs' if answer.total == 1 else 'occur'} in {answer.index} ({answer.analyzer}, exact)"
    )
    for span in answer.spans:
        print(f"\n{terminal_text(span.text)}")
        lengths = counted(span.end - span.start, "token"), counted(span.occurrences, "time")
        print(f"  {', '.join(lengths)} in {counted(span.documents, 'document')}")
        for document in span.found:
            _print_document(document, "  ")
    if answer.total > len(answer.spans):
        print(f"\n{answer.total - len(answer.spans):,} shorter spans are not shown; see --limit")


def _remarks(page: DocumentsAnswer, bound: str = "deadline") -> str:
    """Return how the documents were found, unless by their tokens as usual; ``bound`` may have stopped the search."""
    if page.searched is not None and page.searched_of is not None:
        if page.exact:
            return f", all {page.searched:,} texts searched"
        return f", only {page.searched:,} of {page.searched_of:,} texts searched before the {bound}"
    if page.verified is None:
        return ""
    remark = ", verified in the texts" if page.verified else ", by token sequences only: the index keeps no text"
    return remark if page.exact else remark + "; some may be missing"


def _read(file: Path | None) -> str:
    """Read a text as UTF-8."""
    try:
        content = sys.stdin.buffer.read() if file is None or str(file) == "-" else file.read_bytes()
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}") from error


def _print_document(document: FoundDocument, indent: str = "") -> None:
    from factcensus.indexer.answers.documents import title_of

    title = document.title or title_of(document.metadata, "url")
    name = [f"document {document.document:,}", document.id, document.source, title, counted(document.tokens, "token")]
    print(indent + "  ".join(terminal_text(part) for part in name if part not in (None, "")))
    for passage in document.excerpts:
        print(f"{indent}  {_marked(passage)}")


def _marked(passage: Passage) -> str:
    """Return a passage in one line, with its mentions in brackets."""
    pieces = [span.text if span.mention is None else f"[{span.text}]" for span in passage]
    return terminal_text("".join(pieces))
