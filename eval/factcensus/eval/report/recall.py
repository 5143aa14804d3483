"""Recall before unlearning, accuracy by group, and training curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factcensus.eval.names import MAIN_FORMS
from factcensus.eval.report import charts
from factcensus.eval.report.columns import Column, Fields, estimate_columns, keyed, table_of
from factcensus.eval.report.formatting import count_label, number, percent, span
from factcensus.eval.report.section import Panel, ReportData, Section, csv_of, csv_of_frame, flat

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


RECALL: tuple[Column[Fields], ...] = (
    keyed("form"),
    Column("count", lambda row: span(row["low"], row["high"])),
    *estimate_columns("answered", lambda row: row, percent),
    keyed("n"),
)


LOST = "Updates lost: share of weights whose update was lost to rounding"


def _group_column(group: str) -> Column[Fields]:
    """Return the column of the accuracy of a group; the record is that of a model in one form."""

    def accuracy(row: Mapping[str, Any]) -> str:
        found = row.get(group, {}).get(row["form"], {})
        return f"{percent(found.get('value'))} (n={found.get('n', 0)})"

    return Column(group, accuracy)


def recall_before(data: ReportData) -> Section | None:
    """Build the section on recall before unlearning."""
    summary = data.summary
    recall = summary["original"]["recall_by_count"]
    forms = [form for form in summary["forms"] if any(row["n"] for row in recall[form])]
    if not forms:
        return None
    accuracy = summary["original"]["accuracy"].get("phantom", {})
    guessed = {form: accuracy.get(form, {}).get("value") for form in forms}
    rows = [{**row, "form": form} for form in forms for row in recall[form]]
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
        [table_of("Recall before unlearning", RECALL, rows)],
        note="Dotted: accuracy by guessing, on people without any text."
        if any(value is not None for value in guessed.values())
        else "",
    )


def accuracy_by_group(data: ReportData) -> Section | None:
    """Build the section on accuracy by group, before and after."""
    summary, look = data.summary, data.look
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
    columns = [keyed("model"), keyed("form"), *map(_group_column, groups)]
    rows = [{**accuracy, "model": name, "form": form} for form in forms for name, accuracy in models]
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
            if form in MAIN_FORMS
        ],
        [table_of("Share answered, all facts of a group", columns, rows)],
        legend=True,
        terms=[(group.replace("_", " "), GROUPS[group]) for group in groups if group in GROUPS],
        note="The black vertical mark is the original model. Retain people alone flatter a method, because training on "
        "their questions helps the model keep them. Bystanders, whose facts no loss used, show the real damage.",
    )


def training(data: ReportData) -> Section | None:
    """Build the section on losses during unlearning."""
    run, summary, look = data.run, data.summary, data.look
    labels = {"forget_loss_nats": "forget loss (each method's own)", "retain_loss_nats": "retain loss (nats)"}
    columns = [name for name in labels if name in run.steps.columns and run.steps[name].notna().any()]
    if not columns or not summary["methods"]:
        return None
    last = run.steps.sort_values("step").groupby(["method", "seed"], sort=False).tail(1)
    shown = [
        *(keyed(name) for name in ("method", "seed", "step")),
        *(keyed(labels[name], name, number) for name in columns),
        Column[Fields]("updates lost", lambda row: row.get("lost_update_share"), percent, LOST),
    ]
    return Section(
        "training",
        "How the training went",
        "Losses by step; each thin line is one seed. The forget losses of different methods are different functions: "
        "compare their shapes, not their values.",
        [
            Panel(
                labels[name],
                charts.training_curves(run.steps, name, look, labels[name]),
                csv_of_frame(run.steps.dropna(subset=name), ["method", "seed", "step", name]),
            )
            for name in columns
        ],
        [
            table_of("The last step", shown, last.to_dict("records")),
        ],
        legend=True,
    )
