"""Errors of the evaluation. Every message names the value, the expectation and the next step."""

from __future__ import annotations

from factcensus.indexer.errors import FactcensusError


class EvaluationError(FactcensusError):
    """Base class of the errors raised by evaluation, reports and the demo."""


class EvaluationInputError(EvaluationError, ValueError):
    """An unusable run folder, table or value (exit status 2)."""

    exit_code = 2


class RequirementNotMetError(EvaluationError):
    """A requirement that a run does not meet (exit status 3)."""

    exit_code = 3
