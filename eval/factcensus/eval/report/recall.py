"""Recall before unlearning, accuracy by group, and training curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from factcensus.eval.report import charts, figures
from factcensus.eval.report.formatting import count_label, interval, number, percent, span
from factcensus.eval.report.section import Panel, Section, Table, csv_of, csv_text, flat

if TYPE_CHECKING:
    from factcensus.eval.run_folder import Run


#: Groups in the order of the report, and their descriptions.
GROUPS = {
    "forget": "to be forgotten",
    "forget_held": "to be forgotten, but not trained on",
    "retain": "kept by the retain loss",
    "retain_held": "pre-trained with their questions; in no unlearning loss",
    "bystander_used": "bystanders that the retain loss saw",
    "bystander": "pre-trained on texts only; in no unlearning loss",
    "phantom": "people without any text; accuracy here is guessing",
}


def recall_before(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Build the section on recall before unlearning."""
    recall = summary["original"]["recall_by_count"]
    forms = [form for form in summary["forms"] if any(row["n"] for row in recall[form])]
    if not forms:
        return None
    accuracy = summary["original"]["accuracy"].get("phantom", {})
    guessed = {form: accuracy.get(form, {}).get("value") for form in forms}
    rows = [
        [form, span(row["low"], row["high"]), percent(row["value"]), interval(row["ci95"], percent), str(row["n"])]
        for form in forms
        for row in recall[form]
    ]
    return Section(
        "recall",
        "What the original model knew",
        f"The share of facts that the model answers before unlearning, by count ({count_label(summary)}). Only people "
        "whose questions were never trained on are included, so the model learned "
        "these facts from the texts.",
        [
            Panel(
                "Recall before unlearning, by count",
                charts.recall_by_count(recall, guessed, forms, count_label(summary)),
                csv_of(
                    [
                        flat(row, form=form, count_low=row["low"], count_high=row["high"])
                        for form in forms
                        for row in recall[form]
                    ]
                ),
            )
        ],
        [Table("Recall before unlearning", ["form", "count", "answered", "95 % interval", "n"], rows)],
        note="Dotted: accuracy by guessing, on people without any text."
        if any(value is not None for value in guessed.values())
        else "",
    )


def accuracy_by_group(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Build the section on accuracy by group, before and after."""
    models = [("original", summary["original"]["accuracy"])]
    models += [(method["name"], method["accuracy"]) for method in summary["methods"]]
    groups = [group for group in GROUPS if any(group in accuracy for _, accuracy in models)]
    groups += sorted({group for _, accuracy in models for group in accuracy} - set(groups))
    forms = [
        form
        for form in summary["forms"]
        if any(by_form.get(form, {}).get("n") for _, accuracy in models for by_form in accuracy.values())
    ]
    if not groups or not forms:
        return None
    rows = []
    for form in forms:
        for name, accuracy in models:
            cells = [accuracy.get(group, {}).get(form, {}) for group in groups]
            rows.append([name, form, *(f"{percent(cell.get('value'))} (n={cell.get('n', 0)})" for cell in cells)])
    return Section(
        "accuracy",
        "What else was lost?",
        "The share of facts answered before and after unlearning, by group of people.",
        [
            Panel(
                f"Asked as a {form}",
                charts.accuracies(models, groups, look, form),
                csv_of(
                    [
                        flat(by_form[form], model=name, group=group)
                        for name, accuracy in models
                        for group, by_form in accuracy.items()
                        if form in by_form
                    ]
                ),
            )
            for form in forms
            if form in ("question", "cloze")
        ],
        [Table("Share answered, all facts of a group", ["model", "form", *groups], rows)],
        legend=True,
        terms=[(group.replace("_", " "), GROUPS[group]) for group in groups if group in GROUPS],
        note="The black vertical mark is the original model. Retain people alone flatter a method, because training on "
        "their questions helps the model keep them. Bystanders, whom no loss saw, show the real damage.",
    )


def training(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:
    """Build the section on losses during unlearning."""
    labels = {"forget_loss_nats": "forget loss (each method's own)", "retain_loss_nats": "retain loss (nats)"}
    columns = [name for name in labels if name in run.steps.columns and run.steps[name].notna().any()]
    if not columns or not summary["methods"]:
        return None
    last = run.steps.sort_values("step").groupby(["method", "seed"], sort=False).tail(1)
    rows = [
        [
            str(row["method"]),
            str(row["seed"]),
            str(row["step"]),
            *(number(row[name]) for name in columns),
            percent(row["lost_update_share"]) if "lost_update_share" in run.steps.columns else "-",
        ]
        for row in last.to_dict("records")
    ]
    head = ["method", "seed", "step", *(labels[name] for name in columns), "updates lost"]
    return Section(
        "training",
        "How the training went",
        "Losses by step; each thin line is one seed. The forget losses of different methods are different functions: "
        "compare their shapes, not their values.",
        [
            Panel(
                labels[name],
                charts.training_curves(run.steps, name, look, labels[name]),
                csv_text(
                    [
                        ["method", "seed", "step", name],
                        *run.steps[["method", "seed", "step", name]].dropna().itertuples(index=False, name=None),
                    ]
                ),
            )
            for name in columns
        ],
        [Table("The last step. Updates lost: share of weights whose update was lost to rounding", head, rows)],
        legend=True,
    )
