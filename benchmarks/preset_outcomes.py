"""Remaining knowledge of several models after a preset, with intervals; used by :mod:`benchmarks.presets`.

Intervals are 95%. For shares and differences, people are resampled 2000 times within their seeds; for slopes, see
:mod:`factcensus.eval.statistics.slope`. Differences are paired: the same people are drawn in both.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from factcensus.eval.statistics.slope import slope

#: Counts in each stratum of the tables.
STRATA = ((1, 2), (4, 8), (16, 32), (64,))
FORMS = ("question", "cloze")
Cell = dict[str, Any]
Point = tuple[float, float]


class Outcome:
    """The outcome of a method on several models, as arrays over facts and forms before and after."""

    def __init__(self, pairs: Sequence[tuple[Cell, Cell]]) -> None:
        rows = [
            {**before, "after": after["logp"], "recalled_after": after["recalled"], "seed": original["seed"]}
            for original, unlearned in pairs
            for before, after in zip(original["facts"], unlearned["facts"], strict=True)
        ]
        self.rows = rows
        self.count = np.array([row["count"] for row in rows])
        self.before = np.array([row["logp"] for row in rows])
        self.after = np.array([row["after"] for row in rows])
        self.known = np.array([row["recalled"] for row in rows])
        self.left = np.array([row["recalled_after"] for row in rows])
        self.form = np.array([row["form"] for row in rows])
        self.role = np.array([row["role"] for row in rows])
        self.used = np.array([row["used"] for row in rows])
        self.person = np.unique([f"{row['seed']}/{row['subject']}" for row in rows], return_inverse=True)[1]

    def forget(self, form: str) -> Any:
        """Return which rows are forget facts known before, in this form, (n,)."""
        return (self.role == "forget") & (self.form == form) & self.known

    def group(self, name: str) -> Any:
        """Return which rows of a group were known before, in the question form, (n,)."""
        rows = (self.form == "question") & self.known
        if name == "retain":
            return rows & (self.role == "retain_held")
        return rows & (self.role == "bystander") & (self.used == "none")

    def left_by_stratum(self, form: str) -> list[float]:
        """Return the share still recalled in each stratum."""
        rows = self.forget(form)
        return [float(self.left[rows & np.isin(self.count, levels)].mean()) for levels in STRATA]

    def kept(self, group: str) -> float:
        """Return the share of a group's facts known before that are still recalled."""
        return float(self.left[self.group(group)].mean())

    def slope(self, form: str, values: Any) -> tuple[float, tuple[float, float]]:
        """Return the slope of values per factor 10 of the count over forget facts known before, and its interval."""
        rows = self.forget(form)
        picked = [row for row, keep in zip(self.rows, rows, strict=True) if keep]
        found = slope(
            np.log10(self.count[rows]),
            values[rows],
            groups=[f"{row['seed']}/{row['relation']}" for row in picked],
            clusters={
                "subject": [f"{row['seed']}/{row['subject']}" for row in picked],
                "object": [f"{row['seed']}/{row['object']}" for row in picked],
            },
        )
        assert found.value is not None
        assert found.ci95 is not None
        return found.value, found.ci95

    def resampled(self, seed: int = 0, draws: int = 2000) -> dict[str, Any]:
        """Bootstrap over people, (draws,): the worst and the mean share left, and the shares that both groups keep."""
        people = int(self.person.max()) + 1
        weights = np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=draws)

        def share(rows: Any) -> Any:
            numbers = np.bincount(self.person[rows], minlength=people)
            hits = np.bincount(self.person[rows], weights=self.left[rows], minlength=people)
            return (weights @ hits) / np.maximum(weights @ numbers, 1)

        question = self.forget("question")
        strata = np.stack([share(question & np.isin(self.count, levels)) for levels in STRATA])
        return {
            "worst": strata.max(axis=0),
            "mean": share(question),
            "cloze": share(self.forget("cloze")),
            "retain": share(self.group("retain")),
            "untouched": share(self.group("untouched")),
        }


def overview(outcomes: Mapping[str, Outcome], points: Mapping[str, Point]) -> str:
    """Return one row per method: the share left in each stratum, the slopes of the fall, and the shares kept."""
    lines = [
        "| method | rate, passes | left by stratum (1-2, 4-8, 16-32, 64) | worst stratum | left, cloze "
        "| slope, question | slope, cloze | retain | bystanders |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for method, outcome in outcomes.items():
        rate, passes = points[method]
        drawn = outcome.resampled()
        strata = " ".join(short(value) for value in outcome.left_by_stratum("question"))
        slopes = [_interval(*outcome.slope(form, outcome.after - outcome.before)) for form in FORMS]
        worst = max(outcome.left_by_stratum("question"))
        lines.append(
            f"| `{method}` | {rate:g}, {passes:g} | {strata} | {_with_quantiles(worst, drawn['worst'])} "
            f"| {short(float(outcome.left[outcome.forget('cloze')].mean()))} | {slopes[0]} | {slopes[1]} "
            f"| {_with_quantiles(outcome.kept('retain'), drawn['retain'])} "
            f"| {_with_quantiles(outcome.kept('untouched'), drawn['untouched'])} |"
        )
    return "\n".join(lines)


def differences(found: Mapping[str, Mapping[str, Outcome]], pairs: Sequence[tuple[str, str]]) -> str:
    """Return one row per pair of methods and setting: first minus second, on the same people and models."""
    lines = [
        "| by count, less ... | rate, passes | worst stratum | mean left | slope of what is left, question "
        "| slope, cloze | retain | bystanders |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (method, other), (setting, outcomes) in itertools.product(pairs, found.items()):
        if method not in outcomes or other not in outcomes:
            continue
        ours, theirs = outcomes[method], outcomes[other]
        drawn, drawn_theirs = ours.resampled(), theirs.resampled()  # the same people in both
        worst = max(ours.left_by_stratum("question")) - max(theirs.left_by_stratum("question"))
        rows = ours.forget("question")
        mean = float(ours.left[rows].mean() - theirs.left[rows].mean())
        slopes = [_interval(*ours.slope(form, ours.after - theirs.after)) for form in FORMS]
        kept = [
            _with_quantiles(ours.kept(group) - theirs.kept(group), drawn[group] - drawn_theirs[group], sign=True)
            for group in ("retain", "untouched")
        ]
        lines.append(
            f"| `{method}` less `{other}` | {setting} "
            f"| {_with_quantiles(worst, drawn['worst'] - drawn_theirs['worst'], sign=True)} "
            f"| {_with_quantiles(mean, drawn['mean'] - drawn_theirs['mean'], sign=True)} "
            f"| {slopes[0]} | {slopes[1]} | {kept[0]} | {kept[1]} |"
        )
    return "\n".join(lines)


def short(value: float) -> str:
    """Format a share as ``.25``."""
    return f"{value:.2f}".removeprefix("0") if 0 <= value < 1 else f"{value:.2f}"


def _interval(value: float, ci95: tuple[float, float]) -> str:
    return f"{value:+.2f} [{ci95[0]:+.2f}, {ci95[1]:+.2f}]"


def _with_quantiles(value: float, drawn: Any, sign: bool = False) -> str:
    low, high = np.quantile(drawn, [0.025, 0.975])
    if sign:
        return _interval(value, (float(low), float(high)))
    return f"{short(value)} [{short(float(low))}, {short(float(high))}]"
