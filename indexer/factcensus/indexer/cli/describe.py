"""The commands that show what counts tables contain: facts describe, facts plot, facts compare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factcensus.indexer.cli.chosen_index import IndexChoice, analyzer_option, index_options
from factcensus.indexer.cli.command import argument, command, option
from factcensus.indexer.cli.options import OUTPUT_FILE, PATH, PLACE, Choice, Whole, columns_option, notice
from factcensus.indexer.errors import EmptyQueryError, InputError
from factcensus.indexer.numbers import counted
from factcensus.indexer.system.console import print_json

if TYPE_CHECKING:
    import pyarrow as pa

    from factcensus.indexer.index import CountIndex
    from factcensus.indexer.system.places import Place
    from factcensus.indexer.system.text_tables import Cell
    from factcensus.indexer.tables.comparison import Comparison

#: Number of ambiguous names listed by default (--top).
MOST_AMBIGUOUS = 20

by_option = option(
    "--by",
    default="cooccurrence_documents",
    metavar="COLUMN",
    help="the column of counts; for one group of a table counted with --by, COLUMN@GROUP, such as "
    "cooccurrence_documents@wikipedia",
)
format_option = option(
    "--format",
    "style",
    type=Choice(["text", "markdown", "latex", "json"]),
    default="text",
    help="how the tables are printed; LaTeX needs the package booktabs",
)
title_option = option("--title", metavar="TEXT", help="a title above the figure")


@command(
    "describe",
    needs=dict.fromkeys(("analyzer", "also", "requester_pays", "anonymous", "most_requests"), "index"),
    example="factcensus facts describe strata.parquet --index indexes/wiki --format markdown",
)
@argument("counts", type=PATH, metavar="COUNTS", help="a table that 'facts count' or 'facts stratify' wrote")
@by_option
@option(
    "--index",
    type=PLACE,
    metavar="INDEX",
    help="the index that the facts were counted in; names in more than 1% of its documents are listed as ambiguous",
)
@option(
    "--top", type=Whole(0), metavar="N", default_text="20, or all as JSON", help="number of ambiguous names to list"
)
@columns_option
@format_option
@analyzer_option
@index_options
def describe(
    counts: Path, by: str, index: Place | None, top: int | None, columns: dict[str, str], style: str, **given: Any
) -> None:
    """Summarise a counts table: quantiles, facts never seen, strata, and ambiguous names."""
    from factcensus.indexer.tables.description import check_counted_in, describe

    table = _read(counts, columns)
    if index is None:
        found = describe(table, by)
    else:
        with IndexChoice(index, **given).open() as opened:
            info = opened.info()
            check_counted_in(table, info.name, info.digest)
            # In an index at a URL, each text would be another query.
            found = describe(table, by, info.documents, None if opened.usage() else _documents_with(opened))
    if style == "json":
        print_json(replace(found, ambiguous=found.ambiguous[:top]).to_json())
        return
    top = MOST_AMBIGUOUS if top is None else top
    rows: list[list[Cell]] = [["facts", found.facts], [f"facts with {by} = 0", found.zeros]]
    if found.repeated:
        rows.insert(1, ["repeated rows among them", found.repeated])
    names = {0.0: "minimum", 0.5: "median", 1.0: "maximum"}
    for share, value in found.quantiles.items():
        rows.append([names.get(share, f"{100 * share:.0f}% quantile"), value])
    _print([("", rows, ["", by])], style)
    if found.strata:
        strata: list[list[Cell]] = [[each.stratum, each.label, each.facts] for each in found.strata]
        _print([("Strata", strata, ["stratum", by, "facts"])], style)
    if found.ambiguous:
        ambiguous: list[list[Cell]] = [
            [each.name, each.role, each.facts, each.reason] for each in found.ambiguous[:top]
        ]
        _print([("Ambiguous names", ambiguous, ["name", "role", "facts", "reason"])], style)
        if len(found.ambiguous) > top:
            notice(f"{len(found.ambiguous) - top:,} more ambiguous names; list them with --top {len(found.ambiguous)}")
    elif index is None:
        notice("no name is shared by two entities; give --index to look for names that are common words, too")


@command("plot", example="factcensus facts plot strata.parquet --out figure.pdf")
@argument("counts", type=PATH, metavar="COUNTS", help="a table that 'facts count' or 'facts stratify' wrote")
@by_option
@columns_option
@option("--out", required=True, type=OUTPUT_FILE, metavar="FIGURE", help="the figure: .svg, .pdf or .png")
@title_option
def plot(counts: Path, by: str, columns: dict[str, str], out: Path, title: str | None) -> None:
    """Draw how often the facts occur, coloured by stratum if the table has strata."""
    from factcensus.indexer.tables.plots import check_figure, plot_counts

    check_figure(out)
    plot_counts(_read(counts, columns), out, by, title, notice=notice)
    print(out)


@command(
    "compare",
    needs={"title": "figure"},
    example="factcensus facts compare wiki.parquet pile.parquet --plot scatter.svg\n"
    "factcensus facts compare counts.parquet counts.parquet --second-by cooccurrence_documents_w10",
)
@argument("first", type=PATH, metavar="A", help="a counts table")
@argument("second", type=PATH, metavar="B", help="another counts table of the same facts, or the same table again")
@by_option
@option("--second-by", metavar="COLUMN", default_text="the same as --by", help="the column of counts in B")
@option("--top", type=Whole(0), default=10, metavar="N", help="number of facts to list, largest differences first")
@option("--plot", "figure", type=OUTPUT_FILE, metavar="FIGURE", help="also draw a scatter plot: .svg, .pdf or .png")
@columns_option
@title_option
@format_option
def compare(  # noqa: PLR0913 - options, which are given by name
    first: Path,
    second: Path,
    by: str,
    second_by: str | None,
    top: int,
    figure: Path | None,
    columns: dict[str, str],
    title: str | None,
    style: str,
) -> None:
    """Compare the counts of the same facts in two tables: rank correlation and the largest differences."""
    from factcensus.indexer.tables.comparison import compare
    from factcensus.indexer.tables.plots import check_figure, plot_comparison

    if figure is not None:
        check_figure(figure)
    if first.resolve() == second.resolve() and second_by in (None, by):
        raise InputError("A and B are the same table; give another column of it with --second-by, or another table")
    tables = _read(first, columns), _read(second, columns)
    compared = compare(*tables, by, second_by)
    names = _names((first, second), tables, compared)
    if style == "json":
        print_json({"tables": list(names), **compared.to_json(top)})
    else:
        _print_comparison(compared, names, top, style)
    if compared.repeated:
        notice(f"{counted(compared.repeated, 'row')} left out: the fact is in an earlier row with the same count")
    if figure is not None:
        plot_comparison(compared, figure, names, title, notice=notice)
        notice(f"figure: {figure}")


def _names(paths: tuple[Path, Path], tables: tuple[pa.Table, pa.Table], compared: Comparison) -> tuple[str, str]:
    """Return a name for each side that distinguishes the two: the index, the file, or the column of counts."""
    indexes = [
        each["index"].unique().to_pylist() if "index" in each.column_names else [path.stem]
        for each, path in zip(tables, paths, strict=True)
    ]
    choices = [
        (", ".join(map(str, indexes[0])), ", ".join(map(str, indexes[1]))),
        (paths[0].stem, paths[1].stem),
        compared.by,
        (str(paths[0]), str(paths[1])),
    ]
    return next((pair for pair in choices if pair[0] != pair[1]), choices[1])


def _print_comparison(compared: Comparison, names: tuple[str, str], top: int, style: str) -> None:
    correlation = "undefined: all counts of a table are equal"
    if compared.rank_correlation is not None:
        correlation = f"{compared.rank_correlation:.3f}"
        if compared.interval is not None:
            correlation += f" (95% interval {compared.interval[0]:.3f} to {compared.interval[1]:.3f})"
    summary: list[list[Cell]] = [["facts in both tables", f"{compared.facts:,}"]]
    if names != compared.by:  # otherwise the two are columns of one table
        summary.extend(
            [
                [f"facts only in {names[0]}", f"{compared.only_first:,}"],
                [f"facts only in {names[1]}", f"{compared.only_second:,}"],
            ]
        )
    summary.extend(
        [
            ["equal counts", f"{compared.equal:,}"],
            [f"count 0 only in {names[0]}", f"{compared.first_zeros:,}"],
            [f"count 0 only in {names[1]}", f"{compared.second_zeros:,}"],
            ["Spearman's rank correlation", correlation],
        ]
    )
    parts = [("", summary, ["", "value"])]
    if compared.differences[:top]:
        rows: list[list[Cell]] = [
            [each.subject, each.object, each.first, each.second] for each in compared.differences[:top]
        ]
        parts.append(("Largest differences", rows, ["subject", "object", *names]))
    _print(parts, style)


def _print(parts: list[tuple[str, list[list[Cell]], list[str]]], style: str) -> None:
    from factcensus.indexer.system.text_tables import format_table

    for heading, rows, header in parts:
        if heading:
            print({"text": f"\n{heading}", "markdown": f"\n**{heading}**\n", "latex": f"\n% {heading}"}[style])
        print(format_table(rows, header, style))


def _read(path: Path, columns: dict[str, str]) -> pa.Table:
    from factcensus.indexer.tables.description import check_counts_table
    from factcensus.indexer.tables.facts import read_facts

    table = read_facts(path, columns=columns, notice=notice)
    check_counts_table(table, str(path))
    return table


def _documents_with(index: CountIndex) -> Callable[[str], int]:
    """Return a function that returns the number of documents with a text, 0 for a text without tokens."""

    def documents(text: str) -> int:
        try:
            return index.count(text).documents
        except EmptyQueryError:
            return 0

    return documents
