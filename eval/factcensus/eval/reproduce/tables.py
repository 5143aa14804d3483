"""The tables of the controlled grid, as Markdown for the documentation and as a section of the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from factcensus.eval.names import MAIN_FORMS
from factcensus.eval.report import figures
from factcensus.eval.report.formatting import MINUS, NONE, percent, quantity, share_of_one
from factcensus.eval.report.section import Panel, Section, Table, csv_of
from factcensus.eval.reproduce.size_effect import (
    MARGIN,
    OUTCOMES,
    PRIMARY,
    conclusion,
    mean_by_size,
    size_effect,
)
from factcensus.eval.statistics.worlds import OverWorlds

#: Outcomes that are shares, in the tables by size.
_SHARES = ("retain", "bystander", "known_")


def fine(value: float | None) -> str:
    """Format a signed number with three decimals."""
    return NONE if value is None else f"{value:+.3f}".replace("-", MINUS)


def _with_interval(found: OverWorlds, form: Callable[[float | None], str]) -> str:
    if found.ci95 is None:
        return form(found.value)
    return f"{form(found.value)} [{form(found.ci95[0])}, {form(found.ci95[1])}]"


def effect_rows(rows: pd.DataFrame, outcomes: Mapping[str, str] = OUTCOMES) -> list[list[str]]:
    """Return a row per outcome and method: the slope over size with its interval, and the slope of each world."""
    found = []
    for name, label in outcomes.items():
        for method, effect in size_effect(rows, name).items():
            worlds = ", ".join(map(fine, effect.values))
            detectable = NONE if effect.minimum_detectable_effect is None else f"{effect.minimum_detectable_effect:.3f}"
            found.append([label, method, _with_interval(effect, fine), detectable, worlds])
    return found


EFFECT_HEAD = ("outcome", "method", "slope per factor 10 of the parameters", "detectable", "each world")


def forgetting_rows(rows: pd.DataFrame, strata: Mapping[int, str]) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the rows of the share forgotten by count, per form, method and size."""
    head = ["form", "method", "model", *(f"{label} documents" for label in strata.values())]
    found = []
    for form in MAIN_FORMS:
        columns = {stratum: f"forgotten_{form}_{stratum}" for stratum in strata}
        for by in (None, "method"):
            cells = {s: mean_by_size(rows, name, by=by) for s, name in columns.items() if name in rows}
            keys = list(dict.fromkeys(key for each in cells.values() for key in each))
            for size, *method in sorted(keys, key=lambda key: (key[1:], _order(rows, key[0]))):
                key = (size, *method)
                shown = [_with_interval(cells[s][key], percent) if key in cells.get(s, {}) else NONE for s in strata]
                found.append([form, method[0] if method else "all", size, *shown])
    return head, found


def _order(rows: pd.DataFrame, size: str) -> int:
    return int(rows.loc[rows["size"] == size, "parameters"].iloc[0])


def size_rows(rows: pd.DataFrame, outcomes: Mapping[str, str] = OUTCOMES) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the rows of every outcome at each size: the mean over methods and worlds."""
    sizes = list(rows.sort_values("parameters")["size"].unique())
    found = []
    for name, label in outcomes.items():
        means = mean_by_size(rows, name)
        form = percent if name.startswith(_SHARES) else fine
        found.append([label, *(_with_interval(means[(s,)], form) if (s,) in means else NONE for s in sizes)])
    return ["outcome", *sizes], found


def dose_rows(rows: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Return the heading and the rows of the passes that the rule chose, per method and size, one number per world."""
    sizes = list(rows.sort_values("parameters")["size"].unique())
    found = []
    for method, of_method in rows.groupby("method", sort=False):
        cells = [
            ", ".join(
                NONE if pd.isna(value) else f"{value:.1f}"
                for value in of_method.loc[of_method["size"] == size, "passes"]
            )
            for size in sizes
        ]
        found.append([str(method), *cells])
    return ["method", *sizes], found


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(each) + " |" for each in lines)


@dataclass(frozen=True, slots=True)
class Findings:
    """The tables behind the results of the grid.

    Attributes:
        matched, half: The outcomes interpolated at the loss of G of the rule, and at half of it.
        same_dose: The outcomes at the largest dose that all sizes had.
        originals, oracles: The models before unlearning, and those retrained without the forget set.
        strata: Labels of the strata of the count.
        lost: The loss of G of the rule.
    """

    matched: pd.DataFrame
    half: pd.DataFrame
    same_dose: pd.DataFrame
    originals: pd.DataFrame
    oracles: pd.DataFrame
    strata: Mapping[int, str]
    lost: float


def markdown_report(found: Findings) -> str:
    """Return all tables as Markdown."""
    indices = {name: OUTCOMES[name] for name in (PRIMARY, "excess_cloze")}
    lost, matched = found.lost, found.matched
    parts: list[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = [
        ("Original models", *_original_rows(found.originals)),
        (f"Passes at which G has lost {lost:g}, one number per world", *dose_rows(matched)),
        (f"Slope over size at equal forgetting (G has lost {lost:g})", EFFECT_HEAD, effect_rows(matched)),
        ("Means by size at equal forgetting, over methods", *size_rows(matched)),
        ("Share forgotten by count at equal forgetting", *forgetting_rows(matched, found.strata)),
        (f"Slope over size when G has lost {lost / 2:g}", EFFECT_HEAD, effect_rows(found.half, indices)),
        (
            "Slope over size at equal dose (the most passes that all sizes had)",
            EFFECT_HEAD,
            effect_rows(found.same_dose, indices),
        ),
    ]
    if len(found.oracles):
        parts.append(("Retrained models: P and G, 0.5 without knowledge", *_oracle_rows(found.oracles)))
    return "\n\n".join(f"### {title}\n\n{markdown(head, rows)}" for title, head, rows in parts) + "\n"


def _oracle_rows(oracles: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    columns = [f"{score}_{form}" for form in MAIN_FORMS for score in ("probability", "generation")]
    rows = [
        [f"world {each['seed']}, {each['size']}", *(share_of_one(float(each[name])) for name in columns)]
        for _, each in oracles.sort_values(["seed", "parameters"]).iterrows()
    ]
    return ["model", *(f"{score}, {form}" for form in MAIN_FORMS for score in ("P", "G"))], rows


def _original_rows(originals: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    known = originals.groupby("size", sort=False).mean(numeric_only=True).to_dict("index")
    shown = ["known_question", "known_cloze", "retain", "bystander"]
    rows = [
        [
            str(each["size"]),
            f"{int(each['parameters']):,}",
            *(percent(known[each["size"]][name]) for name in shown),
        ]
        for _, each in originals.sort_values("parameters").drop_duplicates("size").iterrows()
    ]
    return ["model", "parameters", "forget facts known, question", "known, cloze", "retain", "bystander"], rows


def size_section(matched: pd.DataFrame, strata: Mapping[int, str], lost: float) -> Section:
    """Build the first section of the report: the answer, the index by size, and forgetting by count and size."""
    found = size_effect(matched, PRIMARY)["all"]
    lead = (
        f"All models are compared where generation has lost {lost:g}, over facts that every size knew. Per factor 10 "
        f"of the parameters, the threshold-free index of disagreement changes by {_with_interval(found, fine)} (mean "
        f"over {found.worlds} worlds). By the rule of the plan: {conclusion(found)}."
    )
    panels = [_index_panel(matched, form) for form in MAIN_FORMS]
    panels += [_forgetting_panel(matched, strata, form) for form in MAIN_FORMS]
    head, rows = forgetting_rows(matched, strata)
    tables = [
        Table("Slopes over size, per factor 10 of the parameters", EFFECT_HEAD, effect_rows(matched), open=True),
        Table("Means by size, over methods", *size_rows(matched), open=True),
        Table("Share forgotten by count", head, rows),
        Table("Passes chosen by the rule for the dose", *dose_rows(matched)),
    ]
    return Section(
        "size",
        "Does the misalignment grow with the size of the model?",
        lead,
        [panel for panel in panels if panel],
        tables,
        note=f"Intervals are Student's over worlds. A slope within ±{MARGIN:g} does not matter (docs/reproduce.md).",
    )


def _index_panel(rows: pd.DataFrame, form: str) -> Panel | None:
    """Draw the excess of the index against the parameters, one line per method."""
    means = mean_by_size(rows, f"excess_{form}", by="method")
    records = [_record(rows, size, each, method=method) for (size, method), each in means.items()]
    return _lines(records, "method", "excess of the index", f"Hidden knowledge by model size, asked as a {form}")


def _forgetting_panel(rows: pd.DataFrame, strata: Mapping[int, str], form: str) -> Panel | None:
    """Draw the share forgotten against the parameters, one line per stratum of the count."""
    records = [
        _record(rows, size, each, documents=label)
        for stratum, label in strata.items()
        if (name := f"forgotten_{form}_{stratum}") in rows
        for (size,), each in mean_by_size(rows, name).items()
    ]
    return _lines(records, "documents", "share forgotten", f"Share forgotten by count and size, asked as a {form}")


def _record(rows: pd.DataFrame, size: str, found: OverWorlds, **first: str) -> dict[str, Any]:
    return {**first, "parameters": _order(rows, size), "value": found.value, "ci95": found.ci95, "worlds": found.worlds}


def _flattened(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**{key: value for key, value in each.items() if key != "ci95"}, "low": low, "high": high}
        for each in records
        for low, high in [each["ci95"] or (None, None)]
    ]


def _lines(records: Sequence[Mapping[str, Any]], by: str, label: str, caption: str) -> Panel | None:
    """Draw records against the parameters, one line per value of ``by``; None without records."""
    if not records:
        return None
    look = figures.looks(list(dict.fromkeys(str(each[by]) for each in records)), None)

    def paint(axes: Any) -> None:
        for name, style in look.items():
            mine = sorted((each for each in records if each[by] == name), key=lambda each: each["parameters"])
            figures.whiskers(axes, [each["parameters"] for each in mine], mine, style, line=True, label=name)
        axes.axhline(0, color=figures.INK, linewidth=0.9)
        axes.set_xscale("log")
        sizes = sorted({each["parameters"] for each in records})
        axes.set_xticks(sizes, [quantity(size, "") for size in sizes])
        axes.minorticks_off()
        axes.set(xlabel="parameters of the model (log scale)", ylabel=label)
        axes.legend(loc="best")

    return Panel(caption, figures.draw(paint, alternative=caption), csv_of(_flattened(records)))
