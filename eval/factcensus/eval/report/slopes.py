"""Slopes on the count: of the change and of the remaining log-probability, by seed, adjusted, and with controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from factcensus.eval.report import charts, figures
from factcensus.eval.report.columns import (
    FORM,
    METHOD,
    Asked,
    Column,
    N,
    estimate_columns,
    minimum_detectable,
    table_of,
)
from factcensus.eval.report.formatting import MINUS, NONE, detectable, interval, number, probability, with_interval
from factcensus.eval.report.section import Panel, ReportData, Section, Table, asked_forms, csv_of, flat


def _slope(row: Asked) -> Mapping[str, Any]:
    found: Mapping[str, Any] = row.found["slope_per_decade"][row.form]
    return found


def _adjusted(row: Asked) -> str:
    found = row.found["adjusted_slope_per_decade"][row.form]
    return with_interval(found["value"], found["ci95"], number)


def _each_seed(seeds: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(number(seed["value"]) for seed in seeds) or NONE


#: The slopes of a method in one form; the record is the whole method.
SLOPES: tuple[Column[Asked], ...] = (
    METHOD,
    FORM,
    *estimate_columns("slope", _slope, number),
    Column("p", lambda row: _slope(row)["p"], probability),
    Column(
        "p (Holm)",
        lambda row: _slope(row).get("p_holm"),
        probability,
        "Holm: p-value corrected over all methods and both forms",
    ),
    Column("each seed", lambda row: _slope(row)["per_seed"], _each_seed),
    Column(
        "across seeds",
        lambda row: interval(_slope(row)["ci95_across_seeds"], number),
        meaning="Across seeds: interval of the mean that covers further seeds (needs three seeds)",
    ),
    Column(
        "detectable",
        lambda row: _slope(row)["minimum_detectable_effect"],
        detectable,
        "Detectable: minimum detectable slope at 80% power",
    ),
    Column("at equal confidence", _adjusted),
    Column("n", lambda row: _slope(row)["n"]),
)
RESIDUAL: tuple[Column[Asked], ...] = (
    METHOD,
    FORM,
    *estimate_columns("slope", lambda row: row.found, number),
    Column("each seed", lambda row: ", ".join(map(number, seed_values(row.found)))),
    minimum_detectable(),
    N,
)
CONTRASTS: tuple[Column[Asked], ...] = (
    Column("difference", lambda row: row.method),
    FORM,
    *estimate_columns("slope", lambda row: row.found, number),
    minimum_detectable(),
    N,
)


def slopes(data: ReportData) -> Section | None:
    """Build the section on how the change in log-probability depends on the count."""
    summary, look = data.summary, data.look
    methods, forms = summary["methods"], asked_forms(summary)
    if not methods or not forms:
        return None
    note = (
        "Filled mark and thick line: the slope and its 95% interval. Ticks below: the slope of each seed. Open mark "
        "above: the slope at equal confidence before unlearning, that is, the part of the effect that does not come "
        "from the model being surer of frequent facts."
    )
    if summary["oracle"]:
        note += (
            f" {summary['oracle']} is a model trained without the people in the forget set; it shows perfect "
            "forgetting. A slope below 0 there means that frequent facts were more probable before and had more to "
            "lose. A method with a larger slope removes less from frequent facts than retraining without them "
            "would."
        )
    rows = {
        form: [
            _forest_row(method, "slope_per_decade", form, method["adjusted_slope_per_decade"][form])
            for method in methods
        ]
        for form in forms
    }
    return Section(
        "slopes",
        "Does frequency protect a fact?",
        "The slope is the difference in the change of log-probability per factor 10 of the count, in nats summed over "
        "the tokens of the answer, for facts known before. Above 0, frequent facts lose less; below 0, they lose more.",
        forests(rows, look, "nats per factor 10 of the count", "Change caused by unlearning: slope on the count"),
        [
            table_of(
                "Slopes per factor 10 of the count",
                SLOPES,
                [Asked(method["name"], form, method) for form in forms for method in methods],
            ),
            *_contrasts(summary, forms),
        ],
        note=note,
    )


def residual(data: ReportData) -> Section | None:
    """Build the section on how the remaining log-probability depends on the count."""
    summary, look = data.summary, data.look
    methods, forms = summary["methods"], asked_forms(summary)
    if not methods or not forms:
        return None
    rows = {form: [_forest_row(method, "residual_slope_per_decade", form) for method in methods] for form in forms}
    return Section(
        "residual",
        "Does the remaining knowledge still depend on the count?",
        "How the log-probability after unlearning rises per factor 10 of the count, over all facts to be forgotten. If "
        "no knowledge were left, it would not rise at all (the line at 0).",
        forests(rows, look, "nats per factor 10 of the count", "Remaining log-probability: slope on the count"),
        [
            table_of(
                "Slopes of the log-probability after unlearning, all facts to be forgotten",
                RESIDUAL,
                [
                    Asked(method["name"], form, method["residual_slope_per_decade"][form])
                    for form in forms
                    for method in methods
                ],
            )
        ],
        note="This section includes facts that were not known before. Among known facts, the rare ones are those that "
        "are easy to guess, before and after. That selection alone gives even a model that never saw them a slope "
        "below 0.",
    )


def _forest_row(
    method: Mapping[str, Any], key: str, form: str, other: Mapping[str, Any] | None = None
) -> charts.ForestRow:
    found = method[key][form]
    return charts.ForestRow(method["name"], found, seed_values(found), other)


def seed_values(found: Mapping[str, Any]) -> list[float]:
    """Return the slopes of the seeds that have one."""
    return [seed["value"] for seed in found["per_seed"] if seed["value"] is not None]


def forests(
    rows: Mapping[str, Sequence[charts.ForestRow]], look: Mapping[str, figures.Look], label: str, alternative: str
) -> list[Panel]:
    """Draw one forest plot per form, all on one scale around 0."""
    values = [0.0]
    for row in (row for of_form in rows.values() for row in of_form):
        for found in (row.found, row.other or {"value": None, "ci95": None}):
            values += [value for value in (found["value"], *(found["ci95"] or ())) if value is not None]
    room = 0.06 * (max(values) - min(values) or 1.0)
    limits = (min(values) - room, max(values) + room)
    return [
        Panel(
            f"Asked as a {form}",
            charts.forest(
                of_form, look, reference=0.0, limits=limits, label=label, alternative=f"{alternative}, {form} form."
            ),
            csv_of(
                [
                    {
                        **flat(row.found, method=row.method),
                        "adjusted": (row.other or {}).get("value"),
                        **{f"seed_{place}": value for place, value in enumerate(row.seeds)},
                    }
                    for row in of_form
                ]
            ),
        )
        for form, of_form in rows.items()
    ]


def _contrasts(summary: Mapping[str, Any], forms: Sequence[str]) -> list[Table]:
    rows = [
        Asked(f"{each['method']} {MINUS} {each['reference']}", form, each["slope_per_decade"][form])
        for each in summary["contrasts"]
        for form in forms
    ]
    return [table_of("Differences between methods, on the same facts", CONTRASTS, rows)] if rows else []
