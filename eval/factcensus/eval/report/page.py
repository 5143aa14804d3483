"""The report: one self-contained HTML page made from a run's tables and its summary.

The page states the findings in plain words and then shows them. Every plot comes with a table of its numbers, and
every null result with the minimum detectable effect. The page loads nothing from other hosts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from factcensus.eval.answers import write_answers
from factcensus.eval.report import figures
from factcensus.eval.report.figure_files import figure_file
from factcensus.eval.report.findings import findings, headline
from factcensus.eval.report.formatting import duration
from factcensus.eval.report.provenance import notes, provenance
from factcensus.eval.report.section import ReportData, Section
from factcensus.eval.report.sections import SECTIONS
from factcensus.eval.runs import Run, summary_of
from factcensus.indexer.system.files import write_atomically, write_json


def write_results(run: Run, out: Path, *, seconds: float | None = None) -> dict[str, Any]:
    """Write summary.json, answers.jsonl and report.html of a run into ``out`` and return the summary."""
    summary = summary_of(run, seconds=seconds)
    write_answers(run, out / "answers.jsonl")
    write_json(out / "summary.json", summary)
    write_report(out / "report.html", run, summary)
    return summary


def write_report(
    path: Path,
    run: Run,
    summary: Mapping[str, Any],
    *,
    title: str | None = None,
    first: Sequence[Section | None] = (),
) -> None:
    """Write the page atomically."""
    write_atomically(path, render_report(run, summary, title=title, first=first))


def render_report(
    run: Run, summary: Mapping[str, Any], *, title: str | None = None, first: Sequence[Section | None] = ()
) -> str:
    """Return the page as HTML.

    Args:
        first: Sections before all others, such as a comparison with other runs
            (:mod:`factcensus.eval.report.side_by_side`); None is left out.
    """
    look = figures.looks([method["name"] for method in summary["methods"]], summary["oracle"])
    sections = [*first, *(build(ReportData(run, summary, look)) for build in SECTIONS)]
    page = render_template(
        "report.html.j2",
        title=title or "How hard were these facts to unlearn?",
        summary=summary,
        headline=headline(summary),
        findings=findings(summary),
        sections=[section for section in sections if section],
        legend=look,
        key_mark=figures.key_mark,
        cards=_cards(summary),
        provenance=provenance(run),
        notes=notes(run),
        records=[json.dumps(record, indent=2, default=str) for record in run.records],
    )
    return figures.with_ids_of_their_own(page)


def render_template(name: str, **values: Any) -> str:
    """Return a page made from one of the templates; an undefined value is an error."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loader = ChoiceLoader([PackageLoader("factcensus.eval.report"), PackageLoader("factcensus.indexer")])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"data_url": _data_url, "figure_file": figure_file}
    return environment.get_template(name).render(**values)


def _data_url(text: str, kind: str = "text/csv") -> str:
    """Return a text as a data URL, which needs no server."""
    return f"data:{kind};charset=utf-8," + quote(text, safe=" ,:;/?@=+$!*[]|")


def _cards(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    seeds = len(summary["seeds"])
    return [
        (f"{summary['facts']:,}", "facts asked" + (f", over {seeds} seeds" if seeds > 1 else "")),
        (f"{summary['known_before']:,}", "of those known before"),
        (f"{summary['groups'].get('forget', 0):,}", "to be forgotten"),
        (str(seeds), "seed" if seeds == 1 else "seeds (worlds and models)"),
        (duration(summary["seconds"]), "from start to end"),
    ]
