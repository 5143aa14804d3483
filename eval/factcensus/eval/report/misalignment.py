"""Agreement of probability-based and generation-based evaluation, with a threshold and without one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from factcensus.eval.report import charts, figures
from factcensus.eval.report.formatting import detectable, interval, number, percent, probability, share_of_one
from factcensus.eval.report.section import Panel, Section, Table, asked_forms, csv_of
from factcensus.eval.report.slopes import forests

if TYPE_CHECKING:
    from factcensus.eval.run_folder import Run


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


def misalignment(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Build the section on probability against generation."""
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
    head = ["method", "form", "total", "95 % interval", "hidden", "brittle", "original", "if none left", "excess"]
    return Section(
        "misalignment",
        "Do probability and generation agree?",
        "A fact is forgotten by probability when its answer is no more probable than the average answer about people "
        "without any text (the never-seen level). Hidden: the model no longer gives the answer, but it is still more "
        "probable than that level. Brittle: it is no more probable than that level, but the model still gives it.",
        panels,
        [
            Table(
                "Disagreement between probability and generation. Excess: minus the disagreement of the original "
                "model. Shifted: total with the never-seen level one nat per token lower / higher. Rank: of the "
                "answers no longer given, among answers about never-seen people",
                [*head, "shifted", "McNemar p", "rank", "n"],
                [_misalignment_row(name, form, each) for form, rows in found.items() for name, each in rows],
            ),
            Table(
                "The threshold-free index. P, G: how well probability and one generated answer separate these facts "
                "from never-seen people (AUC; 0.5: chance, 1: perfect). Excess: P minus G, minus the same of the "
                "original model. Per factor 10: slope of the excess on the count",
                [
                    "method",
                    "form",
                    "P",
                    "G",
                    "original",
                    "excess",
                    "95 % interval",
                    "per factor 10",
                    "detectable",
                    "rests on",
                    "n",
                ],
                [_agreement_row(name, form, each["agreement"]) for form, rows in found.items() for name, each in rows],
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
        rows, look, "excess of the threshold-free index", "How much better probability finds facts than generation"
    )


def _agreement_row(name: str, form: str, found: Mapping[str, Any]) -> list[str]:
    slope = found["slope_per_decade"]
    scores = found["scores"]
    said = f"{scores['samples']} samples" if scores["generation"] == "samples" else "greedy answer"
    score = scores["probability"].replace("_", " ")
    return [
        name,
        form,
        share_of_one(found["probability"]),
        share_of_one(found["generation"]),
        number(found["original"]),
        number(found["excess"]),
        interval(found["ci95"], number),
        f"{number(slope['value'])} {interval(slope['ci95'], number)}",
        detectable(slope["minimum_detectable_effect"]),
        f"{score}; {said}",
        str(found["n"]),
    ]


def _misalignment_row(name: str, form: str, found: Mapping[str, Any]) -> list[str]:
    rank = found["hidden_rank"]
    return [
        name,
        form,
        percent(found["total"]),
        interval(found["ci95"], percent),
        percent(found["hidden"]),
        percent(found["brittle"]),
        percent(found["original"]),
        percent(found["never_seen"]),
        f"{percent(found['excess'])} {interval(found['excess_ci95'], percent)}",
        " / ".join(percent(value) for value in found["total_at_shifted_level"].values()),
        probability(found["mcnemar_p"]),
        f"{percent(rank['value'])} {interval(rank['ci95'], percent)}",
        str(found["n"]),
    ]
