"""The numbers that papers report, under their names (:mod:`factcensus.eval.statistics.published`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from factcensus.eval.names import ORIGINAL
from factcensus.eval.report.columns import Column, Fields, keyed, table_of
from factcensus.eval.report.formatting import NONE
from factcensus.eval.report.section import ReportData, Section, Table
from factcensus.eval.statistics.published import METRICS

HEADS = {
    "forget_quality": "forget quality (p)",
    "forget_quality_distance": "forget quality (distance)",
    "forget_truth_ratio": "truth ratio, forget",
    "forget_truth_ratio_arithmetic": "the same, arithmetic",
    "model_utility": "model utility",
    "model_utility_arithmetic": "the same, arithmetic",
    "verbatim_memorisation": "VerbMem",
    "knowledge_memorisation": "KnowMem, forget",
    "privacy_leakage": "PrivLeak (%)",
    "utility_preservation": "KnowMem, retain",
}


def published(data: ReportData) -> Section | None:
    """Build the section; None if no model has any of the numbers."""
    table = published_table([("", data.summary)])
    if not table.rows:
        return None
    return Section(
        "published",
        "Numbers under their published names",
        "TOFU's forget quality and model utility, and four of MUSE's six criteria, computed from the answers of this "
        "run. The command 'factcensus eval metrics NAME' explains each number. VerbMem and KnowMem are ROUGE-L F1.",
        tables=[table],
        note="Values over several seeds are means (forget quality: the median). Forget quality compares with the model "
        "trained without the forget set. For PrivLeak without such a model, the reference is an AUC of 0.5.",
    )


def published_table(summaries: Iterable[tuple[str, Mapping[str, Any]]]) -> Table:
    """Return one row per labelled summary and model that has any number; columns without a number are left out."""
    records = [
        {"run": label, "model": name, **{metric: found[metric]["value"] for metric in METRICS}}
        for label, summary in summaries
        for name, found in _models(summary)
        if any(each["value"] is not None for each in found.values())
    ]
    metrics = [name for name in METRICS if any(record[name] is not None for record in records)]
    labels = [keyed("run")] if any(record["run"] for record in records) else []
    columns: list[Column[Fields]] = [*labels, keyed("model"), *(keyed(HEADS[name], name, _plain) for name in metrics)]
    return table_of("Metrics that papers report", columns, records, open=True)


def _models(summary: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Yield the models with their numbers; summaries of earlier versions have none."""
    for name, found in ((ORIGINAL, summary["original"]), *((each["name"], each) for each in summary["methods"])):
        if "published" in found:
            yield name, found["published"]


def _plain(value: float | None) -> str:
    return NONE if value is None else f"{value:.3g}"
