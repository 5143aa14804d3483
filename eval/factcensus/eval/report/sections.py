"""The sections of the report in order, one question each."""

from __future__ import annotations

from collections.abc import Callable

from factcensus.eval.report.aggregates import aggregates
from factcensus.eval.report.attacks import attacks
from factcensus.eval.report.balance import balance
from factcensus.eval.report.cost import cost
from factcensus.eval.report.extreme_facts import extreme_facts
from factcensus.eval.report.forgetting import curves, forgetting
from factcensus.eval.report.misalignment import misalignment
from factcensus.eval.report.plane import plane
from factcensus.eval.report.published import published
from factcensus.eval.report.recall import accuracy_by_group, recall_before, training
from factcensus.eval.report.said import said
from factcensus.eval.report.section import ReportData, Section
from factcensus.eval.report.slopes import residual, slopes
from factcensus.eval.report.utility import utility

#: Each returns None if it has nothing to show.
SECTIONS: tuple[Callable[[ReportData], Section | None], ...] = (
    forgetting,
    curves,
    slopes,
    residual,
    misalignment,
    plane,
    accuracy_by_group,
    balance,
    attacks,
    utility,
    published,
    extreme_facts,
    said,
    aggregates,
    recall_before,
    training,
    cost,
)
