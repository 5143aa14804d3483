"""Arguments that several commands share, and what they stand for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from factcensus.indexer.counting.scope import Scope
    from factcensus.indexer.index import CountIndex


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--jobs", type=positive, metavar="N", help="processes and threads (default: all processors)")
    parser.add_argument("--memory", default="8GiB", metavar="SIZE", help="bound of all memory taken (default: 8GiB)")
    parser.add_argument(
        "--device", default="auto", metavar="DEVICE", help="what sorts: cpu, cuda, or auto (default: %(default)s)"
    )


def add_index_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("index", type=Path, metavar="INDEX", help="an index folder")
    parser.add_argument("--analyzer", help="only for an index of infini-gram's that does not say it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_scope_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--by",
        metavar="COLUMN",
        help="also show the numbers of each source, or of each value of another column or field",
    )
    scope = parser.add_argument_group("which documents are counted (default: all that are not deleted)")
    scope.add_argument(
        "--no-duplicates", action="store_true", help="leave out documents whose text an earlier document has"
    )
    scope.add_argument(
        "--upto-document", type=positive, metavar="N", help="the first N of the corpus: those a training run has seen"
    )
    scope.add_argument(
        "--tokens", type=token_range, metavar="FIRST:LAST", help="those that begin at these tokens of the corpus"
    )
    scope.add_argument("--where", metavar="SQL", help="those for which a condition over the document table holds")
    parser.add_argument("--deadline", type=seconds, metavar="SECONDS", help="give up after so long")


def window(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens (0 or more)")
    return int(text)


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return number


def token_range(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    if not (colon and (first or "0").isdecimal() and last.isdecimal() and int(first or 0) <= int(last)):
        raise argparse.ArgumentTypeError(f"{text!r} is no range FIRST:LAST of tokens")
    return int(first or 0), int(last)


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def open_index(arguments: argparse.Namespace) -> CountIndex:
    from factcensus.indexer.index import CountIndex

    return CountIndex.open(arguments.index, analyzer=arguments.analyzer)


def scope_of(arguments: argparse.Namespace) -> Scope:
    from factcensus.indexer.counting.scope import Scope

    return Scope(
        duplicates=not arguments.no_duplicates,
        documents=None if arguments.upto_document is None else (0, arguments.upto_document),
        tokens=arguments.tokens,
        where=arguments.where,
    )


def notice(message: str) -> None:
    print(f"factcensus: {message}", file=sys.stderr)
