"""The verdicts of an audit as plain text."""

from __future__ import annotations

from factcensus.eval.audit.page import sentence_of, verdict_columns
from factcensus.eval.audit.verdicts import Audit
from factcensus.eval.report.columns import table_of
from factcensus.eval.report.printed import aligned


def audit_text(audit: Audit) -> str:
    """Return a table of verdicts, and a sentence for each person."""
    table = table_of("", verdict_columns(audit), audit.facts)
    return "\n".join([*aligned([table.head, *table.rows]), "", *map(sentence_of, audit.people)])
