"""What the original model knew, what else was lost, and how the training went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from factcensus.eval.report import charts, figures
from factcensus.eval.report.formatting import interval, number, percent, span
from factcensus.eval.report.section import Panel, Section, Table, csv_of, csv_text, flat

if TYPE_CHECKING:
    from factcensus.eval.run_folder import Run


#: Groups in the order the report shows them, with what they are.
GROUPS = {
    "forget": "to be forgotten",
    "forget_held": "same kind, not trained on",
    "retain": "kept by the retain loss",
    "retain_held": "seen with their questions in pre-training, in no unlearning loss",
    "bystander_used": "bystanders that the retain loss saw",
    "bystander": "seen in texts only, in no unlearning loss",
    "phantom": "people of whom no text exists: what guessing reaches",
}


def recall_before(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """What the original model knew."""
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
        "The share of facts that the model answers before any unlearning, by the number of documents in which subject "
        "and object stand together. Only people whose questions no training showed are counted here, so what is "
        "known was learned from the texts.",
        [
            Panel(
                "Recall before unlearning, by count",
                charts.recall_by_count(recall, guessed, forms),
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
        note="Dotted: what the model reaches for people of whom no text exists, by guessing."
        if any(value is not None for value in guessed.values())
        else "",
    )


def accuracy_by_group(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """What else was lost."""
    models = [("original", summary["original"]["accuracy"])]
    models += [(method["name"], method["accuracy"]) for method in summary["methods"]]
    groups = [group for group in GROUPS if any(group in accuracy for _, accuracy in models)]
    groups += sorted({group for _, accuracy in models for group in accuracy} - set(groups))
    forms = [
        form for form in summary["forms"]
        if any(by_form.get(form, {}).get("n") for _, accuracy in models for by_form in accuracy.values())
    ]  # fmt: skip
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
        "The share of questions answered, by group of people, before and after.",
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
        note="The black upright mark is the original model. Retain people alone flatter a method: that their questions "
        "were trained is itself something a model can keep them by. Bystanders that no loss saw show the damage.",
    )


def training(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:
    """Losses while unlearning."""
    labels = {"forget_loss_nats": "forget loss (each method's own)", "retain_loss_nats": "retain loss (nats)"}
    columns = [name for name in labels if name in run.steps.columns and run.steps[name].notna().any()]
    if not columns or not summary["methods"]:
        return None
    last = run.steps.sort_values("step").groupby(["method", "seed"], sort=False).tail(1)
    rows = [
        [
            str(row["method"]), str(row["seed"]), str(row["step"]), *(number(row[name]) for name in columns),
            percent(row["lost_update_share"]) if "lost_update_share" in run.steps.columns else "-",
        ]
        for row in last.to_dict("records")
    ]  # fmt: skip
    head = ["method", "seed", "step", *(labels[name] for name in columns), "updates lost"]
    return Section(
        "training",
        "How the training went",
        "Losses by step; a thin line is one seed. Forget losses of different methods are different functions: compare "
        "their course, not their height.",
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
        [Table("The last step. Updates lost: share of weights whose update was rounded away", head, rows)],
        legend=True,
    )
