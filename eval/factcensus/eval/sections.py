"""The sections of the report: one question each, with its plots, how to read them, and the numbers behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factcensus.eval import figures
from factcensus.eval.formatting import MINUS, detectable, interval, number, percent, probability, span

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


@dataclass(frozen=True, slots=True)
class Panel:
    """A plot with its caption."""

    caption: str
    svg: str


@dataclass(frozen=True, slots=True)
class Table:
    """The numbers behind a plot; the first column is each row's heading."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Section:
    """One question of the report: what it asks, terms used, plots, how to read them, tables."""

    anchor: str
    title: str
    lead: str
    panels: Sequence[Panel]
    tables: Sequence[Table]
    legend: bool = False
    note: str = ""
    terms: Sequence[tuple[str, str]] = ()


def _recall(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
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
        [Panel("Recall before unlearning, by count", figures.recall_by_count(recall, guessed, forms))],
        [Table("Recall before unlearning", ["form", "count", "answered", "95 % interval", "n"], rows)],
        note="Dotted: what the model reaches for people of whom no text exists, by guessing."
        if any(value is not None for value in guessed.values())
        else "",
    )


def _forgetting(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Shares forgotten by stratum."""
    methods, forms = summary["methods"], _forms(summary)
    if not methods or not forms:
        return None
    rows = []
    for form in forms:
        for method in methods:
            for stratum in method["forgotten_by_stratum"][form]:
                generation, probability = stratum["generation"], stratum["probability"]
                rows.append(
                    [
                        method["name"], form, stratum["label"],
                        percent(generation["value"]), interval(generation["ci95"], percent),
                        percent(probability["value"]), interval(probability["ci95"], percent),
                        f"{generation['n']} of {stratum['asked']}",
                    ]
                )  # fmt: skip
    return Section(
        "forgetting",
        "Forgotten, by how often the fact stands in the corpus",
        "A fact counts as forgotten by generation when the model no longer says the answer. Only facts that the "
        "original model said are counted, so a fact that was never known cannot pass for forgotten.",
        [
            Panel(f"Asked as a {form}", figures.forgotten_by_stratum(methods, form, look, "generation"))
            for form in forms
        ],
        [
            Table(
                "Shares forgotten; n is facts known before, of those asked",
                ["method", "form", "count", "by generation", "95 % interval", "by probability", "95 % interval", "n"],
                rows,
            )
        ],
        legend=True,
    )


def _slopes(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Slopes of the change on the count, with seeds, adjustment, oracle and controls."""
    methods, forms = summary["methods"], _forms(summary)
    if not methods or not forms:
        return None
    note = (
        "Filled mark and thick line: the slope and its 95 % interval. Ticks below it: every seed's own slope. Open "
        "mark above it: the slope at equal confidence before unlearning; what is left there does not run through "
        "frequent facts having been more certain."
    )
    if summary["oracle"]:
        note += (
            f" {summary['oracle']} is a model trained without the forget people: what perfect forgetting would look "
            "like. Where its slope is below 0, frequent facts were more probable before and had more to lose; a method "
            "whose slope lies above it takes less from frequent facts than never having read about them would."
        )
    rows = {
        form: [
            _forest_row(method, "slope_per_decade", form, method["adjusted_slope_per_decade"][form])
            for method in methods
        ]
        for form in forms
    }
    head = ["method", "form", "slope", "95 % interval", "each seed", "detectable", "at equal confidence", "n"]
    return Section(
        "slopes",
        "Does frequency protect a fact?",
        "The slope says how the loss of log-probability changes with every factor 10 of the count, in nats summed over "
        "the answer's tokens, for facts known before. Above 0: frequent facts lose less. Below 0: they lose more.",
        _forests(rows, look, "nats per factor 10 of the count", "Slope of the change by unlearning on the count"),
        [
            Table(
                "Slopes per factor 10 of the count. Detectable: the least true slope that would be found 4 times in 5",
                head,
                [_slope_row(method, form) for form in forms for method in methods],
            ),
            *_contrasts(summary, forms),
        ],
        note=note,
    )


def _residual(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Slopes of what is left on the count."""
    methods, forms = summary["methods"], _forms(summary)
    if not methods or not forms:
        return None
    rows = {form: [_forest_row(method, "residual_slope_per_decade", form) for method in methods] for form in forms}
    numbers = [
        [
            row.method, form, number(row.found["value"]), interval(row.found["ci95"], number),
            ", ".join(map(number, row.seeds)), detectable(row.found["minimum_detectable_effect"]), str(row.found["n"]),
        ]
        for form in forms
        for row in rows[form]
    ]  # fmt: skip
    return Section(
        "residual",
        "Does what is left still follow the count?",
        "How the log-probability that is left after unlearning rises with every factor 10 of the count, over all facts "
        "to be forgotten. If nothing were left of them, it would not rise at all: the line at 0.",
        _forests(rows, look, "nats per factor 10 of the count", "Slope of the log-probability left on the count"),
        [
            Table(
                "Slopes of the log-probability after unlearning, all facts to be forgotten",
                ["method", "form", "slope", "95 % interval", "each seed", "detectable", "n"],
                numbers,
            )
        ],
        note="All facts count here, known before or not. Among known facts the rare ones are those that were easy to "
        "guess, and they stay so: that selection alone gives even a model without them a slope below 0.",
    )


def _forest_row(
    method: Mapping[str, Any], key: str, form: str, other: Mapping[str, Any] | None = None
) -> figures.ForestRow:
    found = method[key][form]
    seeds = [seed["value"] for seed in found["per_seed"] if seed["value"] is not None]
    return figures.ForestRow(method["name"], found, seeds, other)


def _forests(
    rows: Mapping[str, Sequence[figures.ForestRow]], look: Mapping[str, figures.Look], label: str, alternative: str
) -> list[Panel]:
    """One forest plot a form, all on one scale around 0."""
    values = [0.0]
    for row in (row for of_form in rows.values() for row in of_form):
        for found in (row.found, row.other or {"value": None, "ci95": None}):
            values += [value for value in (found["value"], *(found["ci95"] or ())) if value is not None]
    room = 0.06 * (max(values) - min(values) or 1.0)
    limits = (min(values) - room, max(values) + room)
    return [
        Panel(
            f"Asked as a {form}",
            figures.forest(
                of_form, look, reference=0.0, limits=limits, label=label, alternative=f"{alternative}, {form} form."
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
        ", ".join(number(seed["value"]) for seed in total["per_seed"]) or "-",
        detectable(total["minimum_detectable_effect"]),
        f"{number(adjusted['value'])} {interval(adjusted['ci95'], number)}",
        str(total["n"]),
    ]


def _contrasts(summary: Mapping[str, Any], forms: Sequence[str]) -> list[Table]:
    rows = [
        [
            f"{each['method']} {MINUS} {each['reference']}", form, number(found["value"]),
            interval(found["ci95"], number), detectable(found["minimum_detectable_effect"]), str(found["n"]),
        ]
        for each in summary["contrasts"]
        for form in forms
        for found in [each["slope_per_decade"][form]]
    ]  # fmt: skip
    head = ["difference", "form", "slope", "95 % interval", "detectable", "n"]
    return [Table("Differences between methods, on the same facts", head, rows)] if rows else []


def _misalignment(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
    """Probability against generation."""
    methods = summary["methods"]
    found = {
        form: [(method["name"], method["misalignment"]["by_form"][form]) for method in methods]
        for form in _forms(summary)
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
    panels = [Panel(f"Asked as a {form}", figures.misalignment_parts(methods, form, limit)) for form in found]
    panels += [
        Panel(
            f"Answers no longer said, asked as a {form}",
            figures.forest(
                [figures.ForestRow(name, each["hidden_rank"]) for name, each in rows if each["hidden_rank"]["n"]],
                look,
                reference=0.5,
                limits=(0.0, 1.02),
                label="never-seen answers that are less probable",
                alternative=f"Rank of answers no longer said among never-seen answers, {form} form.",
                percent=True,
            ),
        )
        for form, rows in found.items()
    ]
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
            )
        ],
        note="Above: thin line, the interval of the total; thick upright mark, the original model's own disagreement; "
        "dotted mark, what would count as hidden if nothing were left of the facts no longer said, since about half of "
        "the never-seen people lie above their own average. What goes beyond the dotted mark is hidden knowledge. "
        "Below, no level is needed: if nothing were left of a fact, its answer would be more probable than half of the "
        "never-seen ones.",
    )


def _misalignment_row(name: str, form: str, found: Mapping[str, Any]) -> list[str]:
    rank = found["hidden_rank"]
    return [
        name, form, percent(found["total"]), interval(found["ci95"], percent),
        percent(found["hidden"]), percent(found["brittle"]), percent(found["original"]), percent(found["never_seen"]),
        f"{percent(found['excess'])} {interval(found['excess_ci95'], percent)}",
        " / ".join(percent(value) for value in found["total_at_shifted_level"].values()),
        probability(found["mcnemar_p"]), f"{percent(rank['value'])} {interval(rank['ci95'], percent)}", str(found["n"]),
    ]  # fmt: skip


def _accuracy(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:  # noqa: ARG001
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
            Panel(f"Asked as a {form}", figures.accuracies(models, groups, look, form))
            for form in forms
            if form in ("question", "cloze")
        ],
        [Table("Share answered, all facts of a group", ["model", "form", *groups], rows)],
        legend=True,
        terms=[(group.replace("_", " "), GROUPS[group]) for group in groups if group in GROUPS],
        note="The black upright mark is the original model. Retain people alone flatter a method: that their questions "
        "were trained is itself something a model can keep them by. Bystanders that no loss saw show the damage.",
    )


def _training(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:
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
        [Panel(labels[name], figures.training_curves(run.steps, name, look, labels[name])) for name in columns],
        [Table("The last step. Updates lost: share of weights whose update was rounded away", head, rows)],
        legend=True,
    )


SECTIONS: tuple[Callable[..., Section | None], ...] = (
    _forgetting, _slopes, _residual, _misalignment, _accuracy, _recall, _training,
)  # fmt: skip


def _forms(summary: Mapping[str, Any]) -> list[str]:
    """The main forms that a forget fact was asked in."""
    return [
        form for form in ("question", "cloze")
        if any(method["forgotten_by_stratum"][form] for method in summary["methods"])
    ]  # fmt: skip
