"""Shares forgotten by stratum and by count, and the odds of forgetting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from factcensus.eval.report import charts, figures
from factcensus.eval.report.formatting import count_label, detectable, interval, percent, ratio
from factcensus.eval.report.section import Panel, Section, Table, asked_forms, csv_of, every_asked_form, flat

if TYPE_CHECKING:
    from factcensus.eval.run_folder import Run


def forgetting(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Build the section on shares forgotten by stratum, in every form of asking."""
    methods, forms = summary["methods"], every_asked_form(summary)
    if not methods or not forms:
        return None
    strata = [
        {
            "method": method["name"],
            "form": form,
            "stratum": row["label"],
            "asked": row["asked"],
            **{
                f"{outcome}_{name}": value
                for outcome in ("generation", "probability")
                for name, value in flat(row[outcome]).items()
            },
        }
        for form in forms
        for method in methods
        for row in method["forgotten_by_stratum"][form]
    ]
    rows = [
        [
            method["name"],
            form,
            row["label"],
            percent(row["generation"]["value"]),
            interval(row["generation"]["ci95"], percent),
            percent(row["probability"]["value"]),
            interval(row["probability"]["ci95"], percent),
            f"{row['generation']['n']} of {row['asked']}",
        ]
        for form in forms
        for method in methods
        for row in method["forgotten_by_stratum"][form]
    ]
    without = max((number for method in methods for number in method.get("without_stratum", {}).values()), default=0)
    head = ["method", "form", "count", "by generation", "95 % interval", "by probability", "95 % interval", "n"]
    return Section(
        "forgetting",
        "Share forgotten, by frequency of the fact in the corpus",
        "A fact counts as forgotten by generation when the model no longer gives the answer. Only facts that the "
        "original model knew are included, so a fact that was never known cannot count as forgotten.",
        [
            Panel(
                f"Asked as a {form}",
                charts.forgotten_by_stratum(methods, form, look, "generation", count_label(summary)),
                csv_of([row for row in strata if row["form"] == form]),
            )
            for form in forms
        ],
        [
            _side_by_side(methods, forms, count_label(summary)),
            Table("Shares forgotten; n: facts known before, of facts asked", head, rows),
        ],
        legend=True,
        note="Lines: 95 % intervals. The panels show the same facts asked in several forms: a fact that is gone from "
        "the form that unlearning was trained on may still be there in another form."
        + (f" Facts without a stratum, which are left out here: {without:,}." if without else ""),
    )


def _side_by_side(methods: Sequence[Mapping[str, Any]], forms: Sequence[str], counted: str) -> Table:
    """Return shares forgotten with one row per method and stratum and one column per form of asking."""
    rows = []
    for method in methods:
        found = {(row["stratum"], form): row for form in forms for row in method["forgotten_by_stratum"][form]}
        labels = {stratum: row["label"] for (stratum, _), row in found.items()}
        for stratum in sorted(labels):
            shares = [found[stratum, form]["generation"] if (stratum, form) in found else {} for form in forms]
            cells = [f"{percent(each.get('value'))} {interval(each.get('ci95'), percent)}" for each in shares]
            rows.append([method["name"], labels[stratum], *cells])
    return Table(
        f"Forgotten by generation in each stratum ({counted}), by form of asking, with 95 % intervals",
        ["method", "count", *forms],
        rows,
        open=True,
    )


def curves(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Build the section on forgetting by count: points, isotonic and logistic curves, one panel per method."""
    forms = asked_forms(summary)
    methods = [
        method for method in summary["methods"] if any(method["forgotten_by_count"][form]["points"] for form in forms)
    ]
    if not methods or not forms:
        return None
    panels = [
        Panel(
            method["name"],
            charts.forgetting_curves(method, forms, count_label(summary)),
            csv_of(
                [
                    flat(point, form=form, count_low=point["low"], count_high=point["high"], isotonic=point["isotonic"])
                    for form in forms
                    for point in method["forgotten_by_count"][form]["points"]
                ]
            ),
        )
        for method in methods
    ]
    rows = [
        [
            method["name"],
            form,
            *_odds(found),
            *_odds(found["adjusted"]),
            detectable(found["minimum_detectable_effect"]),
            str(found["n"]) + (" (penalised)" if found["penalised"] else ""),
        ]
        for form in forms
        for method in methods
        for found in [method["forgotten_odds_per_decade"][form]["generation"]]
    ]
    return Section(
        "curves",
        "How forgetting depends on the count",
        "The share forgotten at each count, with its interval. The steps are an isotonic regression (only falling, or "
        "only rising); the smooth curve is a logistic regression with its 95 % band.",
        panels,
        [
            Table(
                "Odds ratio of being forgotten per factor 10 of the count, by logistic regression; below 1, frequent "
                "facts resist. Adjusted: at equal confidence before, object and subject frequency and answer length. "
                "Detectable: minimum detectable log-odds slope at 80 % power",
                ["method", "form", "odds ratio", "95 % interval", "adjusted", "95 % interval", "detectable", "n"],
                rows,
                open=True,
            )
        ],
        note="If the adjusted ratio is near 1 and the total ratio is not, frequent facts resist only because the model "
        "was surer of them.",
    )


def _odds(found: Mapping[str, Any]) -> tuple[str, str]:
    return ratio(found["odds_ratio"]), interval(found["odds_ratio_ci95"], ratio)
