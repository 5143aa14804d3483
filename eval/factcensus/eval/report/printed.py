"""A summary as plain text: one row per method, one column per stratum, the pooled slope and that of each seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from factcensus.eval.report.findings import findings
from factcensus.eval.report.formatting import interval, number, percent


def summary_text(summary: Mapping[str, Any]) -> str:
    """Return one block for each form of asking."""
    blocks = [_block(summary, form) for form in ("question", "cloze") if _asked(summary, form)]
    return "\n\n".join(blocks)


def _asked(summary: Mapping[str, Any], form: str) -> bool:
    return any(method["forgotten_by_stratum"][form] for method in summary["methods"])


def _block(summary: Mapping[str, Any], form: str) -> str:
    methods = summary["methods"]
    strata = max((method["forgotten_by_stratum"][form] for method in methods), key=len)
    labels = [f"{row['label']} (n={row['generation']['n']})" for row in strata]
    head = [form, *labels, "slope", "95 % interval", *(f"seed {seed}" for seed in summary["seeds"])]
    return "\n".join(
        [
            f"Asked as a {form}: share forgotten by co-occurrence count, and slope of the change in log-probability "
            "per",
            "factor 10 of the count (nats; above 0, frequent facts lose less)",
            *_aligned([head, *(_row(method, form, [row["stratum"] for row in strata]) for method in methods)]),
        ]
    )


def _row(method: Mapping[str, Any], form: str, strata: Sequence[int]) -> list[str]:
    shares = {row["stratum"]: row["generation"]["value"] for row in method["forgotten_by_stratum"][form]}
    found = method["slope_per_decade"][form]
    return [
        method["name"],
        *(percent(shares.get(stratum)) for stratum in strata),
        number(found["value"]),
        interval(found["ci95"], number),
        *(number(seed["value"]) for seed in found["per_seed"]),
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    lines = []
    for row in rows:
        cells = [cell.ljust(widths[0]) if i == 0 else cell.rjust(widths[i]) for i, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def show_summary(summary: dict[str, Any], report: Path, *, as_json: bool) -> None:
    """Print tables, findings and the path of the report, or the summary as JSON."""
    if as_json:
        print(json.dumps(summary))
        return
    parts = [summary_text(summary)]
    parts += ["\n".join([f"{heading}:", *(f"* {each}" for each in said)]) for heading, said in findings(summary)]
    print("\n\n".join(part for part in parts if part))
    print(f"\nreport: {report.resolve().as_uri()}")
