"""A summary as plain text: one row per method, one column per stratum, the pooled slope and that of each seed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from factcensus.eval.names import MAIN_FORMS
from factcensus.eval.report.columns import Column, Fields, estimate_columns, keyed, table_of
from factcensus.eval.report.findings import findings
from factcensus.eval.report.formatting import number, percent
from factcensus.indexer.system.display import display_width, pad_left, pad_right


def summary_text(summary: Mapping[str, Any]) -> str:
    """Return one block for each form of asking."""
    blocks = [_block(summary, form) for form in MAIN_FORMS if _asked(summary, form)]
    return "\n\n".join(blocks)


def _asked(summary: Mapping[str, Any], form: str) -> bool:
    return any(method["forgotten_by_stratum"][form] for method in summary["methods"])


def _block(summary: Mapping[str, Any], form: str) -> str:
    methods = summary["methods"]
    strata = max((method["forgotten_by_stratum"][form] for method in methods), key=len)
    columns: list[Column[Fields]] = [
        keyed(form, "name"),
        *(_share_forgotten(row, form) for row in strata),
        *estimate_columns("slope", lambda method: method["slope_per_decade"][form], number),
        *(_slope_of_seed(seed, form) for seed in summary["seeds"]),
    ]
    table = table_of("", columns, methods)
    return "\n".join(
        [
            f"Asked as a {form}: share forgotten by co-occurrence count, and slope of the change in log-probability "
            "per",
            "factor 10 of the count (nats; above 0, frequent facts lose less)",
            *aligned([table.head, *table.rows]),
        ]
    )


def _share_forgotten(stratum: Mapping[str, Any], form: str) -> Column[Fields]:
    def share(method: Mapping[str, Any]) -> float | None:
        shares = {row["stratum"]: row["generation"]["value"] for row in method["forgotten_by_stratum"][form]}
        return shares.get(stratum["stratum"])

    return Column(f"{stratum['label']} (n={stratum['generation']['n']})", share, percent)


def _slope_of_seed(seed: int, form: str) -> Column[Fields]:
    def slope(method: Mapping[str, Any]) -> float | None:
        slopes = {each["seed"]: each["value"] for each in method["slope_per_decade"][form]["per_seed"]}
        return slopes.get(seed)

    return Column(f"seed {seed}", slope, number)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns: the first to the left, the others to the right."""
    widths = [max(display_width(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    lines = []
    for row in rows:
        cells = [pad_right(cell, widths[0]) if i == 0 else pad_left(cell, widths[i]) for i, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    return [lines[0], "-" * max(map(display_width, lines)), *lines[1:]]


def show_summary(summary: dict[str, Any], report: Path, *, as_json: bool) -> None:
    """Print tables, findings and the path of the report, or the summary as JSON."""
    if as_json:
        print(json.dumps(summary))
        return
    parts = [summary_text(summary)]
    parts += ["\n".join([f"{heading}:", *(f"* {each}" for each in said)]) for heading, said in findings(summary)]
    print("\n\n".join(part for part in parts if part))
    print(f"\nreport: {report.resolve().as_uri()}")
