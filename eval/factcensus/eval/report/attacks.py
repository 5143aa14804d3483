"""Knowledge that attacks recover: attacks.parquet by stratum at the strongest level, and by level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from factcensus.eval.report import figures
from factcensus.eval.report.formatting import NONE, interval, percent
from factcensus.eval.report.section import Panel, Section, Table, csv_text, or_none

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from factcensus.eval.run_folder import Run


@dataclass(frozen=True, slots=True)
class Drawn:
    """The measure of an attack to draw, its caption, and whether its smallest level is the strongest."""

    measure: str
    caption: str
    label: str = "share"
    strongest_is_least: bool = False


DRAWN = {
    "relearn": Drawn("recall", "Relearning: recall of facts the attack did not show"),
    "quantise": Drawn("recall", "Quantisation: recall", strongest_is_least=True),
    "few_shot": Drawn("recall", "Few-shot prompts: recall"),
    "paraphrase": Drawn("worst", "Paraphrases: at least one answered"),
    "sample": Drawn("leak", "Sampling: at least one of k samples right"),
    "probe": Drawn("accuracy", "Linear probe of hidden states: accuracy"),
    "membership": Drawn("auc_min_k_plus_plus", "Membership inference", "area under the curve"),
}
#: Least number of levels for a curve over levels.
LEVELS_OF_A_CURVE = 3
#: Most rows of a table that is not folded.
MOST_OPEN_ROWS = 30


def attacks(run: Run, summary: Mapping[str, Any], look: Mapping[str, figures.Look]) -> Section | None:
    """Build the section on attacks: one panel per attack by stratum, and by level if there are several."""
    if not len(run.attacks) or not summary["methods"]:
        return None
    table = run.attacks[run.attacks["method"].isin([*look, "original"])]
    panels: list[Panel] = []
    strata: list[list[str]] = []
    labels = _strata(table)
    for attack, drawn in DRAWN.items():
        rows = table[(table["attack"] == attack) & (table["measure"] == drawn.measure) & (table["part"] != "relearned")]
        if not len(rows):
            continue
        form = "question" if (rows["form"] == "question").any() else str(rows["form"].iloc[0])
        panels += _panels(rows[rows["form"] == form], drawn, form, look)
        strata += _by_stratum(_strongest(rows, drawn), labels)
    head = ["method", "attack", "form", *labels.values(), "all", "never seen"]
    return Section(
        "attacks",
        "What attacks recover",
        "An attack shows whether a fact is gone or merely no longer given as the answer. Each value is shown next to "
        "the value without the attack (or by guessing) and next to the value on never-seen people.",
        panels,
        [
            Table(
                "Attacks at their strongest level, by stratum, with 95 % intervals; in parentheses the value without "
                "the attack, or by guessing. Never seen: people without any text",
                head,
                strata,
                open=len(strata) <= MOST_OPEN_ROWS,
            ),
            _every(table),
        ],
        legend=True,
        note="Open marks: without the attack, or by guessing. Dotted: never-seen people. Values and interval bounds "
        "are averages over seeds, so the intervals are wider than that of the mean. The last table shows each seed.",
    )


def _strata(table: pd.DataFrame) -> dict[int, str]:
    """Return the strata, rarest first, without the phantoms' placeholder stratum."""
    rows = table[(table["part"] != "phantom") & table["stratum"].notna()]
    found = {int(row["stratum"]): str(row["stratum_label"]) for row in rows.to_dict("records")}
    return dict(sorted(found.items()))


def _strongest(rows: pd.DataFrame, drawn: Drawn) -> pd.DataFrame:
    level = rows["level"].min() if drawn.strongest_is_least else rows["level"].max()
    return pd.DataFrame(rows[rows["level"] == level])


# --- plots ---


def _panels(rows: pd.DataFrame, drawn: Drawn, form: str, look: Mapping[str, figures.Look]) -> Iterator[Panel]:
    rows = rows[rows["method"].isin(list(look))]
    strongest, of_phantoms = _strongest(rows, drawn), rows["part"] == "phantom"
    # Phantoms have a placeholder stratum; they are drawn as one line.
    by_stratum = strongest[strongest["stratum"].isna() == of_phantoms[strongest.index]]
    by_level = rows[rows["stratum"].isna() & ~of_phantoms]
    if (by_stratum["part"] != "phantom").any():
        at = str(strongest["level_label"].iloc[0] or "")
        caption = f"{drawn.caption} ({form}{', ' + at if at else ''})"
        yield Panel(caption, _draw(by_stratum, "stratum", look, drawn), _csv(by_stratum))
    if by_level["level"].nunique() >= LEVELS_OF_A_CURVE or not (by_stratum["part"] != "phantom").any():
        caption = f"{drawn.caption} ({form}, by level)"
        yield Panel(caption, _draw(by_level, "level", look, drawn), _csv(by_level))


def _csv(rows: pd.DataFrame) -> str:
    columns = [name for name in rows.columns if rows[name].notna().any()]
    return csv_text([columns, *rows[columns].itertuples(index=False, name=None)])


def _draw(rows: pd.DataFrame, key: str, look: Mapping[str, figures.Look], drawn: Drawn) -> str:
    """Draw values by stratum or level, with the reference without the attack and the never-seen people."""
    phantoms, facts = (rows[(rows["part"] == "phantom") == each] for each in (True, False))
    names = dict(zip(facts[key].astype(float), facts[f"{key}_label"].fillna("").astype(str), strict=True))
    at = sorted(names)
    unit = key
    if key == "level":
        unit = next((words for each in at if (words := names[each].replace(f"{each:g}", "").strip())), key)
        names = {each: f"{each:g}" for each in at}

    def paint(axes: Axes) -> None:
        methods = [name for name in look if (facts["method"] == name).any()]
        for place, name in enumerate(methods):
            style = look[name]
            means = facts[facts["method"] == name].groupby(key)[["value", "low", "high", "reference"]].mean()
            means = means.astype(float)
            x = [at.index(float(str(each))) + (place - (len(methods) - 1) / 2) * 0.09 for each in means.index]
            points = [
                {"value": row["value"], "ci95": None if pd.isna(row["low"]) else (row["low"], row["high"])}
                for row in means.to_dict("records")
            ]
            axes.plot(
                x,
                means["reference"],
                style.marker,
                color=style.colour,
                markerfacecolor=figures.PAPER,
                markersize=5,
            )
            figures.whiskers(axes, x, points, style, line=True)
            never = phantoms.loc[phantoms["method"] == name, "value"]
            if never.notna().any():
                axes.axhline(float(never.mean()), color=style.colour, linestyle=":", linewidth=1)
        axes.set_xticks(range(len(at)), [names[each] for each in at])
        axes.set(
            ylim=(-0.03, 1.03),
            ylabel=drawn.label,
            xlabel="stratum of the count" if key == "stratum" else unit,
        )
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_formatter(figures.percent_axis())

    return figures.draw(paint, alternative=f"{drawn.caption}, by {key} and method.")


# --- tables ---


def _by_stratum(rows: pd.DataFrame, labels: Mapping[int, str]) -> Iterator[list[str]]:
    """Yield one row per method and form: each stratum, all strata, and never-seen people."""
    for (form, method), of_method in rows.groupby(["form", "method"], sort=False):
        facts, phantoms = (of_method[(of_method["part"] == "phantom") == each] for each in (False, True))
        whole = facts[facts["stratum"].isna()]
        if not len(whole):
            continue
        cells = [_cell(facts[facts["stratum"] == stratum]) for stratum in labels]
        name = f"{whole['attack'].iloc[0]} {whole['level_label'].iloc[0] or ''}".strip()
        never = phantoms.loc[phantoms["stratum"].isna(), "value"].mean()
        yield [str(method), name, str(form), *cells, _cell(whole), percent(or_none(never))]


def _cell(rows: pd.DataFrame) -> str:
    """Format value, interval and reference, averaged over seeds."""
    if not len(rows):
        return NONE
    value, low, high, reference = (or_none(rows[name].mean()) for name in ("value", "low", "high", "reference"))
    bounds = None if low is None or high is None else (low, high)
    return f"{percent(value)} {interval(bounds, percent)} ({percent(reference)})"


def _every(table: pd.DataFrame) -> Table:
    """Return every measure of every attack, level and seed, over all strata."""
    head = ["method", "seed", "attack", "level", "form", "part", "measure", "value", "95 % interval", "without", "n"]
    rows: list[Sequence[str]] = []
    for row in table[table["stratum"].isna()].to_dict("records"):
        low, high = or_none(row["low"]), or_none(row["high"])
        rows.append(
            [
                str(row["method"]),
                str(row["seed"]),
                str(row["attack"]),
                str(row["level_label"] or NONE),
                str(row["form"]),
                str(row["part"]),
                str(row["measure"]),
                percent(or_none(row["value"])),
                interval(None if low is None or high is None else (low, high), percent),
                percent(or_none(row["reference"])),
                str(row["n"]),
            ]
        )
    return Table("All attacks, over all strata", head, rows)
