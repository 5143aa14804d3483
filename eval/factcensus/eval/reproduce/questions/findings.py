"""Findings of a question: one number per world, its mean over worlds, and the registered conclusion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from factcensus.eval.report.formatting import MINUS, NONE
from factcensus.eval.statistics.worlds import OverWorlds, Verdict, equivalence_p, over_worlds, verdict


@dataclass(frozen=True, slots=True)
class Outcome:
    """A column of the table of worlds.

    Attributes:
        column: Its name in ``worlds.parquet``.
        label: Its description.
        margin: The margin of equivalence to 0; None for outcomes that are only described.
    """

    column: str
    label: str
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """The mean of an outcome over worlds, and its verdict if it has a margin."""

    outcome: Outcome
    found: OverWorlds
    verdict: Verdict | None
    equivalence_p: float | None


def find(worlds: pd.DataFrame, outcomes: Sequence[Outcome]) -> list[Finding]:
    """Return the findings of the outcomes, the primary one first; worlds without a number are left out.

    Args:
        worlds: One row per world with a column per outcome.
    """
    findings = []
    for outcome in outcomes:
        values = worlds[outcome.column].dropna().tolist() if outcome.column in worlds else []
        found, margin = over_worlds(values), outcome.margin
        conclusion = None if margin is None else verdict(found, margin)
        findings.append(Finding(outcome, found, conclusion, None if margin is None else equivalence_p(found, margin)))
    return findings


def findings_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Return the findings as plain JSON types."""
    return [
        {**asdict(each.outcome), **asdict(each.found), "verdict": each.verdict, "equivalence_p": each.equivalence_p}
        for each in findings
    ]


def markdown(findings: Sequence[Finding], conclusion: str) -> str:
    """Return the table of findings and the conclusion as Markdown."""
    lines = [
        "| outcome | mean | 95% interval | 90% interval | margin | conclusion | deviation | worlds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, each in enumerate(findings):
        found, margin = each.found, each.outcome.margin
        label = f"**{each.outcome.label}** (primary)" if number == 0 else each.outcome.label
        cells = (
            label,
            signed(found.value),
            _interval(found.ci95),
            _interval(found.ci90),
            NONE if margin is None else f"±{margin:g}",
            each.verdict or NONE,
            NONE if found.deviation is None else f"{found.deviation:.3f}",
            str(found.worlds),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"**Conclusion.** {conclusion}"])


def conclusion_of(findings: Sequence[Finding], conclusions: Mapping[Verdict, str]) -> str:
    """Return the registered conclusion of the primary outcome."""
    return conclusions[findings[0].verdict or "undecided"]


def signed(value: float | None) -> str:
    """Format a number with its sign and three decimals."""
    if value is None or not math.isfinite(value):
        return NONE
    return f"{value:+.3f}".replace("-", MINUS)


def _interval(interval: tuple[float, float] | None) -> str:
    return NONE if interval is None else f"[{signed(interval[0])}, {signed(interval[1])}]"
