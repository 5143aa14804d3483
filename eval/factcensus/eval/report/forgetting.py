"""Shares forgotten by stratum and by count, and the odds of forgetting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from factcensus.eval.report import charts
from factcensus.eval.report.columns import (
    FORM,
    METHOD,
    Asked,
    Column,
    estimate_columns,
    keyed,
    minimum_detectable,
    table_of,
)
from factcensus.eval.report.formatting import count_label, percent, ratio, with_interval
from factcensus.eval.report.section import (
    Panel,
    ReportData,
    Section,
    Table,
    asked_forms,
    csv_of,
    every_asked_form,
    flat,
)

SHARES: tuple[Column[Asked], ...] = (
    METHOD,
    FORM,
    Column("count", lambda row: row.found["label"]),
    *estimate_columns("by generation", lambda row: row.found["generation"], percent),
    *estimate_columns("by probability", lambda row: row.found["probability"], percent),
    Column("n", lambda row: f"{row.found['generation']['n']} of {row.found['asked']}"),
)
_RATIO = {"value": "odds_ratio", "bounds": "odds_ratio_ci95"}
_ADJUSTED = "Adjusted: at equal confidence before, object and subject frequency and answer length"
ODDS: tuple[Column[Asked], ...] = (
    METHOD,
    FORM,
    *estimate_columns("odds ratio", lambda row: row.found, ratio, **_RATIO),
    *estimate_columns("adjusted", lambda row: row.found["adjusted"], ratio, meaning=_ADJUSTED, **_RATIO),
    minimum_detectable("Detectable: minimum detectable log-odds slope at 80% power"),
    Column("n", lambda row: str(row.found["n"]) + (" (penalised)" if row.found["penalised"] else "")),
)


def forgetting(data: ReportData) -> Section | None:
    """Build the section on shares forgotten by stratum, in every form of asking."""
    summary, look = data.summary, data.look
    methods, forms = summary["methods"], every_asked_form(summary)
    if not methods or not forms:
        return None
    rows = [
        Asked(method["name"], form, row)
        for form in forms
        for method in methods
        for row in method["forgotten_by_stratum"][form]
    ]
    without = max((number for method in methods for number in method.get("without_stratum", {}).values()), default=0)
    return Section(
        "forgetting",
        "Share forgotten, by frequency of the fact in the corpus",
        "A fact counts as forgotten by generation when the model no longer gives the answer. Only facts that the "
        "original model knew are included, so a fact that was never known cannot count as forgotten.",
        [
            Panel(
                f"Asked as a {form}",
                charts.forgotten_by_stratum(methods, form, look, "generation", count_label(summary)),
                csv_of([_stratum_record(row) for row in rows if row.form == form]),
            )
            for form in forms
        ],
        [
            _side_by_side(methods, forms, count_label(summary)),
            table_of("Shares forgotten; n: facts known before, of facts asked", SHARES, rows),
        ],
        legend=True,
        note="Lines: 95% intervals. The panels show the same facts asked in several forms: a fact that is gone from "
        "the form that unlearning was trained on may still be there in another form."
        + (f" Facts without a stratum, which are left out here: {without:,}." if without else ""),
    )


def _stratum_record(row: Asked) -> dict[str, Any]:
    """Return the record of a stratum in the CSV of a plot."""
    record = {"method": row.method, "form": row.form, "stratum": row.found["label"], "asked": row.found["asked"]}
    for outcome in ("generation", "probability"):
        record |= {f"{outcome}_{name}": value for name, value in flat(row.found[outcome]).items()}
    return record


def _side_by_side(methods: Sequence[Mapping[str, Any]], forms: Sequence[str], counted: str) -> Table:
    """Return shares forgotten with one row per method and stratum and one column per form of asking."""
    rows = []
    for method in methods:
        found = {(row["stratum"], form): row for form in forms for row in method["forgotten_by_stratum"][form]}
        labels = {stratum: row["label"] for (stratum, _), row in found.items()}
        for stratum in sorted(labels):
            shares = {form: found.get((stratum, form), {}).get("generation", {}) for form in forms}
            rows.append({"method": method["name"], "count": labels[stratum], **shares})
    return table_of(
        f"Forgotten by generation in each stratum ({counted}), by form of asking, with 95% intervals",
        [keyed("method"), keyed("count"), *(keyed(form, form=_share) for form in forms)],
        rows,
        open=True,
    )


def _share(found: Mapping[str, Any]) -> str:
    return with_interval(found.get("value"), found.get("ci95"), percent)


def curves(data: ReportData) -> Section | None:
    """Build the section on forgetting by count: points, isotonic and logistic curves, one panel per method."""
    summary = data.summary
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
        Asked(method["name"], form, method["forgotten_odds_per_decade"][form]["generation"])
        for form in forms
        for method in methods
    ]
    return Section(
        "curves",
        "How forgetting depends on the count",
        "The share forgotten at each count, with its interval. The steps are an isotonic regression (only falling, or "
        "only rising); the smooth curve is a logistic regression with its 95% band.",
        panels,
        [
            table_of(
                "Odds ratio of being forgotten per factor 10 of the count, by logistic regression; below 1, frequent "
                "facts resist",
                ODDS,
                rows,
                open=True,
            )
        ],
        note="If the adjusted ratio is near 1 and the total ratio is not, frequent facts resist only because the model "
        "was surer of them.",
    )
