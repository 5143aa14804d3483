"""Errors of the evaluation. Every message names the value, what was expected, and the next step."""

from __future__ import annotations

from factcensus.indexer.errors import FactcensusError


class EvaluationError(FactcensusError):
    """Base of what evaluating, reporting and the demo raise."""


class EvaluationInputError(EvaluationError, ValueError):
    """A run folder, a table or a value that cannot be used as it stands (exit 2)."""

    exit_code = 2


class RequirementNotMetError(EvaluationError):
    """A run does not meet a requirement (exit 3)."""

    exit_code = 3
