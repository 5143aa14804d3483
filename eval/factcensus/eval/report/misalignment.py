"""Whether probability and generation agree: by a level, and without any threshold."""

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
    "n", "total", "hidden", "brittle", "signed", "original", "never_seen", "excess", "mcnemar_p",
)  # fmt: skip


def misalignment(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Probability against generation."""
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
            csv_of([
                {"method": name, "form": form, **{key: each[key] for key in _MISALIGNMENT_KEYS}} for name, each in rows
            ]),
        )
        for form, rows in found.items()
    ]  # fmt: skip
    panels += _agreement_panels(found, look)
    head = ["method", "form", "total", "95 % interval", "hidden", "brittle", "original", "if nothing left", "excess"]
    return Section(
        "misalignment",
        "Do probability and generation agree?",
        "A fact is forgotten by probability when its answer has become as improbable as it is on average for people of "
        "whom no text exists. Hidden: the model no longer says the answer, yet holds it more probable than that. "
        "Brittle: it is as improbable as that, yet still comes out first.",
        panels,
        [
            Table(
                "Disagreement between probability and generation. Excess: beyond the original model's own. Shifted: "
                "the total if the never-seen level were one nat per token lower / higher. Rank: of answers no longer "
                "said, among never-seen ones",
                [*head, "shifted", "McNemar p", "rank", "n"],
                [_misalignment_row(name, form, each) for form, rows in found.items() for name, each in rows],
            ),
            Table(
                "The index without a threshold. P, G: how well probability and one generated answer tell these facts "
                "from people never seen (0.5: not at all, 1: always). Excess: P minus G, less the original model's "
                "own. Per factor 10: how the excess goes with the count",
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
        note="Above: thin line, the interval of the total; thick upright mark, the original model's own disagreement; "
        "dotted mark, what would count as hidden if nothing were left of the facts no longer said, since about half of "
        "the never-seen people lie above their own average. What goes beyond the dotted mark is hidden knowledge. "
        "Below, no level and no threshold is needed: how much better probability tells the facts from people never "
        "seen than an answer does, beyond the original model. At 0 the two agree; to the right, knowledge is hidden.",
    )


def _agreement_panels(
    found: Mapping[str, Sequence[tuple[str, Mapping[str, Any]]]], look: Mapping[str, figures.Look]
) -> list[Panel]:
    """The excess of the index without a threshold, a forest a form on one scale."""
    rows = {
        form: [
            charts.ForestRow(name, {**each["agreement"], "value": each["agreement"]["excess"]})
            for name, each in of_form if each["agreement"]["n"]
        ]
        for form, of_form in found.items()
    }  # fmt: skip
    rows = {form: of_form for form, of_form in rows.items() if of_form}
    return forests(
        rows, look, "excess of the index without a threshold", "How much better probability finds facts than generation"
    )


def _agreement_row(name: str, form: str, found: Mapping[str, Any]) -> list[str]:
    slope = found["slope_per_decade"]
    scores = found["scores"]
    said = f"{scores['samples']} samples" if scores["generation"] == "samples" else "greedy answer"
    score = scores["probability"].replace("_", " ")
    return [
        name, form, share_of_one(found["probability"]), share_of_one(found["generation"]), number(found["original"]),
        number(found["excess"]), interval(found["ci95"], number),
        f"{number(slope['value'])} {interval(slope['ci95'], number)}", detectable(slope["minimum_detectable_effect"]),
        f"{score}; {said}", str(found["n"]),
    ]  # fmt: skip


def _misalignment_row(name: str, form: str, found: Mapping[str, Any]) -> list[str]:
    rank = found["hidden_rank"]
    return [
        name, form, percent(found["total"]), interval(found["ci95"], percent),
        percent(found["hidden"]), percent(found["brittle"]), percent(found["original"]), percent(found["never_seen"]),
        f"{percent(found['excess'])} {interval(found['excess_ci95'], percent)}",
        " / ".join(percent(value) for value in found["total_at_shifted_level"].values()),
        probability(found["mcnemar_p"]), f"{percent(rank['value'])} {interval(rank['ci95'], percent)}", str(found["n"]),
    ]  # fmt: skip
