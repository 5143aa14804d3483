"""Limits on requests. A refusal names the limit, the variable that sets it, and a remedy."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from factcensus.api.decoding.bounds import UNFOLDED, Bounds
from factcensus.api.http.problems import Problem
from factcensus.api.settings import Limits
from factcensus.indexer import CountIndex, Entity
from factcensus.indexer.names import suggestion
from factcensus.indexer.tables.columns import misspelt_columns
from factcensus.indexer.tables.facts import entities_of

#: Optional columns that change counts.
ALIASES = ("subject_aliases", "object_aliases")


def check_text(text: str, what: str, limits: Limits) -> None:
    """Refuse a text, a name or an alias that is too long."""
    if len(text) > limits.max_text_chars:
        raise Problem(
            "limit-exceeded",
            f"{what} has {len(text)} characters, more than {limits.max_text_chars} (FACTCENSUS_MAX_TEXT_CHARS); "
            "shorten it",
        )


def check_entity(entity: Entity, what: str, limits: Limits) -> None:
    """Refuse an entity with too many or too long surface forms."""
    if len(entity.aliases) > limits.max_aliases:
        raise Problem(
            "limit-exceeded",
            f"{what} has {len(entity.aliases)} aliases, more than {limits.max_aliases} (FACTCENSUS_MAX_ALIASES); "
            "leave out aliases that contain another alias, and aliases that never occur",
        )
    check_text(entity.name, f"{what}'s name", limits)
    for alias in entity.aliases:
        check_text(alias, f"an alias of {what}", limits)


def check_groups(index: CountIndex, by: str | None, limits: Limits) -> None:
    """Refuse to group counts by a column with too many values; the response could be as long as the corpus."""
    values = len(index.groups(by)[0])
    if values > limits.max_groups:
        raise Problem(
            "limit-exceeded",
            f"{by!r} has {values} values in this index, more than {limits.max_groups} (FACTCENSUS_MAX_GROUPS); "
            "group by a column with fewer values, or select one value with a filter",
        )


def check_windows(windows: Sequence[int], limits: Limits) -> None:
    """Refuse too many windows at once."""
    if len(windows) > limits.max_windows:
        raise Problem(
            "limit-exceeded",
            f"the request has {len(windows)} windows, more than {limits.max_windows} (FACTCENSUS_MAX_WINDOWS); "
            "send several requests",
        )


def check_facts_number(facts: int, limits: Limits) -> None:
    """Refuse more facts than one request may have."""
    if facts > limits.max_facts:
        raise Problem(
            "limit-exceeded",
            f"the request has {facts} facts, more than {limits.max_facts} (FACTCENSUS_MAX_FACTS); split it",
        )


def check_entities(facts: pa.Table, limits: Limits) -> None:
    """Refuse a checked fact table with misspelt alias columns or with entities that are too large."""
    for name, known in misspelt_columns(facts.column_names).items():
        # Ignoring such a column would make counts too low, and a warning would go unread here.
        if known in ALIASES:
            raise Problem(
                "unknown-name",
                f"unknown column {name[:100]!r}{suggestion(name, ALIASES)} Rename it, even if it is not for aliases",
            )
    for role in ("subject", "object"):
        for row, entity in enumerate(entities_of(facts, role), 1):
            check_entity(entity, f"the {role} of row {row}", limits)


def bounds_of_body(limits: Limits) -> Bounds:
    """Return the limits on a table in a request body."""
    most, seconds = limits.max_job_body_bytes, limits.deadline_seconds
    return Bounds(limits.max_job_facts, most, "FACTCENSUS_MAX_JOB_BODY_BYTES", json_bytes=most, seconds=seconds)


def bounds_of_file(limits: Limits) -> Bounds:
    """Return the limits on a table uploaded on the page."""
    most, seconds = limits.max_upload_bytes, limits.deadline_seconds
    return Bounds(
        limits.max_job_facts, most, "FACTCENSUS_MAX_UPLOAD_BYTES", json_bytes=limits.max_body_bytes, seconds=seconds
    )


def fits_in_answer(facts: int, size: int, limits: Limits) -> bool:
    """Return whether a decoded table is small enough to be counted within the request rather than as a job."""
    return facts <= limits.max_facts and size <= UNFOLDED * limits.max_body_bytes
