"""Agreement of probability-based and generation-based evaluation, with a threshold and without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from factcensus.eval.report import charts, figures
from factcensus.eval.report.columns import FORM, METHOD, Asked, Column, N, estimate_columns, table_of
from factcensus.eval.report.formatting import detectable, number, percent, probability, share_of_one, with_interval
from factcensus.eval.report.section import Panel, ReportData, Section, asked_forms, csv_of
from factcensus.eval.report.slopes import forests

_MISALIGNMENT_KEYS = (
    "n",
    "total",
    "hidden",
    "brittle",
    "signed",
    "original",
    "never_seen",
    "excess",
    "mcnemar_p",
)


def _shifted(found: Mapping[str, float]) -> str:
    return " / ".join(map(percent, found.values()))


def _scores(row: Asked) -> str:
    scores = row.found["scores"]
    said = f"{scores['samples']} samples" if scores["generation"] == "samples" else "greedy answer"
    return f"{scores['probability'].replace('_', ' ')}; {said}"


def _slope(row: Asked) -> str:
    slope = row.found["slope_per_decade"]
    return with_interval(slope["value"], slope["ci95"], number)


def _of(head: str, key: str, form: Callable[[Any], str]) -> Column[Asked]:
    """Return the column of a plain value."""
    return Column(head, lambda row: row.found[key], form)


DISAGREEMENT: tuple[Column[Asked], ...] = (
    METHOD,
    FORM,
    *estimate_columns("total", lambda row: row.found, percent, value="total"),
    _of("hidden", "hidden", percent),
    _of("brittle", "brittle", percent),
    _of("original", "original", percent),
    _of("if none left", "never_seen", percent),
    Column(
        "excess",
        lambda row: with_interval(row.found["excess"], row.found["excess_ci95"], percent),
        meaning="Excess: minus the disagreement of the original model",
    ),
    Column(
        "shifted",
        lambda row: row.found["total_at_shifted_level"],
        _shifted,
        "Shifted: total with the never-seen level one nat per token lower / higher",
    ),
    _of("McNemar p", "mcnemar_p", probability),
    Column(
        "rank",
        lambda row: with_interval(row.found["hidden_rank"]["value"], row.found["hidden_rank"]["ci95"], percent),
        meaning="Rank: of the answers no longer given, among answers about never-seen people",
    ),
    N,
)
INDEX: tuple[Column[Asked], ...] = (
    METHOD,
    FORM,
    _of("P", "probability", share_of_one),
    _of("G", "generation", share_of_one),
    _of("original", "original", number),
    *estimate_columns(
        "excess",
        lambda row: row.found,
        number,
        value="excess",
        meaning="Excess: P minus G, minus the same difference for the original model",
    ),
    Column("per factor 10", _slope, meaning="Per factor 10: slope of the excess on the count"),
    Column("detectable", lambda row: row.found["slope_per_decade"]["minimum_detectable_effect"], detectable),
    Column("rests on", _scores),
    N,
)


def misalignment(data: ReportData) -> Section | None:
    """Build the section on probability against generation."""
    summary, look = data.summary, data.look
    methods = summary["methods"]
    found = {
        form: [(method["name"], method["misalignment"]["by_form"][form]) for method in methods]
        for form in asked_forms(summary)
    }
    found = {form: rows for form, rows in found.items() if any(each["total"] is not None for _, each in rows)}
    if not found:
        return None
    reach = max(
        max(each["ci95"][1], each["original"], each["never_seen"] or 0.0)
        for rows in found.values()
        for _, each in rows
        if each["total"] is not None
    )
    limit = min(1.02, 1.06 * reach + 0.02)
    panels = [
        Panel(
            f"Asked as a {form}",
            charts.misalignment_parts(methods, form, limit),
            csv_of(
                [
                    {"method": name, "form": form, **{key: each[key] for key in _MISALIGNMENT_KEYS}}
                    for name, each in rows
                ]
            ),
        )
        for form, rows in found.items()
    ]
    panels += _agreement_panels(found, look)
    asked = [Asked(name, form, each) for form, rows in found.items() for name, each in rows]
    return Section(
        "misalignment",
        "Do probability and generation agree?",
        "A fact is forgotten by probability when its answer is no more probable than the average answer about people "
        "without any text (the never-seen level). Hidden: the model no longer gives the answer, but it is still more "
        "probable than that level. Brittle: it is no more probable than that level, but the model still gives it.",
        panels,
        [
            table_of("Disagreement between probability and generation", DISAGREEMENT, asked),
            table_of(
                "The threshold-free index. P, G: how well probability and one generated answer separate these facts "
                "from never-seen people (AUC; 0.5: chance, 1: perfect)",
                INDEX,
                [Asked(row.method, row.form, row.found["agreement"]) for row in asked],
            ),
        ],
        note="Upper plots. Thin line: interval of the total. Thick vertical mark: disagreement of the original model. "
        "Dotted mark: share that would count as hidden even if no knowledge were left, because about half of the "
        "never-seen people lie above their own average; beyond this mark, knowledge is hidden. Lower plots: how much "
        "better probability separates the facts from never-seen people than a generated answer does, compared with the "
        "original model. At 0 the two agree; to the right, knowledge is hidden.",
    )


def _agreement_panels(
    found: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]], look: Mapping[str, figures.Look]
) -> list[Panel]:
    """Draw the excess of the threshold-free index, one forest plot per form on one scale."""
    rows = {
        form: [
            charts.ForestRow(name, {**each["agreement"], "value": each["agreement"]["excess"]})
            for name, each in of_form
            if each["agreement"]["n"]
        ]
        for form, of_form in found.items()
    }
    rows = {form: of_form for form, of_form in rows.items() if of_form}
    return forests(
        rows,
        look,
        "excess of the threshold-free index",
        "How much better probability detects facts than generation",
    )
