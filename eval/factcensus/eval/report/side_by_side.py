"""Compare runs that cannot be pooled: other base models, sizes, corpora or settings.

Runs that differ in seed or method form one experiment and are pooled. A run that starts from another model at the same
seed, repeats a method, or counts with another analyzer is another experiment and is shown with its own numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from factcensus.eval.errors import EvaluationInputError
from factcensus.eval.names import MAIN_FORMS
from factcensus.eval.report import charts, figures
from factcensus.eval.report.columns import Asked, Column, table_of
from factcensus.eval.report.formatting import number, percent, quantity, ratio, with_interval
from factcensus.eval.report.published import published_table
from factcensus.eval.report.section import Panel, Section, csv_of, flat
from factcensus.eval.runs import Run, parameters_of, pool_runs, summary_of


@dataclass(frozen=True, slots=True)
class Experiment:
    """Pooled runs with their summary, a label, and the reason why they are not pooled with the first."""

    label: str
    run: Run
    summary: Mapping[str, Any]
    apart: str = ""


Row = tuple[Experiment, Asked]


def _shares(head: str, stratum: int) -> Column[Row]:
    """Return the column of the share forgotten in a stratum."""

    def share(row: Row) -> str:
        found = row[1].found["forgotten_by_stratum"][row[1].form][stratum]["generation"]
        return with_interval(found["value"], found["ci95"], percent)

    return Column(head, share)


def _odds_ratio(row: Row) -> str:
    odds = row[1].found["forgotten_odds_per_decade"][row[1].form]["generation"]
    return with_interval(odds["odds_ratio"], odds["odds_ratio_ci95"], ratio)


def _hidden(row: Row) -> str:
    agreement = row[1].found["misalignment"]["by_form"][row[1].form]["agreement"]
    return with_interval(agreement["excess"], agreement["ci95"], number)


COLUMNS: tuple[Column[Row], ...] = (
    Column("run", lambda row: row[0].label),
    Column("method", lambda row: row[1].method),
    Column("form", lambda row: row[1].form),
    _shares("forgotten, rarest", 0),
    _shares("forgotten, most frequent", -1),
    Column("odds ratio", _odds_ratio),
    Column("hidden (index)", _hidden),
    Column("retain", lambda row: row[1].found["retain_accuracy"], percent),
    Column("bystander", lambda row: row[1].found["bystander_accuracy"], percent),
)


def experiments(runs: Sequence[Run]) -> list[Experiment]:
    """Group runs that can be pooled, in the order given.

    Raises:
        EvaluationInputError: A run folder is given twice.
    """
    folders = [folder.resolve() for run in runs for folder in run.folders]
    if len(set(folders)) < len(folders):
        twice = next(folder for folder in folders if folders.count(folder) > 1)
        raise EvaluationInputError(f"{twice} is given twice")
    groups: list[tuple[list[Run], str]] = []
    for run in runs:
        apart = ""
        for group, _ in groups:
            try:
                pool_runs([*group, run])
            except EvaluationInputError as error:
                apart = apart or str(error).partition("; pool runs")[0]
                continue
            group.append(run)
            break
        else:
            groups.append(([run], apart))
    found = [(pool_runs(group), apart) for group, apart in groups]
    return [
        Experiment(", ".join(folder.name for folder in run.folders), run, summary_of(run), apart)
        for run, apart in found
    ]


def side_by_side(found: Sequence[Experiment]) -> Section | None:
    """Build a section with a table and one plot per form over all experiments; None for a single one."""
    if len(found) < 2:
        return None
    forms = [form for form in MAIN_FORMS if any(True for _ in _rows(found, form))]
    panels = []
    for form in forms:
        rows = [
            charts.ForestRow(f"{each.label}: {method['name']}", odds)
            for each, method, odds in _rows(found, form)
            if odds["value"] is not None
        ]
        values = [0.0, *(value for row in rows for value in (row.found["value"], *(row.found["ci95"] or ())))]
        room = 0.06 * (max(values) - min(values) or 1.0)
        look = {
            f"{each.label}: {name}": style
            for each in found
            for name, style in figures.looks(
                [m["name"] for m in each.summary["methods"]], each.summary["oracle"]
            ).items()
        }
        panels.append(
            Panel(
                f"Odds of forgetting by count, asked as a {form}",
                charts.forest(
                    rows,
                    look,
                    reference=0.0,
                    limits=(min(values) - room, max(values) + room),
                    label="log-odds per factor 10 of the count",
                    alternative=f"Log-odds by run and method, {form} form.",
                ),
                csv_of([flat(row.found, run_and_method=row.method) for row in rows]),
            )
        )
    panels += _sizes(found)
    records = [(each, Asked(method["name"], form, method)) for form in forms for each, method, _ in _rows(found, form)]
    tables = [
        table_of("All runs and methods", COLUMNS, records, open=True),
        published_table([(each.label, each.summary) for each in found]),
    ]
    return Section(
        "side-by-side",
        "Runs side by side",
        f"These runs are not pooled: {'; '.join(dict.fromkeys(each.apart for each in found[1:]))}. The sections below "
        f"show {found[0].label}; each run folder has its own report.",
        panels,
        [table for table in tables if table.rows],
        note="Log-odds below 0: frequent facts resist being forgotten.",
    )


def _rows(found: Sequence[Experiment], form: str) -> Iterator[tuple[Experiment, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield every experiment and method that was asked in a form, with the odds of forgetting."""
    for each in found:
        for method in each.summary["methods"]:
            if method["forgotten_by_stratum"].get(form):
                yield each, method, method["forgotten_odds_per_decade"][form]["generation"]


def _sizes(found: Sequence[Experiment]) -> list[Panel]:
    """Draw the threshold-free index against model size, if at least two sizes are known."""
    sized = [(size, each) for each in found if (size := parameters_of(each.run)) is not None]
    if len({size for size, _ in sized}) < 2:
        return []
    rows = [
        {
            **flat(method["misalignment"]["agreement"], parameters=size, method=method["name"]),
            "value": method["misalignment"]["agreement"]["excess"],
        }
        for size, each in sized
        for method in each.summary["methods"]
        if method["misalignment"]["agreement"]["excess"] is not None
    ]
    look = figures.looks(list(dict.fromkeys(row["method"] for row in rows)), None)

    def paint(axes: Any) -> None:
        for name, style in look.items():
            mine = sorted((row for row in rows if row["method"] == name), key=lambda row: row["parameters"])
            points = [
                {"value": row["value"], "ci95": None if row["low"] is None else (row["low"], row["high"])}
                for row in mine
            ]
            x = np.array([row["parameters"] for row in mine], float)
            figures.whiskers(axes, x, points, style, line=True, label=name)
        axes.axhline(0, color=figures.INK, linewidth=0.9)
        axes.set_xscale("log")
        sizes = sorted({row["parameters"] for row in rows})
        axes.set_xticks(sizes, [quantity(size, "") for size in sizes])
        axes.minorticks_off()
        axes.set(xlabel="parameters of the model (log scale)", ylabel="excess of the threshold-free index")
        axes.legend(loc="best")

    return [
        Panel(
            "Hidden knowledge by model size",
            figures.draw(paint, alternative="Threshold-free index by model size and method."),
            csv_of(rows),
        )
    ]
