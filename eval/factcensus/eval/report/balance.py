"""Forgetting in the worst stratum against utility, with the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from factcensus.eval.names import MAIN_FORMS
from factcensus.eval.report import figures
from factcensus.eval.report.columns import Column, Fields, estimate_columns, keyed, table_of
from factcensus.eval.report.formatting import percent
from factcensus.eval.report.section import Panel, ReportData, Section, csv_of, flat

if TYPE_CHECKING:
    from matplotlib.axes import Axes


#: Groups that measure utility, best first: people that no loss used show more than those that a retain loss used.
UTILITY = ("bystander", "retain_held", "retain")


COLUMNS: tuple[Column[Fields], ...] = (
    keyed("method", "name"),
    keyed("form"),
    *estimate_columns("forgotten, worst stratum", lambda place: place["forgotten"], percent),
    *estimate_columns("kept", lambda place: place["kept"], percent),
    Column("on the front", lambda place: "yes" if _values(place) in place["best"] else ""),
)


def balance(data: ReportData) -> Section | None:
    """Build the section on forgetting against utility, one panel per form."""
    summary, look = data.summary, data.look
    group = next((each for each in UTILITY if summary["original"]["accuracy"].get(each)), None)
    if group is None or not summary["methods"]:
        return None
    found = {form: _places(summary, form, group) for form in MAIN_FORMS}
    found = {form: places for form, places in found.items() if places}
    if not found:
        return None
    panels, rows = [], []
    for form, places in found.items():
        best = front([_values(place) for place in places if place["name"] != summary["oracle"]])
        panels.append(
            Panel(
                f"Asked as a {form}",
                _draw(places, best, look, group, _before(summary, group)),
                csv_of(
                    [
                        {
                            **{f"forgotten_{key}": value for key, value in flat(place["forgotten"]).items()},
                            **{f"kept_{key}": value for key, value in flat(place["kept"]).items()},
                            "method": place["name"],
                        }
                        for place in places
                    ]
                ),
            )
        )
        rows += [{**place, "form": form, "best": best} for place in places]
    return Section(
        "balance",
        "Forgetting against utility",
        "Upwards: the share forgotten in the stratum that forgot least. To the right: the share of "
        f"{group.replace('_', ' ')} facts still answered, asked as a question. Up and to the right is better.",
        panels,
        [table_of("Forgetting in the worst stratum, and utility", COLUMNS, rows)],
        legend=True,
        note="The line is the Pareto front: methods that no other method beats in both. A step between two methods "
        "with overlapping intervals is not evidence of a difference. Dashed: the original model.",
    )


def front(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the Pareto-optimal (kept, forgotten) pairs, from left to right."""
    kept = [
        place
        for place in set(places)
        if not any(other != place and other[0] >= place[0] and other[1] >= place[1] for other in places)
    ]
    return sorted(kept)


def _values(place: Mapping[str, Any]) -> tuple[float, float]:
    return place["kept"]["value"], place["forgotten"]["value"]


def _before(summary: Mapping[str, Any], group: str) -> float | None:
    value: float | None = summary["original"]["accuracy"][group].get("question", {}).get("value")
    return value


def _places(summary: Mapping[str, Any], form: str, group: str) -> list[dict[str, Any]]:
    """Return the worst stratum and the utility of each method that has both."""
    places = []
    for method in summary["methods"]:
        strata = [
            row["generation"]
            for row in method["forgotten_by_stratum"].get(form, [])
            if row["generation"]["value"] is not None
        ]
        kept = method["accuracy"].get(group, {}).get("question", {})
        if strata and kept.get("value") is not None:
            worst = min(strata, key=lambda found: found["value"])
            places.append({"name": method["name"], "forgotten": worst, "kept": kept})
    return places


def _draw(
    places: Sequence[Mapping[str, Any]],
    best: Sequence[tuple[float, float]],
    look: Mapping[str, figures.Look],
    group: str,
    before: float | None,
) -> str:
    def paint(axes: Axes) -> None:
        if before is not None:
            axes.axvline(before, color=figures.INK, linewidth=1, linestyle="--")
        axes.plot(*zip(*best, strict=True), color=figures.MUTED, linewidth=1.4, drawstyle="steps-pre", zorder=1)
        for place in places:
            style, kept, forgotten = look[place["name"]], place["kept"], place["forgotten"]
            if kept["ci95"]:
                axes.plot(kept["ci95"], [forgotten["value"]] * 2, color=style.colour, linewidth=1.2, alpha=0.7)
            if forgotten["ci95"]:
                axes.plot([kept["value"]] * 2, forgotten["ci95"], color=style.colour, linewidth=1.2, alpha=0.7)
            axes.plot([kept["value"]], [forgotten["value"]], style.marker, color=style.colour, markersize=9)
        axes.set(
            xlabel=f"{group.replace('_', ' ')} facts answered", ylabel="forgotten, worst stratum", ylim=(-0.03, 1.03)
        )
        axes.xaxis.set_major_formatter(figures.percent_axis())
        axes.yaxis.set_major_formatter(figures.percent_axis())

    return figures.draw(paint, alternative="Each method by utility kept and share forgotten in its worst stratum.")
