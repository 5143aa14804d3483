"""The sections of the report, in their order: one question each, with plots, how to read them, and the numbers."""

from __future__ import annotations

from collections.abc import Callable

from factcensus.eval.aggregate_section import aggregates
from factcensus.eval.attack_section import attacks, utility
from factcensus.eval.balance_section import balance
from factcensus.eval.cost_section import cost
from factcensus.eval.extreme_facts import extreme_facts
from factcensus.eval.forgetting_section import curves, forgetting
from factcensus.eval.misalignment_section import misalignment
from factcensus.eval.plane_section import plane
from factcensus.eval.recall_section import accuracy_by_group, recall_before, training
from factcensus.eval.section import Section
from factcensus.eval.slope_section import residual, slopes

#: Each takes the run, its summary and how methods look; None where it has nothing to show.
SECTIONS: tuple[Callable[..., Section | None], ...] = (
    forgetting, curves, slopes, residual, misalignment, plane, accuracy_by_group, balance, attacks, utility,
    extreme_facts, aggregates, recall_before, training, cost,
)  # fmt: skip
