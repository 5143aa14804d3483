"""Slopes on the count: of the change and of the remaining log-probability, by seed, adjusted, and with controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from factcensus.eval.report import charts, figures
from factcensus.eval.report.formatting import MINUS, detectable, interval, number, probability
from factcensus.eval.report.section import Panel, Section, Table, asked_forms, csv_of, flat

if TYPE_CHECKING:
    from factcensus.eval.run_folder import Run


def slopes(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Build the section on how the change in log-probability depends on the count."""
    methods, forms = summary["methods"], asked_forms(summary)
    if not methods or not forms:
        return None
    note = (
        "Filled mark and thick line: the slope and its 95 % interval. Ticks below: the slope of each seed. Open mark "
        "above: the slope at equal confidence before unlearning, that is, the part of the effect that does not come "
        "from the model being surer of frequent facts."
    )
    if summary["oracle"]:
        note += (
            f" {summary['oracle']} is a model trained without the people in the forget set; it shows perfect "
            "forgetting. A slope below 0 there means that frequent facts were more probable before and had more to "
            "lose. A method with a larger slope removes less from frequent facts than never having read about them "
            "would."
        )
    rows = {
        form: [
            _forest_row(method, "slope_per_decade", form, method["adjusted_slope_per_decade"][form])
            for method in methods
        ]
        for form in forms
    }
    head = [
        "method",
        "form",
        "slope",
        "95 % interval",
        "p",
        "p (Holm)",
        "each seed",
        "across seeds",
        "detectable",
        "at equal confidence",
        "n",
    ]
    return Section(
        "slopes",
        "Does frequency protect a fact?",
        "The slope is the difference in the change of log-probability per factor 10 of the count, in nats summed over "
        "the tokens of the answer, for facts known before. Above 0, frequent facts lose less; below 0, they lose more.",
        forests(rows, look, "nats per factor 10 of the count", "Slope of the change by unlearning on the count"),
        [
            Table(
                "Slopes per factor 10 of the count. Holm: p-value corrected over all methods and both forms. Across "
                "seeds: interval of the mean that covers further seeds (needs three seeds). Detectable: minimum "
                "detectable slope at 80 % power",
                head,
                [_slope_row(method, form) for form in forms for method in methods],
            ),
            *_contrasts(summary, forms),
        ],
        note=note,
    )


def residual(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Build the section on how the remaining log-probability depends on the count."""
    methods, forms = summary["methods"], asked_forms(summary)
    if not methods or not forms:
        return None
    rows = {form: [_forest_row(method, "residual_slope_per_decade", form) for method in methods] for form in forms}
    numbers = [
        [
            row.method,
            form,
            number(row.found["value"]),
            interval(row.found["ci95"], number),
            ", ".join(map(number, row.seeds)),
            detectable(row.found["minimum_detectable_effect"]),
            str(row.found["n"]),
        ]
        for form in forms
        for row in rows[form]
    ]
    return Section(
        "residual",
        "Does the remaining knowledge still depend on the count?",
        "How the log-probability after unlearning rises per factor 10 of the count, over all facts to be forgotten. If "
        "no knowledge were left, it would not rise at all (the line at 0).",
        forests(rows, look, "nats per factor 10 of the count", "Slope of the remaining log-probability on the count"),
        [
            Table(
                "Slopes of the log-probability after unlearning, all facts to be forgotten",
                ["method", "form", "slope", "95 % interval", "each seed", "detectable", "n"],
                numbers,
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
    seeds = [seed["value"] for seed in found["per_seed"] if seed["value"] is not None]
    return charts.ForestRow(method["name"], found, seeds, other)


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


def _slope_row(method: Mapping[str, Any], form: str) -> list[str]:
    total, adjusted = method["slope_per_decade"][form], method["adjusted_slope_per_decade"][form]
    return [
        method["name"],
        form,
        number(total["value"]),
        interval(total["ci95"], number),
        probability(total["p"]),
        probability(total.get("p_holm")),
        ", ".join(number(seed["value"]) for seed in total["per_seed"]) or "-",
        interval(total["ci95_across_seeds"], number),
        detectable(total["minimum_detectable_effect"]),
        f"{number(adjusted['value'])} {interval(adjusted['ci95'], number)}",
        str(total["n"]),
    ]


def _contrasts(summary: Mapping[str, Any], forms: Sequence[str]) -> list[Table]:
    rows = [
        [
            f"{each['method']} {MINUS} {each['reference']}",
            form,
            number(found["value"]),
            interval(found["ci95"], number),
            detectable(found["minimum_detectable_effect"]),
            str(found["n"]),
        ]
        for each in summary["contrasts"]
        for form in forms
        for found in [each["slope_per_decade"][form]]
    ]
    head = ["difference", "form", "slope", "95 % interval", "detectable", "n"]
    return [Table("Differences between methods, on the same facts", head, rows)] if rows else []
