"""Shares forgotten by stratum and by count, with the odds of forgetting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from factcensus.eval.report import charts, figures
from factcensus.eval.report.formatting import detectable, interval, percent, ratio
from factcensus.eval.report.section import Panel, Section, Table, asked_forms, csv_of, every_asked_form, flat

if TYPE_CHECKING:
    from factcensus.eval.run_folder import Run


def forgetting(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Shares forgotten by stratum, in every form of asking."""
    methods, forms = summary["methods"], every_asked_form(summary)
    if not methods or not forms:
        return None
    strata = [
        {"method": method["name"], "form": form, "stratum": row["label"], "asked": row["asked"],
         **{f"{outcome}_{name}": value for outcome in ("generation", "probability")
            for name, value in flat(row[outcome]).items()}}
        for form in forms for method in methods for row in method["forgotten_by_stratum"][form]
    ]  # fmt: skip
    rows = [
        [
            method["name"], form, row["label"],
            percent(row["generation"]["value"]), interval(row["generation"]["ci95"], percent),
            percent(row["probability"]["value"]), interval(row["probability"]["ci95"], percent),
            f"{row['generation']['n']} of {row['asked']}",
        ]
        for form in forms for method in methods for row in method["forgotten_by_stratum"][form]
    ]  # fmt: skip
    head = ["method", "form", "count", "by generation", "95 % interval", "by probability", "95 % interval", "n"]
    return Section(
        "forgetting",
        "Forgotten, by how often the fact stands in the corpus",
        "A fact counts as forgotten by generation when the model no longer says the answer. Only facts that the "
        "original model said are counted, so a fact that was never known cannot pass for forgotten.",
        [
            Panel(
                f"Asked as a {form}",
                charts.forgotten_by_stratum(methods, form, look, "generation"),
                csv_of([row for row in strata if row["form"] == form]),
            )
            for form in forms
        ],
        [_side_by_side(methods, forms), Table("Shares forgotten; n is facts known before, of those asked", head, rows)],
        legend=True,
        note="Lines: 95 % intervals. The same facts asked in several forms stand side by side: what is gone from the "
        "form that unlearning was trained on may still stand in another.",
    )


def _side_by_side(methods: Sequence[Mapping[str, Any]], forms: Sequence[str]) -> Table:
    """Shares forgotten, a row a method and stratum, the forms of asking beside one another."""
    rows = []
    for method in methods:
        found = {
            (row["stratum"], form): row for form in forms for row in method["forgotten_by_stratum"][form]
        }  # fmt: skip
        labels = {stratum: row["label"] for (stratum, _), row in found.items()}
        for stratum in sorted(labels):
            shares = [found[stratum, form]["generation"] if (stratum, form) in found else {} for form in forms]
            cells = [f"{percent(each.get('value'))} {interval(each.get('ci95'), percent)}" for each in shares]
            rows.append([method["name"], labels[stratum], *cells])
    return Table(
        "Forgotten by generation in each stratum (documents with subject and object), by form of asking, with 95 % "
        "intervals",
        ["method", "count", *forms], rows, open=True,
    )  # fmt: skip


def curves(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Points, isotonic and logistic curves, a panel a method."""
    forms = asked_forms(summary)
    methods = [
        method for method in summary["methods"]
        if any(method["forgotten_by_count"][form]["points"] for form in forms)
    ]  # fmt: skip
    if not methods or not forms:
        return None
    panels = [
        Panel(
            method["name"],
            charts.forgetting_curves(method, forms),
            csv_of([
                flat(point, form=form, count_low=point["low"], count_high=point["high"], isotonic=point["isotonic"])
                for form in forms for point in method["forgotten_by_count"][form]["points"]
            ]),
        )
        for method in methods
    ]  # fmt: skip
    rows = [
        [
            method["name"], form, *_odds(found), *_odds(found["adjusted"]),
            detectable(found["minimum_detectable_effect"]),
            str(found["n"]) + (" (penalised)" if found["penalised"] else ""),
        ]
        for form in forms for method in methods
        for found in [method["forgotten_odds_per_decade"][form]["generation"]]
    ]  # fmt: skip
    return Section(
        "curves",
        "How forgetting goes with the count",
        "The share forgotten at each count, with its interval. The steps may only fall, or only rise; the smooth curve "
        "is a logistic regression with its 95 % band.",
        panels,
        [
            Table(
                "Odds of being forgotten per factor 10 of the count, by logistic regression: below 1, frequent facts "
                "resist. Adjusted: at equal confidence before, object and subject frequency and answer length. "
                "Detectable: the least true slope, in log-odds, that would be found 4 times in 5",
                ["method", "form", "odds ratio", "95 % interval", "adjusted", "95 % interval", "detectable", "n"],
                rows, open=True,
            )
        ],
        note="An adjusted ratio near 1 beside a total one far from it means: frequent facts resist because the model "
        "was surer of them, not beyond that.",
    )  # fmt: skip


def _odds(found: Mapping[str, Any]) -> tuple[str, str]:
    return ratio(found["odds_ratio"]), interval(found["odds_ratio_ci95"], ratio)
