"""Knowledge that attacks recover: attacks.parquet by stratum at the strongest level, and by level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from factcensus.eval.report import figures
from factcensus.eval.report.columns import Column, Fields, keyed, table_of
from factcensus.eval.report.formatting import NONE, interval, percent, with_interval
from factcensus.eval.report.section import Panel, ReportData, Section, csv_of_frame, or_none

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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


def attacks(data: ReportData) -> Section | None:
    """Build the section on attacks: one panel per attack by stratum, and by level if there are several."""
    run, summary, look = data.run, data.summary, data.look
    if not len(run.attacks) or not summary["methods"]:
        return None
    table = run.attacks[run.attacks["method"].isin([*look, "original"])]
    panels: list[Panel] = []
    strata: list[Attacked] = []
    labels = _strata(table)
    for attack, drawn in DRAWN.items():
        rows = table[(table["attack"] == attack) & (table["measure"] == drawn.measure) & (table["part"] != "relearned")]
        if not len(rows):
            continue
        form = "question" if (rows["form"] == "question").any() else str(rows["form"].iloc[0])
        panels += _panels(rows[rows["form"] == form], drawn, form, look)
        strata += _by_method(_strongest(rows, drawn))
    return Section(
        "attacks",
        "What attacks recover",
        "An attack shows whether a fact is gone or merely no longer given as the answer. Each value is shown next to "
        "the value without the attack (or by guessing) and next to the value on never-seen people.",
        panels,
        [
            table_of(
                "Attacks at their strongest level, by stratum, with 95% intervals; in parentheses the value without "
                "the attack, or by guessing",
                [*IDENTITY, *(_of_stratum(stratum, label) for stratum, label in labels.items()), *TOTALS],
                strata,
                open=len(strata) <= MOST_OPEN_ROWS,
            ),
            table_of("All attacks, over all strata", EVERY, table[table["stratum"].isna()].to_dict("records")),
        ],
        legend=True,
        note="Open marks: without the attack, or by guessing. Dotted: never-seen people. Values and interval bounds "
        "are averages over seeds, so the intervals are wider than those of the means. The last table shows each seed.",
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
    return csv_of_frame(rows, [name for name in rows.columns if rows[name].notna().any()])


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


@dataclass(frozen=True, slots=True)
class Attacked:
    """One method attacked in one form: the rows of its facts and of the never-seen people."""

    method: str
    form: str
    facts: pd.DataFrame
    phantoms: pd.DataFrame

    @property
    def whole(self) -> pd.DataFrame:
        """The rows over all strata."""
        return self.facts[self.facts["stratum"].isna()]

    @property
    def attack(self) -> str:
        """The attack with its level."""
        return f"{self.whole['attack'].iloc[0]} {self.whole['level_label'].iloc[0] or ''}".strip()


def _by_method(rows: pd.DataFrame) -> Iterator[Attacked]:
    """Yield every method and form with values over all strata."""
    for (form, method), of_method in rows.groupby(["form", "method"], sort=False):
        is_phantom = of_method["part"] == "phantom"
        found = Attacked(str(method), str(form), of_method[~is_phantom], of_method[is_phantom])
        if len(found.whole):
            yield found


def _mean_over_seeds(rows: pd.DataFrame) -> str:
    """Format value, interval and reference, averaged over seeds."""
    if not len(rows):
        return NONE
    value, low, high, reference = (or_none(rows[name].mean()) for name in ("value", "low", "high", "reference"))
    return f"{with_interval(value, _bounds(low, high), percent)} ({percent(reference)})"


def _bounds(low: float | None, high: float | None) -> tuple[float, float] | None:
    return None if low is None or high is None else (low, high)


def _never_seen(attacked: Attacked) -> float | None:
    phantoms = attacked.phantoms
    return or_none(phantoms.loc[phantoms["stratum"].isna(), "value"].mean())


def _of_stratum(stratum: int, label: str) -> Column[Attacked]:
    return Column(label, lambda row: row.facts[row.facts["stratum"] == stratum], _mean_over_seeds)


IDENTITY: tuple[Column[Attacked], ...] = (
    Column("method", lambda row: row.method),
    Column("attack", lambda row: row.attack),
    Column("form", lambda row: row.form),
)
TOTALS: tuple[Column[Attacked], ...] = (
    Column("all", lambda row: row.whole, _mean_over_seeds),
    Column("never seen", _never_seen, percent, "Never seen: people without any text"),
)


def _share(value: Any) -> str:
    return percent(or_none(value))


#: Every measure of every attack, level and seed.
EVERY: tuple[Column[Fields], ...] = (
    keyed("method"),
    keyed("seed"),
    keyed("attack"),
    Column("level", lambda row: row["level_label"] or NONE),
    keyed("form"),
    keyed("part"),
    keyed("measure"),
    keyed("value", form=_share),
    Column("95% interval", lambda row: interval(_bounds(or_none(row["low"]), or_none(row["high"])), percent)),
    keyed("without", "reference", _share),
    keyed("n"),
)
